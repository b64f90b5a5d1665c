"""What an operation costs, known before it runs (DESIGN §6).

An object costs 1, a page 2 and n times what one of its items costs, a mutation 10; a plain value costs nothing, and
a list that has no pages counts as one object, but for the results of a list of inputs, which count once for each
input. Introspection has prices of its own, since what hangs under it is cheap to ask and dear to answer. What is
under @skip or @include counts. The price of a document is worked out once, before it is validated, so that what is too
dear whatever its variables costs little to refuse; only sizes that come as variables are left to fill in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_input_object_type,
    is_list_type,
)

MAX_COST: Final = 1_000
MAX_COUNT: Final = 100_000
"""More items than that count as so many: it is too dear in any case, and the cost stays a number for JSON."""
OBJECT_COST: Final = 1
PAGE_COST: Final = 2
MUTATION_COST: Final = 10
SCHEMA_COST: Final = 100
TYPE_COST: Final = 10
_INTROSPECTION: Final = {"__schema": SCHEMA_COST, "__type": TYPE_COST}
_PAGE_INFO: Final = "PageInfo"
_EDGES: Final = "edges"
_FIRST: Final = "first"


class FragmentCycle(Exception):  # noqa: N818 -- says what is the case
    """A fragment spreads itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many items: `number`, unless the request has a value for `variable`."""

    number: int
    variable: str | None = None

    def of(self, variables: Mapping[str, Any]) -> int:
        given = variables.get(self.variable) if self.variable is not None else None
        if isinstance(given, list):
            return len(given)
        if isinstance(given, int) and not isinstance(given, bool):
            return max(0, min(given, MAX_COUNT))
        return self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`fixed`, and for each of `repeated` a price that many times."""

    fixed: int = 0
    repeated: tuple[tuple[Count, "Price"], ...] = ()

    def of(self, variables: Mapping[str, Any]) -> int:
        """The cost with those variables, never less than 1."""
        return max(1, _sum(self, variables))

    @property
    def least(self) -> int:
        """The cost when all sizes that come as variables are 0, never less than 1."""
        return max(1, _least(self))

    def plus(self, other: "Price") -> "Price":
        return Price(fixed=self.fixed + other.fixed, repeated=self.repeated + other.repeated)

    def times(self, count: Count) -> "Price":
        if not self.repeated and count.variable is None:
            return Price(fixed=count.number * self.fixed)
        return Price(repeated=((count, self),))


def _sum(price: Price, variables: Mapping[str, Any]) -> int:
    return price.fixed + sum(count.of(variables) * _sum(each, variables) for count, each in price.repeated)


def _least(price: Price) -> int:
    fixed = (count.number * _least(each) for count, each in price.repeated if count.variable is None)
    return price.fixed + sum(fixed)


def price_of(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Price:
    """The price of an operation of a document within its limits, see :mod:`api.edge.limits`.

    What validation will refuse costs nothing: unknown fields, types and fragments. Raises FragmentCycle.
    """
    root = schema.get_root_type(operation.operation)
    if root is None:
        return Price()
    defaults = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
    book = _Book(schema=schema, fragments=fragments, defaults=defaults)
    field = MUTATION_COST if operation.operation is OperationType.MUTATION else OBJECT_COST
    return book.selected(root, operation.selection_set, field=field)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    defaults: Mapping[str, ValueNode | None]
    entered: set[str] = field(default_factory=set)
    known: dict[tuple[str, int, Count | None], Price] = field(default_factory=dict)

    def selected(
        self,
        owner: GraphQLNamedType | None,
        selections: SelectionSetNode,
        *,
        field: int = OBJECT_COST,
        page: Count | None = None,
    ) -> Price:
        """The price of the selections in an `owner`; of one that is a page, its lists have that many items."""
        total = Price()
        for node in selections.selections:
            if isinstance(node, FieldNode):
                total = total.plus(self._field(owner, node, field=field, page=page))
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inside = owner if condition is None else self._type(condition.name.value)
                total = total.plus(self.selected(inside, node.selection_set, field=field, page=page))
            elif isinstance(node, FragmentSpreadNode):
                total = total.plus(self._spread(node.name.value, field=field, page=page))
        return total

    def _spread(self, name: str, *, field: int, page: Count | None) -> Price:
        """The price of what the fragment selects, worked out once. Raises FragmentCycle."""
        fragment, known = self.fragments.get(name), self.known.get((name, field, page))
        if fragment is None or known is not None:
            return known or Price()
        if name in self.entered:
            raise FragmentCycle
        self.entered.add(name)
        inside = self._type(fragment.type_condition.name.value)
        price = self.known[name, field, page] = self.selected(inside, fragment.selection_set, field=field, page=page)
        self.entered.discard(name)
        return price

    def _field(self, owner: GraphQLNamedType | None, node: FieldNode, *, field: int, page: Count | None) -> Price:
        name = node.name.value
        if name in _INTROSPECTION:
            return Price(fixed=_INTROSPECTION[name])
        definition = owner.fields.get(name) if isinstance(owner, GraphQLObjectType | GraphQLInterfaceType) else None
        if definition is None:
            return Price()
        kind = get_named_type(definition.type)
        if not is_composite_type(kind) or node.selection_set is None:
            return Price(fixed=field if field == MUTATION_COST else 0)
        if page is not None and kind.name == _PAGE_INFO:
            return Price()
        if _FIRST in definition.args:
            count = self._count(node, definition, _FIRST)
            return Price(fixed=PAGE_COST).plus(self.selected(kind, node.selection_set, page=count))
        if page is not None and name == _EDGES:
            return self.selected(kind, node.selection_set).times(page)
        inside = self.selected(kind, node.selection_set)
        is_list = is_list_type(get_nullable_type(definition.type))
        if page is not None and is_list:
            return Price(fixed=OBJECT_COST).plus(inside).times(page)
        if is_list and (inputs := _inputs(definition)) is not None:
            return Price(fixed=field).plus(
                Price(fixed=OBJECT_COST).plus(inside).times(self._count(node, definition, inputs))
            )
        return Price(fixed=field).plus(inside)

    def _type(self, name: str) -> GraphQLNamedType | None:
        return self.schema.get_type(name)

    def _count(self, node: FieldNode, definition: GraphQLField, argument: str) -> Count:
        default = definition.args[argument].default_value
        number = default if isinstance(default, int) else 1
        for given in node.arguments or ():
            if given.name.value == argument:
                return self._read(given.value, number)
        return Count(number=number)

    def _read(self, value: ValueNode | None, otherwise: int) -> Count:
        match value:
            case IntValueNode():
                return Count(number=max(0, min(int(value.value[:12]), MAX_COUNT)))
            case ListValueNode():
                return Count(number=len(value.values))
            case VariableNode():
                name = value.name.value
                return Count(number=self._read(self.defaults.get(name), otherwise).number, variable=name)
            case _:
                return Count(number=otherwise)


def _inputs(definition: GraphQLField) -> str | None:
    """The argument that is a list of inputs, each of which has its result in its place."""
    for name, argument in definition.args.items():
        if is_list_type(get_nullable_type(argument.type)) and is_input_object_type(get_named_type(argument.type)):
            return name
    return None
