"""The table of who may touch what: that it is whole, that it is enforced, and what a production hides."""

from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLObjectType, build_schema
from strawberry.schema.config import StrawberryConfig

from api.access import (
    ROOT_TYPES,
    TABLE,
    AccessError,
    Anonymous,
    Caller,
    MemberCaller,
    PartnerCaller,
    StaffCaller,
    check,
    guard_schema,
)
from api.edge.documents import Documents, RequestError
from api.scalars import SCALARS
from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from tests.api.conftest import a_schema

OURS = {
    "Mutation.setPartnerKeys",
    "Member.sessions",
    "Mutation.endSession",
    "Mutation.refundTopUp",
    "Mutation.sandboxConfirmTopUp",
    "Mutation.setMemberTags",
    "Query.simulateCascade",
}
"""What we have beside the contract."""
CONTRACT = Path(__file__).parents[1] / "contract.graphql"
MEMBER = MemberCaller(member_id="m1")
PARTNER = PartnerCaller(client_id="pa_till", scopes=PARTNER_SCOPES)
DELEGATE = PartnerCaller(client_id="pa_till", scopes=frozenset(), member_id="m1")
STAFF = StaffCaller(subject="ana", scopes=STAFF_SCOPES)


def allowed(caller: Caller, coordinate: str) -> bool:
    try:
        check(caller, coordinate)
    except AccessError:
        return False
    return True


def test_every_field_of_the_contracts_roots_has_a_requirement_and_no_other() -> None:
    contract = build_schema(CONTRACT.read_text(encoding="utf-8"))

    fields = {
        f"{name}.{field}"
        for name in ROOT_TYPES
        if isinstance(root := contract.get_type(name), GraphQLObjectType)
        for field in root.fields
    }

    assert {each for each in TABLE if each.partition(".")[0] in ROOT_TYPES} == fields | {
        each for each in OURS if each.partition(".")[0] in ROOT_TYPES
    }
    for coordinate in TABLE.keys() - OURS:
        owner, _, field = coordinate.partition(".")
        kind = contract.get_type(owner)
        assert isinstance(kind, GraphQLObjectType)
        assert field in kind.fields


def test_nobody_in_particular_gets_at_public_fields_only() -> None:
    assert {each for each in TABLE if allowed(Anonymous(), each)} == {
        "Query.programme",
        "Mutation.signIn",
        "Mutation.refreshSession",
        "Mutation.signOut",
        "Mutation.sandboxSignIn",
        "Mutation.sandboxConfirmTopUp",
        "Mutation.sandboxStaffToken",
        "Mutation.advanceClock",
    }


@pytest.mark.parametrize(
    ("coordinate", "scope"),
    [
        ("Query.member", "members:read"),
        ("Member.profile", "members:read"),
        ("Member.wallet", "wallet:read"),
        ("Query.voucher", "vouchers:use"),
        ("Query.previewPurchase", "activity:write"),
        ("Mutation.enrolMember", "members:enrol"),
        ("Mutation.recordPurchase", "activity:write"),
        ("Mutation.recordPurchases", "activity:write"),
        ("Mutation.returnPurchase", "activity:write"),
        ("Mutation.authorizePayment", "prepaid:charge"),
        ("Mutation.topUpAtTill", "prepaid:topup"),
        ("Mutation.redeemRewardFor", "points:spend"),
    ],
)
def test_a_partner_needs_the_scope_and_that_scope_alone(coordinate: str, scope: str) -> None:
    with_it = PartnerCaller(client_id="pa_till", scopes=frozenset({scope}))
    without = PartnerCaller(client_id="pa_till", scopes=PARTNER_SCOPES - {scope})

    assert allowed(with_it, coordinate)
    with pytest.raises(AccessError) as refused:
        check(without, coordinate)

    assert refused.value.extensions == {"code": "FORBIDDEN", "scope": scope}


@pytest.mark.parametrize("field", ["createPartner", "rotatePartnerSecret", "disablePartner"])
def test_staff_needs_the_scope_for_partners_and_that_scope_alone(field: str) -> None:
    coordinate = f"Mutation.{field}"
    with_it = StaffCaller(subject="ana", scopes=frozenset({"staff:partners"}))
    without = StaffCaller(subject="ana", scopes=STAFF_SCOPES - {"staff:partners"})

    assert allowed(with_it, coordinate)
    assert not allowed(PARTNER, coordinate)
    assert not allowed(MEMBER, coordinate)
    with pytest.raises(AccessError) as refused:
        check(without, coordinate)

    assert refused.value.extensions == {"code": "FORBIDDEN", "scope": "staff:partners"}


def test_sessions_are_a_members_own_and_a_session_is_renewed_by_whoever_has_its_token() -> None:
    assert allowed(MEMBER, "Member.sessions")
    assert allowed(MEMBER, "Mutation.endSession")
    for caller in (Anonymous(), PARTNER, DELEGATE, STAFF):
        assert not allowed(caller, "Member.sessions")
        assert not allowed(caller, "Mutation.endSession")
        assert allowed(caller, "Mutation.refreshSession")
        assert allowed(caller, "Mutation.signOut")


def test_a_partner_with_every_scope_gets_at_nothing_that_is_a_members_or_staffs() -> None:
    closed = {each for each in TABLE if not allowed(PARTNER, each)}

    assert {"Query.me", "Mutation.redeemReward", "Mutation.eraseMe", "Member.inbox", "Member.code"} <= closed
    assert {"Mutation.adjustBalance", "Mutation.publishProgramme", "Query.report"} <= closed
    assert allowed(DELEGATE, "Query.me")
    assert not allowed(DELEGATE, "Member.wallet")


def test_a_member_records_nothing_and_staff_reads_no_inbox() -> None:
    assert not allowed(MEMBER, "Mutation.recordPurchase")
    assert not allowed(MEMBER, "Mutation.adjustBalance")
    assert not allowed(STAFF, "Mutation.recordPurchase")
    assert not allowed(STAFF, "Member.inbox")
    assert allowed(MEMBER, "Member.wallet")
    assert allowed(STAFF, "Mutation.adjustBalance")


def test_a_schema_with_a_field_that_nobody_decided_on_does_not_start() -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        def everything(self) -> int:
            return 1

    schema = strawberry.Schema(query=Query, config=StrawberryConfig(scalar_map=SCALARS))

    with pytest.raises(AssertionError, match="Query: everything"):
        guard_schema(schema._schema)


def test_a_production_tells_nobody_in_particular_about_its_schema() -> None:
    documents = Documents(a_schema(), open_to_all=False)
    asked = documents.select(documents.prepare("{ ...F } fragment F on Query { __schema { description } }"), None)

    with pytest.raises(RequestError) as refused:
        documents.admit(asked, Anonymous())
    documents.admit(asked, MEMBER)
    with pytest.raises(RequestError) as misspelt:
        documents.prepare("{ programm { name } }")

    assert refused.value.code == "INTROSPECTION_DISABLED"
    assert "Did you mean" not in misspelt.value.errors[0].message


def test_a_document_is_validated_once_and_only_so_many_are_kept() -> None:
    documents = Documents(a_schema(), open_to_all=True)

    first = documents.prepare("{ programme { name } }")

    assert documents.prepare("{ programme { name } }") is first
    for each in range(600):
        documents.prepare(f"query Q{each} {{ programme {{ name }} }}")
    assert len(documents._kept) == 500
    assert documents.prepare("{ programme { name } }") is not first
