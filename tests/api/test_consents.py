"""`setConsent`: what was never given is not granted, and what is withdrawn ends."""

from typing import Any

from tests.api.shop import Shop, codes

SET = """
mutation($purpose: ConsentPurpose!, $granted: Boolean!, $version: String!) {
  setConsent(purpose: $purpose, granted: $granted, version: $version) { purpose granted at version }
}
"""
CONSENTS = "{ me { consents { purpose granted at version } } }"


async def consent(shop: Shop, member: str, purpose: str, granted: bool, version: str = "2026-01") -> dict[str, Any]:
    variables = {"purpose": purpose, "granted": granted, "version": version}
    answered: dict[str, Any] = (await shop.phone(member, SET, variables))["setConsent"]
    return answered


async def test_only_a_members_own_session_has_consents(shop: Shop) -> None:
    member = await shop.enrol()
    variables = {"purpose": "MARKETING", "granted": True, "version": "1"}

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(SET, variables, token=token)) == ["FORBIDDEN"]
    assert [each["granted"] for each in (await shop.phone(member, CONSENTS))["me"]["consents"]] == [False] * 3


async def test_a_consent_is_given_withdrawn_and_given_again_and_its_history_stays(shop: Shop) -> None:
    member = await shop.enrol()

    given = await consent(shop, member, "MARKETING", True)
    await shop.advance("2026-07-07T08:30:00Z")
    again = await consent(shop, member, "MARKETING", True)
    withdrawn = await consent(shop, member, "MARKETING", False)

    assert given == {"purpose": "MARKETING", "granted": True, "at": given["at"], "version": "2026-01"}
    assert again == given
    assert withdrawn == {**given, "granted": False, "at": withdrawn["at"]}
    assert [given["at"][:16], withdrawn["at"][:16]] == ["2026-07-06T08:30", "2026-07-07T08:30"]
    never = {"granted": False, "at": None, "version": None}
    assert (await shop.phone(member, CONSENTS))["me"]["consents"] == [
        withdrawn,
        {"purpose": "LOCATION", **never},
        {"purpose": "PERSONALISATION", **never},
    ]
    document = await shop.services.store.members.find_one({"_id": member})
    assert document is not None
    history = [(each["purpose"], each["granted"]) for each in document["consent_history"]]
    assert history == [("MARKETING", True), ("MARKETING", False)]


async def test_other_words_are_another_consent(shop: Shop) -> None:
    member = await shop.enrol()
    await consent(shop, member, "MARKETING", True, "2026-01")

    renewed = await consent(shop, member, "MARKETING", True, "2026-07")

    assert (renewed["version"], renewed["granted"]) == ("2026-07", True)


async def test_a_withdrawal_is_told_to_the_cascades_once(shop: Shop) -> None:
    member = await shop.enrol()
    await consent(shop, member, "LOCATION", True)

    for _ in range(2):
        await consent(shop, member, "LOCATION", False)

    signals = await shop.services.store.signals.find({"member": member}).to_list()
    assert [(each["event"], each["facts"]) for each in signals] == [("consent.withdrawn", {"purpose": "LOCATION"})]


async def test_a_consent_to_no_words_is_refused(shop: Shop) -> None:
    member = await shop.enrol()
    variables = {"purpose": "MARKETING", "granted": True, "version": " "}

    refused = await shop.ask(SET, variables, token=await shop.member_token(member))

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert [each["granted"] for each in (await shop.phone(member, CONSENTS))["me"]["consents"]] == [False] * 3
