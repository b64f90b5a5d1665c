"""The schema against its contract: printed and current, nothing renamed, nothing narrowed, nothing forgotten."""

from collections.abc import Iterator
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


def test_the_printed_schema_is_committed() -> None:
    committed = (ROOT / "schema.graphql").read_text(encoding="utf-8")

    assert committed == schema.sdl(), "print it again: wallet schema > schema.graphql"


def test_all_of_the_contract_is_there_as_it_says() -> None:
    contract, ours = coordinates(CONTRACT), coordinates(OURS)

    assert {name: ours.get(name) for name in contract} == contract


def test_nothing_that_there_is_breaks_a_client_of_the_contract() -> None:
    assert [change.description for change in find_breaking_changes(CONTRACT, OURS)] == []


def test_what_the_contract_says_of_a_type_or_field_is_said_here() -> None:
    contract, ours = descriptions(CONTRACT), descriptions(OURS)

    assert {name: ours.get(name) for name in contract} == contract


def test_production_knows_no_field_of_the_sandbox() -> None:
    production = build_schema(schema.build_schema(sandbox=False).as_str())

    assert production.mutation_type is not None
    assert OURS.mutation_type is not None
    assert OURS.mutation_type.fields.keys() - production.mutation_type.fields.keys() == SANDBOX_FIELDS
    assert "ClockAdvanced" not in production.type_map


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
