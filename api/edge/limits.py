"""How large a document may be, judged before validation, so that refusing one costs next to nothing.

Tokens are counted while the document is parsed, everything else in one walk over the parsed document that
expands fragments, once each, without recursion. Depth counts fields from the root's on, the leaf included: `{
me { id } }` is two deep. What hangs under ``__schema`` and ``__type`` is not counted here, it has its own
rule.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

from api.edge.errors import ExposedError

MAX_BODY_BYTES: Final = 64 * 1024
MAX_TOKENS: Final = 1_000
MAX_DEPTH: Final = 10
MAX_ALIASES: Final = 15
MAX_ROOT_FIELDS: Final = 20
MAX_FIELDS: Final = 400
_TOKEN: Final = re.compile(
    r'"""(?:\\"""|[^"]|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|#[^\n]*|\.\.\.|[_A-Za-z][_0-9A-Za-z]*|-?[0-9][0-9.eE+-]*'
    r"|[!$&()\[\]{}:=@|]"
)
"""Tokens, and comments, of which as many are allowed."""
_INTROSPECTION: Final = frozenset({"__schema", "__type"})


class LimitError(ExposedError):
    """The document is beyond a limit; the message names the limit and what it allows."""


@dataclass(slots=True, kw_only=True)
class Size:
    """How large an operation is with its fragments expanded."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    root_fields: int = 0


def parse_within_limits(text: str) -> DocumentNode:
    """The parsed document. Raises LimitError, and GraphQLSyntaxError for what is not a document."""
    # Counted first by a pattern: parsing a thousand tokens to refuse the next takes a hundred times as long.
    if sum(1 for _ in islice(_TOKEN.finditer(text), MAX_TOKENS + 1)) > MAX_TOKENS:
        raise _too_long()
    try:
        return parse(text, max_lexical_tokens=MAX_TOKENS, max_comments=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        if "more than" in error.message:
            raise _too_long() from None
        if "nested" in error.message:
            raise _too_deep() from None
        raise


def limit_errors(document: DocumentNode) -> list[GraphQLError]:
    """Each limit that an operation of the document exceeds; empty for a document that may be validated.

    Cycles and unknown fragments count as nothing here: validation names them.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    sizes = _fragment_sizes(fragments)
    errors: list[GraphQLError] = []
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            errors.extend(_exceeded(_measure(node.selection_set, sizes)))
    return errors


def _exceeded(size: Size) -> Iterator[LimitError]:
    if size.depth > MAX_DEPTH:
        yield _too_deep()
    if size.aliases > MAX_ALIASES:
        yield LimitError(
            f"The operation has {size.aliases} aliases; at most {MAX_ALIASES} are allowed.",
            code="TOO_MANY_ALIASES",
        )
    if size.root_fields > MAX_ROOT_FIELDS:
        yield LimitError(
            f"The operation has {size.root_fields} root fields; at most {MAX_ROOT_FIELDS} are allowed.",
            code="TOO_MANY_ROOT_FIELDS",
        )
    if size.fields > MAX_FIELDS:
        yield LimitError(
            f"The operation selects {size.fields} fields; at most {MAX_FIELDS} are allowed.",
            code="TOO_MANY_FIELDS",
        )


def _too_long() -> LimitError:
    return LimitError(
        f"The document has more than {MAX_TOKENS} tokens. Send values as variables, or ask in parts.",
        code="QUERY_TOO_LONG",
    )


def _too_deep() -> LimitError:
    return LimitError(
        f"The operation is more than {MAX_DEPTH} fields deep, which is the limit. Ask for less at once.",
        code="QUERY_TOO_DEEP",
    )


def _fragment_sizes(fragments: Mapping[str, FragmentDefinitionNode]) -> dict[str, Size]:
    """The size of every fragment, those that it spreads first; what closes a cycle counts nothing."""
    sizes: dict[str, Size] = {}
    entered: set[str] = set()
    for root in fragments:
        stack = [root]
        while stack:
            name = stack[-1]
            if name in sizes:
                stack.pop()
                continue
            inner = [] if name in entered else _spreads(fragments[name].selection_set)
            entered.add(name)
            missing = [each for each in inner if each in fragments and each not in entered]
            if missing:
                stack.extend(missing)
            else:
                sizes[name] = _measure(fragments[name].selection_set, sizes)
                stack.pop()
    return sizes


def _spreads(selections: SelectionSetNode) -> list[str]:
    found: list[str] = []
    stack = [selections]
    while stack:
        for node in stack.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                found.append(node.name.value)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                stack.append(node.selection_set)
    return found


def _measure(selections: SelectionSetNode, fragments: Mapping[str, Size]) -> Size:
    size = Size()
    stack = [(selections, 0)]
    while stack:
        inner, depth = stack.pop()
        for node in inner.selections:
            if isinstance(node, FieldNode):
                size.fields += 1
                size.aliases += node.alias is not None
                size.root_fields += depth == 0
                size.depth = max(size.depth, depth + 1)
                if node.selection_set is not None and node.name.value not in _INTROSPECTION:
                    stack.append((node.selection_set, depth + 1))
            elif isinstance(node, FragmentSpreadNode):
                spread = fragments.get(node.name.value)
                if spread is not None:
                    size.fields += spread.fields
                    size.aliases += spread.aliases
                    size.root_fields += spread.root_fields if depth == 0 else 0
                    size.depth = max(size.depth, depth + spread.depth)
            elif isinstance(node, InlineFragmentNode):
                stack.append((node.selection_set, depth))
    return size
