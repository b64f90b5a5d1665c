"""`make run`: a sandbox that has lived through a year, and what to try on it, in one command.

It starts the server as a process of its own, brings in the sample's receipts as a till does, and prints where
to look and tokens to use. What it made stays in the data folder, so that the second start goes on from there.

    DemoFailed      the server did not start, or there is nothing to replay
"""

import asyncio
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import httpx
import orjson

from api.replay import Receipt, read_receipts
from api.screen import SCREEN, show_replay
from api.serve import Plan, bound, start, stop_all
from api.services import open_clock
from api.tokens import open_tokens
from domain.members.member import member_by_reference
from domain.partners.partner import create_partner, find_partner, proves
from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from domain.settings import Settings
from domain.store.connection import opened_store

PROJECT: Final = Path(__file__).parents[1]
RECEIPTS: Final = PROJECT / "sample" / "receipts-2017-sample.jsonl.gz"
PROGRAMME: Final = PROJECT / "programme.yaml"
START: Final = datetime(2017, 1, 1, tzinfo=UTC)
READY_SECONDS: Final = 90.0
LOG_BYTES: Final = 2_000
_POLL_SECONDS: Final = 0.1
_QUERY: Final = "{ me { tier { tier { name } } wallet { points { available } cashback { available { amount } } } } }"


class DemoFailed(Exception):  # noqa: N818 -- says what is the case
    """The demo cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The till's, as OAuth knows it."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Handout:
    """What the newcomer is given: the shown member's id, and a token for each kind of client."""

    member: str
    now: datetime
    member_token: str
    till_token: str
    staff_token: str


def run_demo(settings: Settings, *, port: int, receipts: Path | None = None) -> None:
    """Runs until Ctrl-C. Raises PortTaken, DemoFailed, and what reading and replaying receipts raises."""
    year = read_receipts(receipts or _of_project(RECEIPTS))
    url = f"http://localhost:{port}"
    programme = settings.programme or _of_project(PROGRAMME)
    settings = replace(settings, public_url=url, programme=programme)
    plan = Plan(settings=settings, host="127.0.0.1", port=port, start_at=START)
    with bound(plan):
        settings.data.mkdir(parents=True, exist_ok=True)
    log = settings.data / "serve.log"
    server = start(plan, log=log)
    try:
        with SCREEN.status("Starting the database and the server …"):
            _wait_until_ready(server, url, log)
        till = asyncio.run(_find_or_make_till(settings))
        SCREEN.print(f"Replaying {len(year):,} receipts of 2017 through the till's API.")
        show_replay(year, url=url, client_id=till.client_id, client_secret=till.secret)
        handout = asyncio.run(_hand_out(settings, till, household=_busiest(year)))
        for line in guide(handout, till, settings=settings, log=log):
            SCREEN.print(line)
        server.join()
        raise DemoFailed(f"The server ended by itself; its log is {log}.")
    except KeyboardInterrupt:
        SCREEN.print("\nStopping …")
    finally:
        with suppress(KeyboardInterrupt):
            stop_all([server])


def guide(handout: Handout, till: Credentials, *, settings: Settings, log: Path) -> list[str]:
    """What to open and what to paste, line by line."""
    url = settings.public_url
    wallet = shlex.quote(sys.argv[0])
    body = orjson.dumps({"query": _QUERY}).decode()
    return [
        "",
        f"[bold]The wallet is open.[/] Its clock stands at {handout.now:%d %B %Y, %H:%M} UTC and runs on from there.",
        "",
        f"  GraphiQL  {url}/graphql",
        f"  Health    {url}/ready  {url}/metrics",
        "",
        "Tokens, good for ten minutes of its clock:",
        "",
        f"  [bold]member[/]  {handout.member_token}\n",
        f"  [bold]till[/]    {handout.till_token}\n",
        f"  [bold]staff[/]   {handout.staff_token}",
        "",
        "New ones whenever you want:",
        "",
        f"  {wallet} token member {handout.member}{_flags(settings)}",
        f"  curl -s {url}/oauth/token -u {till.client_id}:{till.secret} -d grant_type=client_credentials",
        f"  {wallet} token staff --scopes staff:members,staff:adjust{_flags(settings)}",
        "",
        "What that member sees (paste it into another terminal):",
        "",
        f"  curl -s {url}/graphql -H 'Content-Type: application/json' \\",
        f'    -H "Authorization: Bearer $({wallet} token member {handout.member}{_flags(settings)})" \\',
        f"    -d '{body}'",
        "",
        f"[dim]Ctrl-C stops everything. The data stays in {settings.data}, the log is {log}.[/]",
    ]


def _of_project(path: Path) -> Path:
    if not path.is_file():
        raise DemoFailed(f"{path} is missing; the demo runs from a checkout of the project.")
    return path


def _busiest(receipts: Sequence[Receipt]) -> str:
    return Counter(receipt.household for receipt in receipts).most_common(1)[0][0]


def _wait_until_ready(server: BaseProcess, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.is_alive():
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready").status_code == httpx.codes.OK:
                return
        time.sleep(_POLL_SECONDS)
    said = log.read_bytes()[-LOG_BYTES:].decode(errors="replace").strip()
    raise DemoFailed(f"The server did not start. The end of {log}:\n{said}")


async def _find_or_make_till(settings: Settings) -> Credentials:
    """The till of the runs before, whose keys and members are there already; a new one the first time."""
    kept = settings.data / "till.json"
    async with opened_store(settings) as store:
        if kept.is_file():
            till = Credentials(**orjson.loads(kept.read_bytes()))
            partner = await find_partner(store, till.client_id)
            if partner is not None and proves(partner, till.secret, operator_secret=settings.secret):
                return till
        clock = await open_clock(store, settings)
        partner, secret = await create_partner(
            store, settings.secret, name="Till", scopes=sorted(PARTNER_SCOPES), now=clock.now()
        )
    till = Credentials(client_id=partner.client_id, secret=secret)
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"client_id": till.client_id, "secret": till.secret}))
    return till


async def _hand_out(settings: Settings, till: Credentials, *, household: str) -> Handout:
    async with opened_store(settings) as store:
        now = (await open_clock(store, settings)).now()
        member = await member_by_reference(store, till.client_id, household)
        if member is None:
            raise DemoFailed(f"Household {household} was not enrolled; the replay says why.")
        tokens = await open_tokens(store, settings, now)
        return Handout(
            member=member.id,
            now=now,
            member_token=(await tokens.issue_member_token(member.id, now)).text,
            till_token=(await tokens.issue_partner_token(till.client_id, PARTNER_SCOPES, now)).text,
            staff_token=(await tokens.issue_staff_token("demo", STAFF_SCOPES, now)).text,
        )


def _flags(settings: Settings) -> str:
    told = " --sandbox"
    if settings.data != Path(".wallet"):
        told += f" --data {shlex.quote(str(settings.data))}"
    if settings.public_url != "http://localhost:8000":
        told += f" --url {settings.public_url}"
    return told
