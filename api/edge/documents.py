"""Documents, parsed and validated once per text, and the execution of their operations.

Parsing and validating cost more than most operations do, and a client sends the same few texts all day, so
what is valid is kept, the least recently used going first. What is refused is not kept: it would only drive
out the rest. A transport prepares a document, selects an operation and runs it; what a caller may not touch
is refused between the two, before anything is done.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, TypeGuard, cast

import strawberry
from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    NoFragmentCyclesRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    create_source_event_stream,
    execute,
    execute_subscription_event,
    get_named_type,
    specified_rules,
    type_from_ast,
    validate,
)
from graphql.utilities.validate_input_value import validate_input_value
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api import access
from api.context import Context
from api.edge.cost import MAX_COST, FragmentCycle, Price, price_of
from api.edge.errors import BAD_USER_INPUT, ExposedError, formatted, formatted_field_error
from api.edge.limits import limit_errors, parse_within_limits
from api.edge.prepared_schema import prepare_schema
from api.edge.variable_errors import variable_error

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
OPERATION_UNKNOWN: Final = "OPERATION_RESOLUTION_FAILURE"
INTROSPECTION_DISABLED: Final = "INTROSPECTION_DISABLED"
TOO_COSTLY: Final = "QUERY_TOO_COSTLY"
KEPT_DOCUMENTS: Final = 500
MAX_VALIDATION_ERRORS: Final = 20
MAX_VARIABLE_ERRORS: Final = 20
_IS_AWAITABLE: Final = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)
_CONDITIONS: Final = frozenset({"skip", "include"})
_INTROSPECTION: Final = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a valid document.

    `guarded` are the fields of `api.access.TABLE` that it selects without a condition; those under @skip and
    @include are left to the guard in front of their resolver.
    """

    document: DocumentNode
    name: str | None
    kind: OperationType
    node: OperationDefinitionNode
    guarded: tuple[str, ...]
    introspects: bool
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A valid document; its operations by name, in their order."""

    operations: Mapping[str | None, Operation]


class RequestError(Exception):
    """The request cannot be executed; `errors` are answered, `code` is that of the stage.

    `retry_after` is in whole seconds, where the same request may succeed later.
    """

    def __init__(self, errors: list[GraphQLError], *, code: str, retry_after: int | None = None) -> None:
        self.errors = errors
        self.code = code
        self.retry_after = retry_after
        super().__init__(code)

    @property
    def code_shown(self) -> str:
        """The code of the first of the errors, which may bring its own."""
        return str((self.errors[0].extensions or {}).get("code", self.code))

    def response(self, request_id: str) -> dict[str, Any]:
        """The response's body."""
        return {"errors": [formatted(error, code=self.code, request_id=request_id) for error in self.errors]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came of a request. `body` is JSON-ready; `executed` is false if it was refused before it began."""

    body: dict[str, Any]
    executed: bool


class Documents:
    """The schema, and the documents known to be valid for it.

    `open_to_all` is true where anybody may introspect the schema and is helped with suggestions (a sandbox).
    """

    def __init__(self, schema: strawberry.Schema, *, open_to_all: bool) -> None:
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 -- there is no public way to it
        self._open_to_all = open_to_all
        self._kept: OrderedDict[str, Document] = OrderedDict()
        prepare_schema(self._schema)

    def prepare(self, text: str) -> Document:
        """The valid document of this text. Raises RequestError."""
        kept = self._kept.get(text)
        if kept is not None:
            self._kept.move_to_end(text)
            return kept
        document = self._validated(text)
        self._kept[text] = document
        if len(self._kept) > KEPT_DOCUMENTS:
            self._kept.popitem(last=False)
        return document

    def is_kept(self, text: str) -> bool:
        """Whether preparing this text costs nothing any more."""
        return text in self._kept

    def forget(self, text: str) -> None:
        """Prepare this text anew the next time."""
        self._kept.pop(text, None)

    def cost(self, operation: Operation, variables: Mapping[str, Any]) -> int:
        """What the operation costs with these variables. Raises RequestError for more than one may cost."""
        cost = operation.price.of(variables)
        if cost > MAX_COST:
            raise _too_costly(cost)
        return cost

    def select(self, document: Document, name: str | None) -> Operation:
        """The operation called `name`, or the only one. Raises RequestError."""
        if name is None and len(document.operations) == 1:
            return next(iter(document.operations.values()))
        operation = document.operations.get(name) if name is not None else None
        if operation is None:
            message = (
                "The document has several operations: say which one in operationName."
                if name is None
                else f"The document has no operation named {name[:100]!r}."
            )
            raise RequestError([GraphQLError(message)], code=OPERATION_UNKNOWN)
        return operation

    def admit(self, operation: Operation, caller: access.Caller) -> None:
        """Raises RequestError unless the caller may touch every field that the operation selects."""
        if operation.introspects and not self._open_to_all and isinstance(caller, access.Anonymous):
            raise RequestError(
                [ExposedError("Introspection needs an access token here.", code=INTROSPECTION_DISABLED)],
                code=INTROSPECTION_DISABLED,
            )
        refusals: dict[str, GraphQLError] = {}
        for coordinate in operation.guarded:
            try:
                access.check(caller, coordinate)
            except access.AccessError as refusal:
                refusals.setdefault(refusal.message, refusal)
        if refusals:
            raise RequestError(list(refusals.values()), code=access.FORBIDDEN)

    async def run(self, operation: Operation, variables: Mapping[str, Any], context: Context) -> Response:
        """Execute a query or a mutation that was admitted. Never raises for what a resolver does."""
        outcome = execute(
            self._schema,
            operation.document,
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            executor_class=StrawberryGraphQLCoreExecutionContext,
            is_awaitable=_IS_AWAITABLE,
            hide_suggestions=not self._open_to_all,
            max_coercion_errors=MAX_VARIABLE_ERRORS,
        )
        result: ExecutionResult = await _awaited(outcome) if isawaitable(outcome) else outcome
        if result.errors and result.data is None and all(error.path is None for error in result.errors):
            errors = self._variable_errors(operation, variables) or result.errors
            return Response(body=RequestError(errors, code=BAD_USER_INPUT).response(context.request_id), executed=False)
        return self._executed(result, context.request_id)

    async def subscribe(
        self, operation: Operation, variables: Mapping[str, Any], renewed: Callable[[], Context]
    ) -> AsyncGenerator[Response, None]:
        """A response for each event of a subscription that was admitted, each with a context of its own instant.

        A failure of the subscription itself is its last response. Raises RequestError for variables that cannot be
        taken.
        """
        context = renewed()
        executor = StrawberryGraphQLCoreExecutionContext.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=dict(variables),
            operation_name=operation.name,
            is_awaitable=_IS_AWAITABLE,
            hide_suggestions=not self._open_to_all,
            max_coercion_errors=MAX_VARIABLE_ERRORS,
        )
        if isinstance(executor, list):
            raise RequestError(self._variable_errors(operation, variables) or executor, code=BAD_USER_INPUT)
        made = create_source_event_stream(executor)
        source = await made if isawaitable(made) else made
        if isinstance(source, ExecutionResult):
            errors = source.errors or []
            for original in (error.original_error for error in errors):
                if original is not None and not isinstance(original, GraphQLError):
                    raise original  # a failure of ours, which whoever called masks
            raise RequestError(errors, code=BAD_USER_INPUT)
        async with aclosing(cast("AsyncGenerator[Any, None]", source)):
            try:
                async for event in source:
                    context = renewed()
                    each = executor.build_per_event_executor(event)
                    each.context_value = context
                    outcome = execute_subscription_event(each)
                    result = await _awaited(outcome) if isawaitable(outcome) else outcome
                    yield self._executed(result, context.request_id)
            except ExposedError as error:
                yield Response(
                    body={"errors": [formatted_field_error(error, request_id=context.request_id)]}, executed=True
                )

    def _executed(self, result: ExecutionResult, request_id: str) -> Response:
        if not result.errors:
            return Response(body={"data": result.data}, executed=True)
        shown = [formatted_field_error(error, request_id=request_id) for error in result.errors]
        return Response(body={"errors": shown, "data": result.data}, executed=True)

    def _validated(self, text: str) -> Document:
        try:
            parsed = parse_within_limits(text)
        except GraphQLError as error:
            raise RequestError([error], code=PARSE_FAILED) from None
        if errors := limit_errors(parsed):
            raise RequestError(errors, code=VALIDATION_FAILED)
        fragments = {node.name.value: node for node in parsed.definitions if isinstance(node, FragmentDefinitionNode)}
        operations = [node for node in parsed.definitions if isinstance(node, OperationDefinitionNode)]
        # Before it is validated, which takes longer than all else.
        rules: Collection[type[ASTValidationRule]] = specified_rules
        try:
            prices = [price_of(self._schema, node, fragments) for node in operations]
        except FragmentCycle:
            prices, rules = [], [NoFragmentCyclesRule]
        if prices and (least := min(price.least for price in prices)) > MAX_COST:
            raise _too_costly(least)
        errors = validate(
            self._schema,
            parsed,
            rules,
            max_errors=MAX_VALIDATION_ERRORS,
            hide_suggestions=not self._open_to_all,
        )
        if errors:
            raise RequestError(errors, code=VALIDATION_FAILED)
        made = [
            _operation(self._schema, parsed, node, price=price, fragments=fragments)
            for node, price in zip(operations, prices, strict=True)
        ]
        return Document(operations={each.name: each for each in made})

    def _variable_errors(self, operation: Operation, variables: Mapping[str, Any]) -> list[GraphQLError]:
        """The errors of the variables once more, each with its path: graphql-core tells it in words only."""
        errors: list[GraphQLError] = []
        for definition in operation.node.variable_definitions or ():
            name = definition.variable.name.value
            kind: Any = type_from_ast(self._schema, definition.type)

            def note(error: GraphQLError, path: list[str | int], name: str = name) -> None:
                errors.append(variable_error(name, path, error.message))

            if name in variables:
                validate_input_value(variables[name], kind, note, hide_suggestions=not self._open_to_all)
            elif definition.default_value is None:
                validate_input_value(None, kind, note, hide_suggestions=not self._open_to_all)
        return errors[:MAX_VARIABLE_ERRORS]


async def _awaited(outcome: Awaitable[ExecutionResult]) -> ExecutionResult:
    return await outcome


def _too_costly(cost: int) -> RequestError:
    error = ExposedError(
        f"The operation costs {cost}; at most {MAX_COST} is allowed. Ask for less, or in smaller pages.",
        code=TOO_COSTLY,
        details={"cost": cost, "maximum": MAX_COST},
    )
    return RequestError([error], code=TOO_COSTLY)


def _operation(
    schema: GraphQLSchema,
    parsed: DocumentNode,
    node: OperationDefinitionNode,
    *,
    price: Price,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Operation:
    root = schema.get_root_type(node.operation)
    assert root is not None, "validated"
    touched = _touched(schema, root, node.selection_set, fragments)
    return Operation(
        document=parsed,
        name=node.name.value if node.name else None,
        kind=node.operation,
        node=node,
        guarded=tuple(each for each in touched if each in access.TABLE),
        introspects=any(each.partition(".")[2] in _INTROSPECTION for each in touched),
        price=price,
    )


def _touched(
    schema: GraphQLSchema,
    root: GraphQLObjectType,
    selections: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> list[str]:
    """Each ``Type.field`` that is selected without a condition; fragments are entered once."""
    touched: dict[str, None] = {}
    entered: set[str] = set()
    stack: list[tuple[GraphQLNamedType, SelectionSetNode]] = [(root, selections)]
    while stack:
        owner, inner = stack.pop()
        for node in inner.selections:
            if any(directive.name.value in _CONDITIONS for directive in node.directives or ()):
                continue
            if isinstance(node, FieldNode):
                coordinate = f"{owner.name}.{node.name.value}"
                touched[coordinate] = None
                if coordinate in access.JUDGED_WHEN_THERE:
                    continue
                if node.selection_set is not None and isinstance(owner, GraphQLObjectType | GraphQLInterfaceType):
                    field = owner.fields.get(node.name.value)
                    if field is not None:
                        stack.append((get_named_type(field.type), node.selection_set))
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inside = owner if condition is None else schema.get_type(condition.name.value)
                assert inside is not None, "validated"
                stack.append((inside, node.selection_set))
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in entered:
                entered.add(node.name.value)
                fragment = fragments[node.name.value]
                inside = schema.get_type(fragment.type_condition.name.value)
                assert inside is not None, "validated"
                stack.append((inside, fragment.selection_set))
    return list(touched)
