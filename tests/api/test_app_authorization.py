"""Letting a partner app in: codes, delegated tokens, what ends them, and what a partner may then see."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest

from api.auth.tokens import open_tokens
from domain.members.presence import may_take_value
from domain.members.session import RETRY_WINDOW
from domain.partners.denial import READ_EVERY_SECONDS
from tests.api.auth.partner_app import REDIRECT, REVOKE_APP, PartnerApp, a_partner_app, apps_of, in_address
from tests.api.shop import RECORD, Shop, a_purchase, codes, data, new_key

VERIFIER = secrets.token_urlsafe(48)
ME = "{ me { id profile { displayName } wallet { points { available } } } }"
SECOND = timedelta(seconds=1)


@pytest.fixture
async def app(shop: Shop) -> PartnerApp:
    return await a_partner_app(shop)


async def pass_time(shop: Shop, length: timedelta) -> None:
    await shop.clock.move_to(shop.clock.now() + length)


async def test_a_member_lets_an_app_in_and_it_acts_as_him_within_its_scopes(shop: Shop, app: PartnerApp) -> None:
    member, other = await shop.enrol(displayName="Ana"), await shop.enrol()

    authorized = await app.authorized(member, VERIFIER, state="a b&c=é")
    traded = await app.trade(in_address(authorized["redirectTo"])["code"], VERIFIER)
    tokens = traded.json()
    me = data(await shop.ask(ME, token=tokens["access_token"]))["me"]
    bought = await shop.ask(RECORD, {"input": a_purchase(member)}, token=tokens["access_token"])
    stranger = data(await shop.ask(f'{{ member(by: {{id: "{other}"}}) {{ id }} }}', token=tokens["access_token"]))

    assert authorized["redirectTo"].startswith(f"{REDIRECT}?code=")
    assert in_address(authorized["redirectTo"])["state"] == "a b&c=é"
    assert in_address(authorized["redirectTo"])["iss"] == "http://localhost:8000"
    assert authorized["expiresAt"][:17] == "2026-07-06T08:31:"
    assert traded.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 600, "members:read wallet:read")
    assert me == {"id": member, "profile": {"displayName": "Ana"}, "wallet": {"points": {"available": 100}}}
    assert codes(bought) == ["FORBIDDEN"]
    assert stranger["member"] is None


async def test_what_cannot_be_let_in_leaves_nothing_behind(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()

    wrong = await app.authorized(
        member,
        VERIFIER,
        redirectUri=REDIRECT + "/",
        scopes=["wallet:read", "points:spend", "staff:adjust"],
        codeChallenge="plain",
        state="x" * 1_001,
    )
    none = await app.authorized(member, VERIFIER, scopes=[])
    unknown = await app.authorized(member, VERIFIER, clientId="pa_nobody")
    await shop.services.store.partners.update_one({"_id": app.client_id}, {"$set": {"disabled": True}})
    disabled = await app.authorized(member, VERIFIER)

    paths = [each["path"] for each in wrong["fields"]]
    assert paths == ["redirectUri", "scopes.1", "scopes.2", "codeChallenge", "state"]
    assert [each["path"] for each in none["fields"]] == ["scopes"]
    assert unknown == disabled == {"__typename": "NotFound", "what": "partner"}
    assert await apps_of(shop, member) == []
    assert await shop.services.store.authorizations.count_documents({}) == 0


async def test_no_member_gives_an_app_the_right_to_enrol_others(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.services.store.partners.update_one({"_id": shop.till_id}, {"$set": {"redirect_uris": [REDIRECT]}})
    till = PartnerApp(shop=shop, client_id=shop.till_id, secret="")

    refused = await till.authorized(member, VERIFIER, scopes=["members:enrol"])
    issued = await shop.services.tokens.issue_partner_token(
        shop.till_id, ["members:enrol"], shop.clock.now(), member_id=member
    )
    enrolling = 'mutation { enrolMember(input: {reference: "x", idempotencyKey: "key-12345"}) { __typename } }'

    assert [each["path"] for each in refused["fields"]] == ["scopes.0"]
    assert codes(await shop.ask(enrolling, token=issued.text)) == ["FORBIDDEN"]


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"code": "unknown"}, "There is no such code"),
        ({"redirect_uri": REDIRECT + "/"}, "redirect_uri is not the one"),
        ({"code_verifier": "x" * 43}, "code_verifier does not match"),
        ({"code_verifier": "short"}, "code_verifier does not match"),
    ],
)
async def test_a_code_is_bound_to_its_address_and_challenge(
    shop: Shop, app: PartnerApp, changes: dict[str, str], description: str
) -> None:
    code = await app.code(await shop.enrol(), VERIFIER)

    refused = await app.trade(**{"code": code, "verifier": VERIFIER, **changes})
    sound = await app.trade(code, VERIFIER)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert description in refused.json()["error_description"]
    assert refused.headers["cache-control"] == "no-store"
    assert sound.status_code == 200


async def test_a_code_is_bound_to_its_client_and_to_its_minute(shop: Shop, app: PartnerApp) -> None:
    thief, member = await a_partner_app(shop, name="Thief"), await shop.enrol()
    code, late = await app.code(member, VERIFIER), await app.code(member, VERIFIER)

    stolen = await thief.trade(code, VERIFIER)
    await pass_time(shop, timedelta(seconds=50))
    in_time = await app.trade(code, VERIFIER)
    await pass_time(shop, 10 * SECOND)
    too_late = await app.trade(late, VERIFIER)

    assert stolen.json()["error"] == too_late.json()["error"] == "invalid_grant"
    assert in_time.status_code == 200


async def test_a_second_use_of_a_code_ends_what_the_first_gave(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()
    other = await app.let_in(member)
    code = await app.code(member, VERIFIER)
    first = (await app.trade(code, VERIFIER)).json()

    second = await app.trade(code, VERIFIER)

    assert second.json()["error"] == "invalid_grant"
    assert not await app.works(first["access_token"])
    assert (await app.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert await app.works(other["access_token"])


async def test_of_two_uses_of_a_code_at_once_nothing_is_left(shop: Shop, app: PartnerApp) -> None:
    code = await app.code(await shop.enrol(), VERIFIER)

    answered = await asyncio.gather(*(app.trade(code, VERIFIER) for _ in range(6)))

    given = [each.json() for each in answered if each.status_code == 200]
    assert len(given) <= 1
    assert [await app.works(each["access_token"]) for each in given] == [False] * len(given)
    assert [(await app.refresh(each["refresh_token"])).status_code for each in given] == [400] * len(given)


async def test_an_apps_refresh_token_works_once_and_a_lost_answer_is_given_again(shop: Shop, app: PartnerApp) -> None:
    tokens = await app.let_in(await shop.enrol())
    await pass_time(shop, timedelta(minutes=11))

    lost = (await app.refresh(tokens["refresh_token"])).json()
    await pass_time(shop, RETRY_WINDOW - 5 * SECOND)
    again = (await app.refresh(tokens["refresh_token"])).json()
    narrowed = (await app.refresh(again["refresh_token"], scope="wallet:read")).json()
    beyond = await app.refresh(narrowed["refresh_token"], scope="wallet:read prepaid:charge")
    whole = (await app.refresh(narrowed["refresh_token"])).json()

    assert not await app.works(tokens["access_token"])
    assert lost["refresh_token"] == again["refresh_token"] != tokens["refresh_token"]
    assert narrowed["scope"] == "wallet:read"
    assert (beyond.status_code, beyond.json()["error"]) == (400, "invalid_scope")
    assert whole["scope"] == "members:read wallet:read"
    assert await app.works(whole["access_token"])


async def test_reuse_of_an_apps_refresh_token_by_a_thief_ends_the_family_and_its_access_tokens(
    shop: Shop, app: PartnerApp
) -> None:
    member = await shop.enrol()
    tokens, other_stay = await app.let_in(member), await app.let_in(member)
    thief = (await app.refresh(tokens["refresh_token"])).json()
    await pass_time(shop, RETRY_WINDOW + SECOND)

    owner = await app.refresh(tokens["refresh_token"])

    assert (owner.status_code, owner.json()["error"]) == (400, "invalid_grant")
    assert (await app.refresh(thief["refresh_token"])).json()["error"] == "invalid_grant"
    assert not await app.works(thief["access_token"])
    assert (await app.refresh(other_stay["refresh_token"])).status_code == 200


async def test_a_refresh_token_is_good_for_whom_it_was_made_only(shop: Shop, app: PartnerApp) -> None:
    other, member = await a_partner_app(shop, name="Other"), await shop.enrol()
    tokens = await app.let_in(member)
    phones = data(await shop.ask('mutation { sandboxSignIn(subject: "ana") { ... on Session { refreshToken } } }'))
    as_session = (
        "mutation($token: String!) { refreshSession(refreshToken: $token) { ... on SignInRefused { reason } } }"
    )

    by_other = await other.refresh(tokens["refresh_token"])
    by_phone = data(await shop.ask(as_session, {"token": tokens["refresh_token"]}))
    of_phone = await app.refresh(phones["sandboxSignIn"]["refreshToken"])
    as_access = await shop.ask(ME, token=tokens["refresh_token"])

    assert by_other.json()["error"] == of_phone.json()["error"] == "invalid_grant"
    assert by_phone["refreshSession"]["reason"] == "UNKNOWN"
    assert codes(as_access) == ["UNAUTHENTICATED"]
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_member_sees_his_apps_with_their_use_and_not_among_his_phones(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()
    began = shop.clock.now()
    tokens = await app.let_in(member, "members:read")
    (unused,) = await apps_of(shop, member)

    await app.works(tokens["access_token"])
    await pass_time(shop, timedelta(minutes=4))
    await app.works(tokens["access_token"])
    (used,) = await apps_of(shop, member)
    await pass_time(shop, timedelta(minutes=2))
    await app.let_in(member, "wallet:read")
    await app.works(tokens["access_token"])
    (more,) = await apps_of(shop, member)
    phones = data(await shop.ask("{ me { sessions { id } } }", token=await shop.member_token(member)))

    assert unused["partner"] == {"name": "Coffee", "clientId": app.client_id}
    assert (unused["scopes"], unused["lastUsedAt"]) == (["members:read"], None)
    assert unused["grantedAt"][:16] == began.isoformat()[:16]
    assert used["lastUsedAt"][:16] == "2026-07-06T08:30"
    assert (more["scopes"], more["lastUsedAt"][:16]) == (["members:read", "wallet:read"], "2026-07-06T08:36")
    assert phones["me"]["sessions"] == []


async def test_revoking_an_app_ends_its_tokens_its_grant_its_reference_and_its_link(
    shop: Shop, app: PartnerApp
) -> None:
    member = await shop.enrol(reference="card-1")
    await shop.enrol(reference="card-2")
    tokens, code = await app.let_in(member), await app.code(member, VERIFIER)
    find = f'{{ member(by: {{id: "{member}"}}) {{ id }} }}'
    own = await shop.services.tokens.issue_partner_token(app.client_id, ["members:read"], shop.clock.now())
    seen_before = data(await shop.ask(find, token=own.text))["member"]

    removed = [(await shop.phone(member, REVOKE_APP, {"partner": app.client_id}))["revokeApp"] for _ in range(2)]
    of_till = (await shop.phone(member, REVOKE_APP, {"partner": shop.till_id}))["revokeApp"]

    assert seen_before == {"id": member}
    assert removed == [{"id": app.client_id}] * 2
    assert of_till == {"id": shop.till_id}
    assert codes(await shop.ask(ME, token=tokens["access_token"])) == ["UNAUTHENTICATED"]
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await app.trade(code, VERIFIER)).json()["error"] == "invalid_grant"
    assert data(await shop.ask(find, token=own.text)) == {"member": None}
    assert await shop.till(find) == {"member": None}
    assert await shop.till('{ member(by: {reference: "card-1"}) { id } }') == {"member": None}
    assert (await shop.till('{ member(by: {reference: "card-2"}) { id } }'))["member"] is not None
    assert await apps_of(shop, member) == []


async def test_letting_an_app_in_again_does_not_revive_what_was_taken_back(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()
    old, code = await app.let_in(member), await app.code(member, VERIFIER)
    await shop.phone(member, REVOKE_APP, {"partner": app.client_id})

    new = await app.let_in(member)

    assert await app.works(new["access_token"])
    assert not await app.works(old["access_token"])
    assert (await app.refresh(old["refresh_token"])).status_code == 400
    assert (await app.trade(code, VERIFIER)).status_code == 400


async def test_another_process_stops_the_tokens_within_seconds(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()
    token = (await app.let_in(member))["access_token"]
    elsewhere = await open_tokens(shop.services.store, shop.services.settings, shop.clock.now())
    assert await elsewhere.claims_of(token, shop.clock.now()) is not None

    await shop.phone(member, REVOKE_APP, {"partner": app.client_id})
    elsewhere._denials._read_at -= READ_EVERY_SECONDS

    assert await elsewhere.claims_of(token, shop.clock.now()) is None


async def test_a_key_that_enrolled_a_member_who_left_shows_him_no_more(shop: Shop) -> None:
    wanted = {"reference": "card-9", "idempotencyKey": new_key()}
    enrol = """
    mutation($input: EnrolMemberInput!) {
      enrolMember(input: $input) {
        ... on MemberEnrolled { isNew member { id } }
        ... on InvalidInput { fields { path } }
      }
    }
    """
    first = (await shop.till(enrol, {"input": wanted}))["enrolMember"]
    await shop.phone(first["member"]["id"], REVOKE_APP, {"partner": shop.till_id})

    replay = (await shop.till(enrol, {"input": wanted}))["enrolMember"]
    anew = (await shop.till(enrol, {"input": {**wanted, "idempotencyKey": new_key()}}))["enrolMember"]

    assert replay == {"fields": [{"path": "idempotencyKey"}]}
    assert anew["isNew"] is True
    assert anew["member"]["id"] != first["member"]["id"]


async def test_an_app_takes_value_by_the_grant_of_that_scope_alone(shop: Shop, app: PartnerApp) -> None:
    member = await shop.enrol()

    async def may() -> bool:
        return await may_take_value(
            shop.services.store, member, client_id=app.client_id, scope="prepaid:charge", now=shop.clock.now()
        )

    await app.let_in(member, "wallet:read")
    without = await may()
    await app.let_in(member, "prepaid:charge")
    with_it = await may()
    await shop.phone(member, REVOKE_APP, {"partner": app.client_id})

    assert (without, with_it, await may()) == (False, True, False)


async def test_a_token_tells_its_own_client_what_it_is_good_for_and_nobody_else(shop: Shop, app: PartnerApp) -> None:
    other, member = await a_partner_app(shop, name="Other"), await shop.enrol()
    tokens = await app.let_in(member)
    own = (await app.post("/oauth/token", grant_type="client_credentials", scope="wallet:read")).json()["access_token"]
    inactive = {"active": False}

    access, refresh = await app.introspect(tokens["access_token"]), await app.introspect(tokens["refresh_token"])
    for_itself = await app.introspect(own)
    successor = (await app.refresh(tokens["refresh_token"])).json()
    strangers: list[Any] = [
        await other.introspect(tokens["access_token"]),
        await other.introspect(tokens["refresh_token"]),
        await app.introspect(tokens["refresh_token"]),
        await app.introspect("garbage"),
        await app.introspect(await shop.member_token(member)),
    ]
    nobody = await shop.http.post("/oauth/introspect", data={"token": own})
    await pass_time(shop, timedelta(minutes=11))

    assert (access["active"], access["scope"], access["sub"]) == (True, "members:read wallet:read", member)
    assert (access["client_id"], access["exp"] - access["iat"]) == (app.client_id, 600)
    assert (refresh["active"], refresh["sub"], refresh["scope"]) == (True, member, "members:read wallet:read")
    assert (for_itself["sub"], for_itself["scope"]) == (app.client_id, "wallet:read")
    assert strangers == [inactive] * 5
    assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_client")
    assert await app.introspect(tokens["access_token"]) == inactive
    assert (await app.introspect(successor["refresh_token"]))["active"] is True


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_revoking_a_token_ends_its_stay(shop: Shop, app: PartnerApp, which: str) -> None:
    other, member = await a_partner_app(shop, name="Other"), await shop.enrol()
    tokens = await app.let_in(member)

    by_other = await other.post("/oauth/revoke", token=tokens[which], token_type_hint=which)
    still = await app.works(tokens["access_token"])
    revoked = [await app.post("/oauth/revoke", token=tokens[which], token_type_hint=which) for _ in range(2)]

    assert (by_other.status_code, still) == (200, True)
    assert [each.status_code for each in revoked] == [200, 200]
    assert not await app.works(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400


async def test_revoking_a_token_of_the_app_itself_ends_that_one_alone(shop: Shop, app: PartnerApp) -> None:
    one, two = [(await app.post("/oauth/token", grant_type="client_credentials")).json() for _ in range(2)]

    await app.post("/oauth/revoke", token=one["access_token"])
    garbage = await app.post("/oauth/revoke", token="garbage")
    nothing = await app.post("/oauth/revoke")

    assert not await app.works(one["access_token"])
    assert await app.works(two["access_token"])
    assert garbage.status_code == 200
    assert nothing.json()["error"] == "invalid_request"


async def test_a_disabled_partners_delegated_tokens_stop(shop: Shop, app: PartnerApp) -> None:
    tokens = await app.let_in(await shop.enrol())
    disable = f'mutation {{ disablePartner(partner: "{app.client_id}", disabled: true) {{ disabled }} }}'

    await shop.staff(disable, scopes=("staff:partners",))

    assert codes(await shop.ask(ME, token=tokens["access_token"])) == ["UNAUTHENTICATED"]
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_client"


async def test_no_code_is_in_the_database(shop: Shop, app: PartnerApp) -> None:
    code = await app.code(await shop.enrol(), VERIFIER)

    assert code not in repr(await shop.services.store.authorizations.find({}).to_list())


async def test_where_a_browser_lands_it_is_told_to_open_the_app(shop: Shop) -> None:
    page = await shop.http.get("/oauth/authorize", params={"client_id": "<script>"})

    assert page.status_code == 200
    assert "Open this address on the phone" in page.text
    assert "<script>" not in page.text
