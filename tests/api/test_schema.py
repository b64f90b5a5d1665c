"""The schema against its contract: printed and current, nothing renamed, nothing narrowed, nothing forgotten."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    find_breaking_changes,
)

from api import schema

ROOT: Final = Path(__file__).parents[2]
SANDBOX_FIELDS: Final = {"sandboxSignIn", "sandboxStaffToken", "sandboxConfirmTopUp", "advanceClock"}

CONTRACT: Final = build_schema((ROOT / "tests" / "contract.graphql").read_text(encoding="utf-8"))
OURS: Final = build_schema(schema.sdl())
MISSING: Final = frozenset(
    line for line in (ROOT / "tests" / "contract_missing.txt").read_text(encoding="utf-8").splitlines() if line
)


def test_the_printed_schema_is_committed() -> None:
    committed = (ROOT / "schema.graphql").read_text(encoding="utf-8")

    assert committed == schema.sdl(), "print it again: wallet schema > schema.graphql"


def test_what_is_missing_of_the_contract_is_listed_and_nothing_else_is() -> None:
    contract, ours = coordinates(CONTRACT), coordinates(OURS)

    assert outermost(contract.keys() - ours.keys()) == MISSING


def test_what_there_is_of_the_contract_is_as_it_says() -> None:
    contract, ours = coordinates(CONTRACT), coordinates(OURS)

    assert {name: ours[name] for name in ours if name in contract} == {
        name: contract[name] for name in contract if name in ours
    }


def test_nothing_that_there_is_breaks_a_client_of_the_contract() -> None:
    breaking = [
        change.description
        for change in find_breaking_changes(CONTRACT, OURS)
        if MISSING.isdisjoint(word.strip(".'") for word in change.description.split())
    ]

    assert breaking == []


def test_what_the_contract_says_of_a_type_or_field_is_said_here() -> None:
    contract, ours = descriptions(CONTRACT), descriptions(OURS)

    assert {name: ours[name] for name in contract if name in ours} == {
        name: contract[name] for name in contract if name in ours
    }


def test_production_knows_no_field_of_the_sandbox() -> None:
    production = build_schema(schema.build_schema(sandbox=False).as_str())

    assert production.mutation_type is not None
    assert OURS.mutation_type is not None
    assert OURS.mutation_type.fields.keys() - production.mutation_type.fields.keys() == SANDBOX_FIELDS
    assert "ClockAdvanced" not in production.type_map


def outermost(names: Iterable[str]) -> set[str]:
    """The names without those that are part of another one: a field of a missing type, an argument of such a field."""
    names = set(names)
    return {name for name in names if not any(whole in names for whole in _wholes(name))}


def _wholes(name: str) -> Iterator[str]:
    for sign in (".", "(", " "):
        whole, found, _ = name.partition(sign)
        if found:
            yield whole


def coordinates(of: GraphQLSchema) -> dict[str, str]:
    """Every type, field, argument, value and member with what its type or default is."""
    found: dict[str, str] = {}
    for kind in of.type_map.values():
        if not kind.name.startswith("__"):
            found[kind.name] = type(kind).__name__
            found.update(_inside(kind))
    return found


def _inside(kind: GraphQLNamedType) -> Iterator[tuple[str, str]]:
    name = kind.name
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        yield from ((f"{name} implements {interface.name}", "") for interface in kind.interfaces)
        for field_name, field in kind.fields.items():
            yield f"{name}.{field_name}", str(field.type)
            for argument_name, argument in field.args.items():
                yield f"{name}.{field_name}({argument_name})", f"{argument.type} = {argument.default_value!r}"
    elif isinstance(kind, GraphQLInputObjectType):
        yield f"{name} oneOf", str(kind.is_one_of)
        for field_name, input_field in kind.fields.items():
            yield f"{name}.{field_name}", f"{input_field.type} = {input_field.default_value!r}"
    elif isinstance(kind, GraphQLEnumType):
        yield from ((f"{name}.{value}", "") for value in kind.values)
    elif isinstance(kind, GraphQLUnionType):
        yield from ((f"{name} | {member.name}", "") for member in kind.types)


def descriptions(of: GraphQLSchema) -> dict[str, str]:
    """The description of every type and field that has one."""
    found: dict[str, str] = {}
    for kind in of.type_map.values():
        if kind.name.startswith("__"):
            continue
        if kind.description:
            found[kind.name] = " ".join(kind.description.split())
        for field_name, field in getattr(kind, "fields", {}).items():
            if field.description:
                found[f"{kind.name}.{field_name}"] = " ".join(field.description.split())
    return found
