"""The table of who may touch what, tried whole through HTTP: every field and mutation by every kind of caller.

What each may do comes from `api.access.TABLE`, and is held against what the contract says of each field; that it is so
comes from the server's answers.
"""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    OperationType,
    build_schema,
    get_named_type,
    is_leaf_type,
)

from api.access import TABLE, Anonymous, Caller, MemberCaller, PartnerCaller, StaffCaller, allows
from api.context import Context
from api.edge.documents import Documents, RequestError
from api.schema import build_schema as build_api
from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from domain.settings import Settings
from domain.store.connection import Store
from tests.api.shop import Shop, opened_shop

CONTRACT = Path(__file__).parents[1] / "contract.graphql"
PRINTED = Path(__file__).parents[2] / "schema.graphql"
SCALARS: Final = {
    "ID": '"x"',
    "String": '"x"',
    "Int": "1",
    "Long": "1",
    "Float": "1.5",
    "Boolean": "true",
    "DateTime": '"2001-01-01T00:00:00Z"',
    "Date": '"2001-01-01"',
    "Decimal": '"1.00"',
    "Currency": '"USD"',
    "JSON": '{keys: "x"}',
    "Duration": '"P1D"',
}
CAREFUL: Final = {"Mutation.eraseMe": '(confirm: " ")'}
"""Arguments that leave the member in place for the next question."""
NO_ANSWERS: Final = {"INTERNAL", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "RATE_LIMITED", "UNAVAILABLE"}
"""Errors that say nothing of who may do what."""
_keys = count(1)


def callers() -> Iterator[tuple[str, Caller]]:
    """Every kind of caller by name; ids stand for those that the test makes."""
    yield "anonymous", Anonymous()
    yield "member", MemberCaller(member_id="member")
    for scopes in (frozenset[str](), *(frozenset({scope}) for scope in sorted(PARTNER_SCOPES))):
        named = " ".join(scopes) or "nothing"
        yield f"partner {named}", PartnerCaller(client_id="till", scopes=scopes)
        yield f"delegate {named}", PartnerCaller(client_id="till", scopes=scopes, member_id="member")
    for scopes in (frozenset[str](), *(frozenset({scope}) for scope in sorted(STAFF_SCOPES))):
        yield f"staff {' '.join(scopes) or 'nothing'}", StaffCaller(subject="ana", scopes=scopes)


CALLERS: Final = dict(callers())


@pytest.fixture(scope="module")
async def shop(prepared_store: Store, settings: Settings) -> AsyncIterator[Shop]:
    """One application for all, over a database that was emptied once."""
    for name in await prepared_store.database.list_collection_names():
        await prepared_store.database[name].delete_many({})
    async with opened_shop(prepared_store, settings) as shop:
        yield shop


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(PRINTED.read_text(encoding="utf-8"))


def literal(kind: GraphQLInputType) -> str:
    """A value of that type; of optional fields none is given, of a @oneOf the first."""
    if isinstance(kind, GraphQLNonNull):
        return literal(kind.of_type)
    if isinstance(kind, GraphQLList):
        return f"[{literal(kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        first: str = next(iter(kind.values))
        return first
    if isinstance(kind, GraphQLInputObjectType):
        needed: dict[str, Any] = {
            name: field.type
            for name, field in kind.fields.items()
            if isinstance(field.type, GraphQLNonNull) and field.ast_node and field.ast_node.default_value is None
        }
        if kind.is_one_of:
            name, field = next(iter(kind.fields.items()))
            needed = {name: field.type}
        return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in needed.items()) + "}"
    if kind.name == "IdempotencyKey":
        return f'"key-{next(_keys):08}"'
    return SCALARS[kind.name]


def selection(coordinate: str, name: str, field: GraphQLField) -> str:
    """The field with the arguments that it needs, and nothing asked of what it answers but its type."""
    needed = {each: argument.type for each, argument in field.args.items() if isinstance(argument.type, GraphQLNonNull)}
    arguments = ", ".join(f"{each}: {literal(kind)}" for each, kind in needed.items())
    shown = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    return f"{name}{CAREFUL.get(coordinate) or (f'({arguments})' if arguments else '')}{shown}"


def document(coordinate: str, schema: GraphQLSchema, *, way: str) -> str | None:
    """A document that touches the field, on a member by `way`; None for what this schema, or this way, has not."""
    owner, _, name = coordinate.partition(".")
    kind = schema.get_type(owner)
    if not isinstance(kind, GraphQLObjectType) or name not in kind.fields:
        return None
    asked = selection(coordinate, name, kind.fields[name])
    match owner:
        case "Query":
            return f"{{ {asked} }}"
        case "Mutation":
            return f"mutation {{ {asked} }}"
        case "Member":
            return f"{{ {way} {{ id {asked} }} }}"
        case "Subscription":
            return f"subscription {{ {asked} }}"
        case _:
            return None


async def token_of(shop: Shop, caller: Caller, member: str) -> str | None:
    tokens, now = shop.services.tokens, shop.clock.now()
    match caller:
        case Anonymous():
            return None
        case MemberCaller():
            return (await tokens.issue_member_token(member, now)).text
        case PartnerCaller():
            delegated = member if caller.member_id else None
            return (await tokens.issue_partner_token(shop.till_id, caller.scopes, now, member_id=delegated)).text
        case StaffCaller():
            return (await tokens.issue_staff_token("ana", caller.scopes, now)).text


def really(caller: Caller, shop: Shop, member: str) -> Caller:
    """The caller with the ids of the till and the member that there are."""
    match caller:
        case PartnerCaller():
            return replace(caller, client_id=shop.till_id, member_id=member if caller.member_id else None)
        case MemberCaller():
            return replace(caller, member_id=member)
        case _:
            return caller


def on_the_way(caller: Caller) -> Caller:
    """The caller with what it takes to reach a member at all."""
    match caller:
        case PartnerCaller(member_id=None):
            return PartnerCaller(client_id=caller.client_id, scopes=caller.scopes | {"members:read"})
        case StaffCaller():
            return StaffCaller(subject=caller.subject, scopes=caller.scopes | {"staff:members"})
        case _:
            return caller


def refusals(answered: dict[str, Any]) -> set[str]:
    codes = {error["extensions"]["code"] for error in answered.get("errors", ())}
    assert codes.isdisjoint(NO_ANSWERS), answered
    return codes & {"FORBIDDEN", "UNAUTHENTICATED"}


async def refused_stream(shop: Shop, asked: str, token: str | None) -> set[str]:
    """The codes with which a subscription is refused as server-sent events."""
    headers = {"Accept": "text/event-stream"} | ({"Authorization": f"Bearer {token}"} if token else {})
    response = await shop.http.post("/graphql", json={"query": asked}, headers=headers)
    assert response.status_code in {401, 403}
    return refusals(response.json())


async def unadmitted(shop: Shop, documents: Documents, asked: str, caller: Caller) -> set[str]:
    """The codes of an operation that is run without having been admitted, as no transport does."""
    operation = documents.select(documents.prepare(asked), None)

    def context() -> Context:
        return Context(caller=caller, request_id="r", now=shop.clock.now(), locale=None, wallet=shop.services)

    if operation.kind is not OperationType.SUBSCRIPTION:
        return refusals((await documents.run(operation, {}, context())).body)
    with pytest.raises(RequestError) as refused:
        await anext(documents.subscribe(operation, {}, context))
    return refusals(refused.value.response("r"))


@pytest.mark.parametrize("name", CALLERS)
async def test_every_caller_touches_what_the_table_says_and_nothing_else(
    shop: Shop, schema: GraphQLSchema, name: str
) -> None:
    member = await shop.enrol()
    tokens: dict[Caller, str | None] = {}
    wrong = []
    for coordinate, requirement in TABLE.items():
        caller = on_the_way(CALLERS[name]) if coordinate.startswith("Member.") else CALLERS[name]
        own = isinstance(caller, MemberCaller) or (isinstance(caller, PartnerCaller) and caller.member_id)
        asked = document(coordinate, schema, way="me" if own else f'member(by: {{id: "{member}"}})')
        if asked is None:
            continue
        if caller not in tokens:
            tokens[caller] = await token_of(shop, caller, member)
        if coordinate.startswith("Subscription."):
            if not allows(caller, requirement):
                assert await refused_stream(shop, asked, tokens[caller]) == {
                    "UNAUTHENTICATED" if isinstance(caller, Anonymous) else "FORBIDDEN"
                }
            continue
        answered = await shop.ask(asked, token=tokens[caller])
        told = refusals(answered)
        expected = set() if allows(caller, requirement) else {"FORBIDDEN"}
        if expected and isinstance(caller, Anonymous):
            expected = {"UNAUTHENTICATED"}
        if told != expected:
            wrong.append((coordinate, answered))

    assert wrong == []


async def test_the_guard_in_front_of_the_resolvers_refuses_by_itself_what_the_table_does_not_allow(
    shop: Shop, schema: GraphQLSchema
) -> None:
    member = await shop.enrol()
    documents = Documents(build_api(sandbox=True), open_to_all=True)
    before = await shop.posted()
    passed = []
    for caller in (
        CALLERS[name] for name in ("anonymous", "member", "partner nothing", "delegate nothing", "staff nothing")
    ):
        known = really(caller, shop, member)
        for coordinate, requirement in TABLE.items():
            reaching = on_the_way(known) if coordinate.startswith("Member.") else known
            own = getattr(reaching, "member_id", None) is not None
            asked = document(coordinate, schema, way="me" if own else f'member(by: {{id: "{member}"}})')
            if asked is None or allows(reaching, requirement):
                continue
            told = await unadmitted(shop, documents, asked, reaching)
            if told != {"UNAUTHENTICATED" if isinstance(caller, Anonymous) else "FORBIDDEN"}:
                passed.append((coordinate, reaching, told))

    assert passed == []
    assert await shop.posted() == before


def test_the_table_says_what_the_contract_says() -> None:
    contract = build_schema(CONTRACT.read_text(encoding="utf-8"))
    differing = {}
    for coordinate, requirement in TABLE.items():
        owner, _, name = coordinate.partition(".")
        kind = contract.get_type(owner)
        field = kind.fields.get(name) if isinstance(kind, GraphQLObjectType) else None
        said = re.search(r"scope: ([a-z:, ]+)$", (field.description or "") if field is not None else "")
        if said is not None and not set(said[1].split(", ")) <= set(requirement.scopes):
            differing[coordinate] = said[1]

    assert differing == {}


async def test_a_partner_cannot_tell_a_member_that_is_not_linked_from_one_that_is_not_there(shop: Shop) -> None:
    linked, stranger = await shop.enrol(), await shop.enrol()
    await shop.services.store.members.update_one({"_id": stranger}, {"$unset": {"linked": "", "references": ""}})
    nobody = "A" * 16
    purchase = (
        '{{member: {{id: "{0}"}}, receipt: "R-1", idempotencyKey: "key-of-nobody", '
        'total: {{amount: "1.00", currency: "USD"}}}}'
    )
    asked = (
        '{{ member(by: {{id: "{0}"}}) {{ id }} node(id: "{0}") {{ id }} entry: node(id: "{0}.1") {{ id }} }}',
        f"mutation {{{{ recordPurchase(input: {purchase}) {{{{ ... on NotFound {{{{ code message what }}}} }}}} }}}}",
        f"{{{{ previewPurchase(input: {purchase}) {{{{ ... on NotFound {{{{ code message what }}}} }}}} }}}}",
    )

    of_stranger = [await shop.till(each.format(stranger)) for each in asked]
    of_nobody = [await shop.till(each.format(nobody)) for each in asked]
    of_linked = await shop.till(asked[0].format(linked))

    assert of_stranger == of_nobody
    assert of_linked["member"] == of_linked["node"] == {"id": linked}
    assert of_linked["entry"] == {"id": f"{linked}.1"}


async def test_a_node_is_seen_by_who_may_see_it_by_any_other_way(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    programme = shop.services.programmes.current
    ids = {
        "Member": member,
        "Entry": f"{member}.1",
        "Reward": next(iter(programme.rewards)),
        "Place": next(iter(programme.places)),
        "Partner": shop.till_id,
        "Nothing": "nothing",
    }
    of_till = {"client_id": shop.till_id}
    tokens = {
        "member": await shop.member_token(member),
        "other member": await shop.member_token(other),
        "partner": await shop.till_token("members:read", "wallet:read", **of_till),
        "partner that reads no wallet": await shop.till_token("members:read"),
        "partner that is not linked": await shop.till_token(client_id=shop.other_till_id),
        "staff": await shop.staff_token("staff:members"),
        "staff for partners": await shop.staff_token("staff:partners"),
        "delegate": (
            await shop.services.tokens.issue_partner_token(
                shop.till_id, ["members:read", "wallet:read"], shop.clock.now(), member_id=other
            )
        ).text,
    }
    everybodys = {"Reward", "Place"}

    seen = {}
    for who, token in tokens.items():
        query = "{ " + " ".join(f'{kind}: node(id: "{each}") {{ id }}' for kind, each in ids.items()) + " }"
        answered = await shop.ask(query, token=token)
        seen[who] = {kind for kind, node in answered["data"].items() if node is not None}

    assert seen == {
        "member": {"Member", "Entry"} | everybodys,
        "other member": everybodys,
        "partner": {"Member", "Entry", "Partner"} | everybodys,
        "partner that reads no wallet": {"Member", "Partner"} | everybodys,
        "partner that is not linked": everybodys,
        "staff": {"Member", "Entry"} | everybodys,
        "staff for partners": {"Partner"} | everybodys,
        "delegate": {"Partner"} | everybodys,
    }
