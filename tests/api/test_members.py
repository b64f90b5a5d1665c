"""Members: who is found, by whom, and what nobody can find out."""

import asyncio
from typing import Any

import pytest

from tests.api.shop import ENROL, Shop, codes, data, new_key

MEMBER = """
query Member($by: MemberLookup!) {
  member(by: $by) { id joinedAt tier { tier { id } } profile { displayName } wallet { version } }
}
"""
NODE = "query Node($id: ID!) { node(id: $id) { __typename id } }"


async def test_nobody_in_particular_sees_no_member(shop: Shop) -> None:
    member = await shop.enrol()

    answers = [
        await shop.ask("{ me { id } }"),
        await shop.ask(MEMBER, {"by": {"id": member}}),
        await shop.ask(NODE, {"id": member}),
    ]

    assert [codes(answer) for answer in answers] == [["UNAUTHENTICATED"]] * 3


async def test_a_till_reads_what_its_scopes_say(shop: Shop) -> None:
    member = await shop.enrol()
    token = await shop.till_token("members:read")

    refused = await shop.ask(MEMBER, {"by": {"id": member}}, token=token)
    allowed = data(
        await shop.ask(
            "query($by: MemberLookup!) { member(by: $by) { id tier { tier { id } } } }",
            {"by": {"id": member}},
            token=token,
        )
    )

    assert codes(refused) == ["FORBIDDEN"]
    assert refused["errors"][0]["extensions"]["scope"] == "wallet:read"
    assert allowed["member"] == {"id": member, "tier": {"tier": {"id": "bronze"}}}


async def test_a_partner_finds_its_members_and_nobody_else(shop: Shop) -> None:
    member = await shop.enrol("ref-of-till", displayName="Ana")

    found = [await shop.till(MEMBER, {"by": by}) for by in ({"id": member}, {"reference": "ref-of-till"})]
    unknown = await shop.till(MEMBER, {"by": {"id": "AAAAAAAAAAAAAAAA"}})
    hidden = [
        await shop.other_till(MEMBER, {"by": by})
        for by in ({"id": member}, {"reference": "ref-of-till"}, {"code": "12345678"})
    ]

    assert [each["member"]["id"] for each in found] == [member, member]
    assert found[0]["member"]["profile"] == {"displayName": "Ana"}
    assert hidden == [unknown] * 3 == [{"member": None}] * 3


async def test_staff_find_members_by_id(shop: Shop) -> None:
    member = await shop.enrol("a-reference")

    found = await shop.staff(MEMBER, {"by": {"id": member}}, scopes=("staff:members",))
    by_reference = await shop.staff(MEMBER, {"by": {"reference": "a-reference"}}, scopes=("staff:members",))

    assert found["member"]["id"] == member
    assert by_reference == {"member": None}


async def test_a_delegated_token_speaks_for_its_member_and_no_other(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    issued = await shop.services.tokens.issue_partner_token(
        shop.till_id, ["members:read", "wallet:read"], shop.clock.now(), member_id=member
    )

    me = data(await shop.ask("{ me { id wallet { version } } }", token=issued.text))
    another = data(await shop.ask(MEMBER, {"by": {"id": other}}, token=issued.text))
    itself = data(await shop.ask(MEMBER, {"by": {"id": member}}, token=issued.text))

    assert me == {"me": {"id": member, "wallet": {"version": 1}}}
    assert another == {"member": None}
    assert itself["member"]["id"] == member


async def test_a_node_is_seen_by_who_may_see_it(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()

    own = [await shop.phone(member, NODE, {"id": each}) for each in (member, f"{member}.1", "store-330")]
    foreign = [
        await shop.phone(member, NODE, {"id": each})
        for each in (other, f"{other}.1", f"{member}.9", shop.till_id, "garbage", "")
    ]
    tills = [await shop.till(NODE, {"id": each}) for each in (member, f"{member}.1", shop.till_id)]
    hidden = [await shop.other_till(NODE, {"id": each}) for each in (member, f"{member}.1", shop.till_id)]

    assert [each["node"]["__typename"] for each in own] == ["Member", "Entry", "Place"]
    assert foreign == [{"node": None}] * 6
    assert [each["node"]["__typename"] for each in tills] == ["Member", "Entry", "Partner"]
    assert hidden == [{"node": None}] * 3


async def test_a_node_keeps_the_scopes_of_its_fields(shop: Shop) -> None:
    member = await shop.enrol()
    token = await shop.till_token("members:read")

    entry = data(await shop.ask(NODE, {"id": f"{member}.1"}, token=token))
    wallet = await shop.ask(
        "query($id: ID!) { node(id: $id) { ... on Member { wallet { version } } } }", {"id": member}, token=token
    )

    assert entry == {"node": None}
    assert codes(wallet) == ["FORBIDDEN"]


async def test_a_partner_sees_itself(shop: Shop) -> None:
    seen = await shop.till("{ partner { id name clientId scopes redirectUris disabled } }")

    assert seen["partner"] == {
        "id": shop.till_id,
        "name": "Till",
        "clientId": shop.till_id,
        "scopes": ["activity:write", "members:enrol", "members:read", "wallet:read"],
        "redirectUris": [],
        "disabled": False,
    }


async def test_enrolling_makes_a_member_with_what_joining_gives(shop: Shop) -> None:
    profile = {
        "displayName": "Ana Kos",
        "email": "ana@example.com",
        "phone": "+38640123456",
        "birthday": "1990-02-28",
        "locale": "sl",
        "timeZone": "Europe/Ljubljana",
    }
    wanted = {"reference": "ref-new", "profile": profile, "idempotencyKey": new_key()}

    enrolled = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]

    assert (enrolled["isNew"], enrolled["replayed"]) == (True, False)
    assert enrolled["member"]["profile"] == profile
    assert enrolled["member"]["wallet"] == {"version": 1, "points": {"available": 100}}


async def test_who_told_nothing_has_the_programmes_language_and_zone(shop: Shop) -> None:
    wanted = {"reference": "ref-bare", "idempotencyKey": new_key()}

    enrolled = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]

    assert enrolled["member"]["profile"] == {
        "displayName": None,
        "email": None,
        "phone": None,
        "birthday": None,
        "locale": "en",
        "timeZone": "America/New_York",
    }


async def test_enrolling_twice_is_the_same_member(shop: Shop) -> None:
    wanted = {"reference": "ref-same", "idempotencyKey": new_key()}
    first = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]

    again = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]
    other_key = (await shop.till(ENROL, {"input": {**wanted, "idempotencyKey": new_key()}}))["enrolMember"]
    other_input = (await shop.till(ENROL, {"input": {**wanted, "reference": "ref-else"}}))["enrolMember"]

    assert again == {**first, "replayed": True}
    assert (other_key["isNew"], other_key["replayed"]) == (False, False)
    assert other_key["member"]["id"] == first["member"]["id"]
    assert (other_input["__typename"], other_input["differs"]) == ("IdempotencyMismatch", ["reference"])
    assert await shop.posted() == 1


async def test_twenty_tills_that_enrol_one_reference_make_one_member(shop: Shop) -> None:
    inputs = [{"reference": "ref-one", "idempotencyKey": new_key()} for _ in range(20)]

    answers = await asyncio.gather(*(shop.till(ENROL, {"input": each}) for each in inputs))

    assert len({answer["enrolMember"]["member"]["id"] for answer in answers}) == 1
    assert sorted(answer["enrolMember"]["isNew"] for answer in answers) == [False] * 19 + [True]
    assert await shop.posted() == 1


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"reference": ""}, ["reference"]),
        ({"reference": "r" * 129}, ["reference"]),
        ({"profile": {"email": "ana"}}, ["profile.email"]),
        ({"profile": {"email": "ana@localhost"}}, ["profile.email"]),
        ({"profile": {"phone": "040 123 456"}}, ["profile.phone"]),
        ({"profile": {"displayName": "x" * 201}}, ["profile.displayName"]),
        ({"profile": {"birthday": "1899-12-31"}}, ["profile.birthday"]),
        ({"profile": {"birthday": "2026-07-06"}}, ["profile.birthday"]),
        ({"profile": {"locale": "xx-klingon"}}, ["profile.locale"]),
        ({"profile": {"timeZone": "Mars/Olympus"}}, ["profile.timeZone"]),
        ({"profile": {"referralCode": "NOBODY"}}, ["profile.referralCode"]),
        ({"reference": "", "profile": {"email": "", "phone": ""}}, ["reference", "profile.email", "profile.phone"]),
    ],
)
async def test_what_is_wrong_with_an_enrolment_is_told_by_its_paths_and_nobody_is_made(
    shop: Shop, changes: dict[str, Any], paths: list[str]
) -> None:
    wanted = {"reference": "ref-wrong", "idempotencyKey": new_key(), **changes}

    refused = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]

    assert refused["__typename"] == "InvalidInput"
    assert [field["path"] for field in refused["fields"]] == paths
    assert await shop.services.store.members.count_documents({}) == 0
    assert await shop.posted() == 0


async def test_a_till_that_may_not_enrol_makes_nobody(shop: Shop) -> None:
    token = await shop.till_token("members:read")
    wanted = {"reference": "ref-none", "idempotencyKey": new_key()}
    query = "mutation($input: EnrolMemberInput!) { enrolMember(input: $input) { __typename } }"

    refused = await shop.ask(query, {"input": wanted}, token=token)

    assert codes(refused) == ["FORBIDDEN"]
    assert await shop.services.store.members.count_documents({}) == 0
