"""The schema as operations run on it: guarded, and without the detours that Strawberry takes.

A schema is prepared once, however many applications share it.
"""

from collections.abc import Callable
from dataclasses import MISSING
from operator import attrgetter
from typing import Any, Final

from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema, is_required_input_field
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from api.access import guard_schema

_READY: Final = "member-wallet-ready"
"""Marks a schema that is prepared."""


def prepare_schema(schema: GraphQLSchema) -> None:
    """Guard the fields (:mod:`api.access`), and let graphql-core read them and make inputs by itself.

    Doing it again changes nothing. Raises AssertionError for a root field whose access nobody stated, and for an input
    that cannot be made.
    """
    if not schema.extensions.get(_READY):
        _read_plainly(schema)
        _make_inputs_at_once(schema)
        guard_schema(schema)
        schema.extensions[_READY] = True


def _read_plainly(schema: GraphQLSchema) -> None:
    """Let every field without a resolver of its own read its attribute, and nothing else."""
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("__"):
            continue
        for field in kind.fields.values():
            definition = field.extensions.get("strawberry-definition")
            if isinstance(definition, StrawberryField) and definition.is_basic_field:
                field.resolve = _reader(definition.python_name)


def _make_inputs_at_once(schema: GraphQLSchema) -> None:
    """Let graphql-core make strawberry's input objects while it checks them.

    Otherwise strawberry walks all arguments a second time, which costs a third of a purchase, and judges @oneOf
    itself, without telling where. Raises AssertionError for an input that could not be made of what is allowed.
    """
    for kind in schema.type_map.values():
        definition = kind.extensions.get("strawberry-definition")
        if isinstance(kind, GraphQLInputObjectType) and isinstance(definition, StrawberryObjectDefinition):
            kind.is_one_of = definition.is_one_of
            kind.out_type = _maker(definition.origin)  # type: ignore[method-assign, assignment]
            definition.from_input = _made_already
            defaults = {field.python_name: field for field in definition.fields}
            for name, field in kind.fields.items():
                ours = field.extensions["strawberry-definition"]
                field.out_name = ours.python_name
                optional = defaults[ours.python_name].default is not MISSING
                optional |= defaults[ours.python_name].default_factory is not MISSING
                assert optional or is_required_input_field(field), f"{kind.name}.{name} wants a default"


def _maker(origin: type) -> Callable[[dict[str, Any]], Any]:
    def make(value: dict[str, Any]) -> Any:
        return origin(**value)

    return make


def _made_already(origin: type, value: Any, _context: object) -> Any:
    assert isinstance(value, origin), "an operation that api.edge.documents did not run"
    return value


def _reader(name: str) -> Any:
    read = attrgetter(name)

    def resolve(source: Any, _info: Any) -> Any:
        return read(source)

    return resolve
