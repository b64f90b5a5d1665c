"""Documents drawn from the schema at random, sent by every kind of caller: nothing may come out but answers.

Queries and mutations go by POST, subscriptions as server-sent events and over WebSocket, there among messages of which
some are no protocol at all; the client leaves after a moment.

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
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
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
MOMENT_SECONDS: Final = 0.05
_OK: Final = 200
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
        kind = self.random.choice(("query", "mutation", "mutation"))
        return self._body(kind, most=2)

    def subscription(self) -> dict[str, Any]:
        """The body of one subscription."""
        return self._body("subscription", most=1)

    def messages(self) -> list[dict[str, Any]]:
        """What a client says on a WebSocket once it is let in, subscriptions among it."""
        said: list[dict[str, Any]] = []
        for _ in range(self.random.randint(1, 4)):
            body = self.subscription() if self.random.random() < 0.7 else self.request()
            said.append({"type": "subscribe", "id": self.random.choice(("1", "2", "3")), "payload": body})
            if self.random.random() < 0.2:
                said.append({"type": "complete", "id": self.random.choice(("1", "2", 3, None))})
            if self.random.random() < 0.1:
                kind = self.random.choice(("ping", "pong", "subscribe", "connection_init", "nonsense", 7))
                said.append({"type": kind, "id": self.random.choice(_JUNK), "payload": self.random.choice(_JUNK)})
        return said

    def _body(self, kind: str, *, most: int) -> dict[str, Any]:
        self._variables = {}
        root = {"query": SCHEMA.query_type, "mutation": SCHEMA.mutation_type}.get(kind, SCHEMA.subscription_type)
        assert root is not None
        names = self.random.sample(sorted(root.fields), k=min(most, self.random.choice((1, 1, 2))))
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
    return _fault_in([response.text])


async def fault_of_events(shop: Shop, request: dict[str, Any], token: str | None) -> str | None:
    """The same for a subscription as server-sent events."""
    headers = [(b"content-type", b"application/json"), (b"accept", b"text/event-stream")]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    first = {"type": "http.request", "body": json.dumps(request).encode(), "more_body": False}
    sent = await _sent(shop, scope, [first], goodbye="http.disconnect", last="http.response.body")
    status = sent[0]["status"]
    body = b"".join(each.get("body", b"") for each in sent).decode()
    if status not in {200, 400, 401, 403, 429}:
        return f"status {status}: {body[:500]}"
    bodies = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: {")]
    return _fault_in(bodies if status == _OK else [body])


async def fault_of_socket(shop: Shop, messages: list[dict[str, Any]], token: str | None) -> str | None:
    """The same for what a client says over WebSocket."""
    scope = {"type": "websocket", "path": "/graphql/ws", "subprotocols": ["graphql-transport-ws"], "headers": []}
    said = [{"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}, *messages]
    received = [{"type": "websocket.receive", "text": json.dumps(each)} for each in said]
    begin = {"type": "websocket.connect"}
    sent = await _sent(shop, scope, [begin, *received], goodbye="websocket.disconnect", last="websocket.close")
    closed = [each["code"] for each in sent if each["type"] == "websocket.close"]
    if closed and closed[0] not in {4400, 4401, 4403, 4409, 4429}:
        return f"close code {closed[0]}"
    told = [json.loads(each["text"]) for each in sent if each["type"] == "websocket.send"]
    errors = [{"errors": each["payload"]} for each in told if each["type"] == "error"]
    return _fault_in(json.dumps(each) for each in (*errors, *(one["payload"] for one in told if one["type"] == "next")))


async def _sent(
    shop: Shop, scope: dict[str, Any], received: list[dict[str, Any]], *, goodbye: str, last: str
) -> list[dict[str, Any]]:
    """What the application sends to a client who says this, and leaves after the end, or a moment later."""
    waiting, sent, over = iter(received), list[dict[str, Any]](), asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        for each in waiting:
            return each
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), MOMENT_SECONDS)
        return {"type": goodbye, "code": 1001}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))
        if message["type"] == last and not message.get("more_body"):
            over.set()

    about = {"asgi": {"version": "3.0"}, "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("localhost", 80)}
    await shop.app(about | {"scheme": "http", "root_path": "", "raw_path": b""} | scope, receive, send)
    return sent


def _fault_in(bodies: Iterable[str]) -> str | None:
    for body in bodies:
        if "Traceback" in body or "site-packages" in body:
            return f"a stack trace: {body[:500]}"
        for error in json.loads(body).get("errors", ()):
            if error["extensions"].get("code", "INTERNAL") in {"INTERNAL", "GRAPHQL_VALIDATION_FAILED"}:
                return f"an error of ours: {error}"
    return None


async def fault_of_any(shop: Shop, author: Author, token: str | None) -> tuple[str | None, Any]:
    """What is wrong with the answer to something that the author says, and what he said."""
    match author.random.choices(("post", "events", "socket"), weights=(20, 1, 1))[0]:
        case "events":
            request: Any = author.subscription()
            return await fault_of_events(shop, request, token), request
        case "socket":
            request = author.messages()
            return await fault_of_socket(shop, request, token), request
        case _:
            request = author.request()
            return await fault_of(shop, request, token), request


async def run(shop: Shop, *, minutes: float, seed: int) -> tuple[int, list[str]]:
    """How many documents were answered, and the faults, one for each kind."""
    end, answered = time.monotonic() + minutes * 60, 0
    faults: dict[str, str] = {}
    while time.monotonic() < end:
        identifiers, tokens = await cast_of(shop)
        author = Author(seed + answered, identifiers)
        for _ in range(BATCH):
            fault, request = await fault_of_any(shop, author, author.random.choice(tokens))
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
