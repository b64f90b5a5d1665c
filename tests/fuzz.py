"""Documents drawn from the schema at random, sent by every kind of caller: nothing may come out but answers.

    python -m tests.fuzz --minutes 10

draws other ones each time, and prints those that were answered wrongly, one of each kind.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from api.schema import build_schema
from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from domain.settings import read_settings
from domain.store.connection import opened_store
from domain.store.embedded import open_embedded
from tests.api.shop import Shop, opened_shop

MEMBERS: Final = 40
DEPTH: Final = 5
BATCH: Final = 500
# Production's: a clock that is moved to the year 9999 would end the run.
SCHEMA: Final = build_schema(sandbox=False)._schema
_TEXTS: Final = ("", "a", "card-7", "Zoë 🏊", "\\u0000", "' OR 1=1", "{$gt: 1}", "x" * 3_000, "../..", "2026-07-06")
_VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "DateTime": ("2026-07-06T08:30:00Z", "2026-07-06T10:30:00.5+02:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
    "Date": ("2026-07-06", "2024-02-29", "0001-01-01", "9999-12-31"),
    "Duration": ("P30D", "PT2H", "P0D", "P9999Y"),
    "Decimal": ("12.50", "1", "0", "-1", "0.001", "99999999999999999999", "1e3"),
    "Currency": ("USD", "EUR", "XXX", "usd"),
    "IdempotencyKey": ("key-00000001", "key-00000002", "key-00000003", "short"),
    "Long": (0, 1, -1, 100, 2**31, 2**53 - 1, -(2**53)),
    "Int": (0, 1, 20, 100, 101, -1, 2**31 - 1, 2**31),
    "Float": (0.0, 46.05, -90.0, 180.5, 1e308),
    "Boolean": (True, False),
    "JSON": ({}, {"a": [1, None]}, [], "text", 7),
    "String": _TEXTS,
    "ID": _TEXTS,
}
_JUNK: Final[tuple[Any, ...]] = (None, 7, -0.5, True, "text", [], {}, [[]], {"a": {"b": []}})


class Author:
    """Writes valid documents with variables, most of which have values of the right kind; equal for equal seeds.

    `identifiers` are ids and references that exist.
    """

    def __init__(self, seed: int, identifiers: list[str]) -> None:
        self.random = Random(seed)
        self._identifiers = identifiers
        self._variables: dict[str, tuple[str, Any]] = {}

    def request(self) -> dict[str, Any]:
        """The body of one request."""
        self._variables = {}
        kind = self.random.choice(("query", "mutation", "mutation"))
        root = SCHEMA.query_type if kind == "query" else SCHEMA.mutation_type
        assert root is not None
        names = self.random.sample(sorted(root.fields), k=self.random.choice((1, 1, 2)))
        selected = " ".join(self._field(root, name, DEPTH) for name in names)
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in self._variables.items())
        text = f"{kind} {f'({declared})' if declared else ''} {{ {selected} }}"
        return {"query": text, "variables": {name: value for name, (_, value) in self._variables.items()}}

    def _field(self, owner: GraphQLObjectType | GraphQLInterfaceType, name: str, depth: int) -> str:
        field = owner.fields[name]
        given = []
        for argument, definition in field.args.items():
            if is_required_argument(definition) or self.random.random() < 0.5:
                variable = f"v{len(self._variables)}"
                self._variables[variable] = (str(definition.type), self._value(definition.type, 4))
                given.append(f"{argument}: ${variable}")
        arguments = f"({', '.join(given)})" if given else ""
        return f"{name}{arguments}{self._selection(field.type, depth)}"

    def _selection(self, kind: GraphQLOutputType, depth: int) -> str:
        named = get_named_type(kind)
        if is_leaf_type(named):
            return ""
        if isinstance(named, GraphQLUnionType):
            parts = [f"... on {each.name}{self._selection(each, depth)}" for each in self._some(list(named.types), 3)]
            return " { __typename ... on Problem { code message } " + " ".join(parts) + " }"
        assert isinstance(named, GraphQLObjectType | GraphQLInterfaceType)
        names = [each for each, field in named.fields.items() if depth > 1 or is_leaf_type(get_named_type(field.type))]
        return " { __typename " + " ".join(self._field(named, each, depth - 1) for each in self._some(names, 4)) + " }"

    def _value(self, kind: GraphQLInputType, depth: int) -> Any:
        if self.random.random() < 0.04:
            return self.random.choice(_JUNK)
        bare = get_nullable_type(kind)
        if isinstance(bare, GraphQLList):
            return [self._value(bare.of_type, depth - 1) for _ in range(self.random.choice((0, 1, 1, 2)))]
        if isinstance(bare, GraphQLEnumType):
            return self.random.choice(sorted(bare.values))
        if isinstance(bare, GraphQLInputObjectType):
            if bare.is_one_of:
                name = self.random.choice(sorted(bare.fields))
                return {name: self._value(bare.fields[name].type, depth - 1)}
            return {
                name: self._value(field.type, depth - 1)
                for name, field in bare.fields.items()
                if is_required_input_field(field) or (depth > 0 and self.random.random() < 0.5)
            }
        if bare.name in {"ID", "String"} and self.random.random() < 0.5:
            return self.random.choice(self._identifiers)
        return self.random.choice(_VALUES[bare.name])

    def _some(self, of: list[Any], most: int) -> list[Any]:
        return self.random.sample(of, k=min(len(of), self.random.randint(1, most))) if of else []


async def cast_of(shop: Shop) -> tuple[list[str], list[str | None]]:
    """Ids that exist, and tokens of nobody, a till with every scope, staff with every scope, and members."""
    members = [await shop.enrol() for _ in range(MEMBERS)]
    till = await shop.till_token(*sorted(PARTNER_SCOPES))
    staff = await shop.staff_token(*sorted(STAFF_SCOPES))
    rewards = sorted(shop.services.programmes.current.rewards)
    return [*members[:5], *rewards], [None, till, till, staff, *[await shop.member_token(each) for each in members]]


async def fault_of(shop: Shop, request: dict[str, Any], token: str | None) -> str | None:
    """What is wrong with the answer to the request; None if nothing is."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    response = await shop.http.post("/graphql", content=json.dumps(request).encode(), headers=headers)
    if response.status_code not in {200, 429}:
        return f"status {response.status_code}: {response.text[:500]}"
    if "Traceback" in response.text or "site-packages" in response.text:
        return f"a stack trace: {response.text[:500]}"
    for error in response.json().get("errors", ()):
        if error["extensions"].get("code", "INTERNAL") in {"INTERNAL", "GRAPHQL_VALIDATION_FAILED"}:
            return f"an error of ours: {error}"
    return None


async def run(shop: Shop, *, minutes: float, seed: int) -> tuple[int, list[str]]:
    """How many documents were answered, and the faults, one for each kind."""
    end, answered = time.monotonic() + minutes * 60, 0
    faults: dict[str, str] = {}
    while time.monotonic() < end:
        identifiers, tokens = await cast_of(shop)
        author = Author(seed + answered, identifiers)
        for _ in range(BATCH):
            request, token = author.request(), author.random.choice(tokens)
            fault = await fault_of(shop, request, token)
            answered += 1
            if fault is not None:
                faults.setdefault(fault[:60], f"{fault}\n{json.dumps(request)}")
    return answered, list(faults.values())


async def _main(*, minutes: float, seed: int) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder,
        open_embedded(Path(folder)) as embedded,
    ):
        settings = read_settings({}, mode="sandbox", mongodb_url=embedded.url, database="fuzz")
        async with opened_store(settings) as store, opened_shop(store, settings) as shop:
            answered, faults = await run(shop, minutes=minutes, seed=seed)
    print(f"seed {seed}: {answered:,} documents", *(faults or ["all answered well"]), sep="\n")  # noqa: T201 -- a command
    return 1 if faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(_main(minutes=arguments.minutes, seed=arguments.seed)))


if __name__ == "__main__":
    main()
