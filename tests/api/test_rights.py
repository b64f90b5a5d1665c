"""A member takes his data away, and is forgotten: nothing of the person stays, and the books still balance."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from domain.ledger.audit import audit
from domain.members.erasure import erase, finish_erasures
from domain.members.holding import HOLDINGS, OnErasure
from domain.store import collections
from domain.store.slots import SLOTS
from tests.api.auth.partner_app import PartnerApp, a_partner_app
from tests.api.shop import Shop, a_purchase, codes, data, new_key
from tests.api.spending import do
from tests.api.test_plans import join, with_prepaid
from tests.api.test_referrals import code_of, referral

ERASE = "mutation($confirm: String!) { eraseMe(confirm: $confirm) { at } }"
EXPORT = "mutation { exportMyData }"
PERSON = (
    "Ana Novak",
    "ana@example.com",
    "+38640123456",
    "Pacific/Chatham",
    "card-77",
    "Sorry for the wait",
    "fcm-token-of-ana",
    "Lovely",
)
SIGN_IN = 'mutation { sandboxSignIn(subject: "ana-novak") { ... on Session { accessToken isNew member { id } } } }'
TAG = 'mutation($member: ID!) { setMemberTags(member: $member, tags: ["bakery"]) { __typename } }'
HELD = """
query($id: ID!) { member(by: {id: $id}) {
  plan { plan } wallet { points { available } prepaid { available { amount } } }
} }
"""
LIVE = """
mutation {
  registerDevice(input: {installation: "inst-1", platform: IOS, kind: TOKEN, value: "fcm-token-of-ana"}) { __typename }
  setConsent(purpose: MARKETING, granted: true, version: "1") { granted }
  submitFeedback(rating: 5, text: "Lovely") { id }
  updateProfile(
    input: {
      displayName: "Ana Novak", email: "ana@example.com", phone: "+38640123456", timeZone: "Pacific/Chatham"
      birthday: "1990-11-23"
    }
  ) { __typename }
}
"""


async def a_full_life(shop: Shop) -> tuple[str, str, PartnerApp, dict[str, Any]]:
    """A member with something in every corner: his id, his own token, an app that he let in, and its tokens."""
    session = data(await shop.ask(SIGN_IN))["sandboxSignIn"]
    member: str = session["member"]["id"]
    token: str = session["accessToken"]
    assert "errors" not in await shop.ask(LIVE, token=token)
    shown = data(await shop.ask("{ me { code { digits } } }", token=token))["me"]["code"]["digits"]
    await shop.record(a_purchase(member, member={"code": shown}))
    sorry = {"member": member, "points": 5, "reason": "Sorry for the wait", "idempotencyKey": new_key()}
    await shop.adjust(sorry)
    app = await a_partner_app(shop)
    tokens = await app.let_in(member)
    return member, token, app, tokens


async def pay_in(shop: Shop, member: str, amount: str) -> None:
    paid = {
        "member": member,
        "money": {"amount": amount, "currency": "USD"},
        "pocket": "PREPAID",
        "reason": "paid in",
        "idempotencyKey": new_key(),
    }
    assert (await shop.adjust(paid))["__typename"] == "BalanceAdjusted"


async def everything(shop: Shop, *, but: frozenset[str] = frozenset()) -> str:
    store = shop.services.store
    return "".join([repr(await store.database[name].find({}).to_list()) for name in collections.ALL if name not in but])


def test_every_collection_is_known_to_hold_something_of_a_member_or_nothing() -> None:
    assert set(HOLDINGS) == set(collections.ALL)
    for holding in HOLDINGS.values():
        if holding is not None:
            assert bool(holding.cleared) == (holding.on_erasure is OnErasure.CLEAR)
            assert bool(holding.why) == (holding.on_erasure is OnErasure.KEEP)


async def test_the_export_holds_all_of_a_life_and_no_secret(shop: Shop) -> None:
    member, token, _, tokens = await a_full_life(shop)

    exported = data(await shop.ask(EXPORT, token=token))["exportMyData"]

    held = exported["data"]
    text = json.dumps(exported, ensure_ascii=False)
    assert (exported["member"], exported["cut"]) == (member, [])
    assert {name for name, documents in held.items() if documents} >= {
        "members", "wallets", "journal", "sessions", "grants", "devices", "feedback", "presences",
    }  # fmt: skip
    assert [each["kind"] for each in held["journal"] if "kind" in each] == ["JOIN", "ACTIVITY", "PURCHASE", "ADJUST"]
    assert all(word in text for word in PERSON if word != "card-77")
    assert held["members"][0]["consents"]["MARKETING"]["granted"] is True
    for secret in ("token_hmac", "nonce", tokens["refresh_token"]):
        assert secret not in text


async def test_whatever_is_held_on_a_member_is_shown_to_him_and_goes_with_him(shop: Shop) -> None:
    member = await shop.enrol()
    database = shop.services.store.database
    for name, holding in HOLDINGS.items():
        if holding is not None:
            hidden = dict.fromkeys((*holding.cleared, *holding.hidden), "of-ana")
            # Nested fields are written as such, and what the ledger reads again is left as it is.
            written = {} if name in {"members", "wallets", "journal"} else {"$set": {"seen": name, **hidden}}
            if written:
                await database[name].update_one({holding.by: member}, written, upsert=True)

    exported = data(await shop.ask(EXPORT, token=await shop.member_token(member)))["exportMyData"]["data"]
    await shop.ask(ERASE, {"confirm": "ERASE"}, token=await shop.member_token(member))

    shown = {name for name, holding in HOLDINGS.items() if holding is not None and holding.shown}
    assert {name for name, documents in exported.items() if documents} == shown
    for name, holding in HOLDINGS.items():
        if holding is None:
            continue
        if name in shown - {"members", "wallets", "journal"}:
            assert [each["seen"] for each in exported[name]] == [name]
            assert not set(holding.hidden) & set(exported[name][0])
        left = await database[name].find({holding.by: member}).to_list()
        assert bool(left) == (holding.on_erasure is not OnErasure.DELETE), name
        assert [each for each in left for field in holding.cleared if field in each] == [], name


async def test_an_erased_member_leaves_a_journal_that_balances_and_nothing_of_the_person(shop: Shop) -> None:
    other = await shop.enrol(reference="card-1", displayName="Bor")
    member, token, app, tokens = await a_full_life(shop)
    await shop.services.store.members.update_one({"_id": member}, {"$set": {"references": [f"{shop.till_id}:card-77"]}})
    code = data(await shop.ask("{ me { code { digits } } }", token=token))["me"]["code"]["digits"]

    erased = data(await shop.ask(ERASE, {"confirm": "ERASE"}, token=token))["eraseMe"]

    assert erased["at"].startswith("2026-07-06T08:3")
    left = await everything(shop)
    assert [word for word in PERSON if word in left] == []
    assert "ana-novak" not in left
    kept = await shop.services.store.members.find_one({"_id": member})
    assert set(kept or {}) == {"_id", "slot", "joined_at", "is_joined", "consent_history", "erased_at"}
    assert codes(await shop.ask("{ me { id } }", token=token)) == ["UNAUTHENTICATED"]
    assert not await app.works(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    for by in (f'id: "{member}"', 'reference: "card-77"', f'code: "{code}"'):
        assert await shop.till(f"{{ member(by: {{{by}}}) {{ id }} }}") == {"member": None}
    assert (await shop.till(f'{{ member(by: {{id: "{other}"}}) {{ profile {{ displayName }} }} }}'))["member"] == {
        "profile": {"displayName": "Bor"}
    }
    entries = await shop.services.store.journal.find({"member": member}).sort("seq", 1).to_list()
    assert [each["kind"] for each in entries] == ["JOIN", "ACTIVITY", "PURCHASE", "ADJUST", "ADJUST"]
    assert entries[4]["postings"][0]["destination"] == "programme/forfeited"
    assert "note_digest" in entries[3]
    assert "note" not in entries[3]
    assert (await audit(shop.services.store)).differences == ()


async def test_the_same_person_signing_in_anew_is_a_new_member(shop: Shop) -> None:
    member, token, _, _ = await a_full_life(shop)
    await shop.ask(ERASE, {"confirm": "ERASE"}, token=token)

    anew = data(await shop.ask(SIGN_IN))["sandboxSignIn"]

    assert anew["isNew"] is True
    assert anew["member"]["id"] != member


async def test_paid_money_is_not_lost_silently(shop: Shop) -> None:
    member, token, _, _ = await a_full_life(shop)
    await pay_in(shop, member, "12.34")
    before = await everything(shop, but=frozenset({"grants", "buckets"}))

    unconfirmed = await shop.ask(ERASE, {"confirm": " "}, token=token)
    refused = await shop.ask(ERASE, {"confirm": "ERASE"}, token=token)
    untouched = await everything(shop, but=frozenset({"grants", "buckets"}))
    done = await shop.ask(ERASE, {"confirm": "FORFEIT"}, token=token)

    assert [each["errors"][0]["extensions"]["state"] for each in (unconfirmed, refused)] == [
        "UNCONFIRMED",
        "PAID_MONEY",
    ]
    assert codes(refused) == ["BAD_USER_INPUT"]
    assert untouched == before
    assert "errors" not in done
    forfeit = await shop.services.store.journal.find_one({"member": member, "key": {"$regex": "erasure"}})
    assert forfeit is not None
    assert {each["asset"]: each["amount"] for each in forfeit["postings"]}["prepaid/USD"] == 1_234
    assert (await audit(shop.services.store)).differences == ()


async def test_nothing_is_given_to_who_was_forgotten_and_his_plan_takes_nothing_of_money_that_comes_late(
    shop: Shop,
) -> None:
    ana, giver = await with_prepaid(shop, "20.00"), await shop.enrol()
    friend = await shop.enrol(referralCode=await code_of(shop, ana))
    await shop.record(a_purchase(friend, "20.00"))
    assert (await join(shop, ana))["__typename"] == "PlanJoined"
    await shop.phone(ana, ERASE, {"confirm": "FORFEIT"})

    gift = await do(shop, giver, "giftPoints", to={"id": ana}, points=10)
    tagged = await shop.staff(TAG, {"member": ana}, scopes=("staff:members",))
    await pay_in(shop, ana, "15.00")
    await shop.advance("2026-09-10T00:00:00Z")

    assert (gift["__typename"], gift["what"]) == ("NotFound", "member")
    assert tagged == {"setMemberTags": {"__typename": "NotFound"}}
    assert (await referral(shop, giver))["points"] == 100
    assert (await referral(shop, friend))["points"] == 220
    found = (await shop.staff(HELD, {"id": ana}, scopes=("staff:members",)))["member"]
    assert found["wallet"] == {"points": {"available": 0}, "prepaid": [{"available": {"amount": "15.00"}}]}
    assert found["plan"] is None


async def test_an_erasure_that_was_cut_short_is_finished_by_whoever_comes_next(shop: Shop) -> None:
    member, _, app, tokens = await a_full_life(shop)
    store = shop.services.store
    await store.members.update_one(
        {"_id": member},
        {"$set": {"erasing": {"at": shop.clock.now(), "paid_too": False}}, "$unset": {"profile": "", "subjects": ""}},
    )

    await shop.advance("2026-07-06T09:00:00Z")
    await shop.advance("2026-07-06T09:30:00Z")

    left = await everything(shop)
    assert [word for word in PERSON if word in left] == []
    assert not await app.works(tokens["access_token"])
    kept = await store.members.find_one({"_id": member})
    assert kept is not None
    assert kept["erased_at"] is not None
    assert "erasing" not in kept
    assert await store.journal.count_documents({"member": member, "key": {"$regex": "erasure"}}) == 1
    assert (await audit(store)).differences == ()


async def test_an_erasure_that_dies_anywhere_forgets_the_person_first_or_does_nothing(shop: Shop) -> None:
    ledger, store = shop.services.ledger, shop.services.store
    for milliseconds in range(0, 40, 4):
        member = await shop.enrol(displayName="Ana Novak", reference=f"card-77-{milliseconds}")
        dying = asyncio.create_task(erase(ledger, member, confirm="ERASE", now=shop.clock.now()))
        await asyncio.wait({dying}, timeout=milliseconds / 1_000)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)

        left = await store.members.find_one({"_id": member})
        assert left is not None
        assert ("profile" in left) == ("references" in left) == ("erased_at" not in left and "erasing" not in left)
        await finish_erasures(ledger, range(SLOTS))
        assert isinstance(await erase(ledger, member, confirm="ERASE", now=shop.clock.now()), datetime)
        forfeits = await store.journal.count_documents({"member": member, "operation": "erasure", "seq": {"$gte": 1}})
        assert forfeits == 1

    assert [word for word in PERSON if word in await everything(shop)] == []
    assert (await audit(store)).differences == ()


@pytest.mark.parametrize("query", [EXPORT, ERASE.replace("$confirm: String!", '$confirm: String = "ERASE"')])
async def test_nobody_else_takes_or_erases_a_members_data(shop: Shop, query: str) -> None:
    _, _, _, tokens = await a_full_life(shop)

    refused = [
        await shop.ask(query),
        await shop.ask(query, token=tokens["access_token"]),
        await shop.ask(query, token=await shop.till_token()),
        await shop.ask(query, token=await shop.staff_token("staff:members")),
    ]

    assert [codes(each) for each in refused] == [["UNAUTHENTICATED"], ["FORBIDDEN"], ["FORBIDDEN"], ["FORBIDDEN"]]
