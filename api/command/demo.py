"""`make run`: a sandbox that has lived through a year, and what to try in it, in one command.

It starts the server as a process of its own, brings in the sample's receipts as a till does, and prints where
to look and tokens to use. What it made stays in the data folder, so that the second start goes on from there.

    DemoFailed      the server did not start, or there is nothing to replay
"""

import asyncio
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Final

import httpx
import orjson

from api.auth.tokens import open_tokens
from api.command.plan import Plan
from api.command.replay import Receipt, read_receipts
from api.command.screen import SCREEN, show_replay
from api.command.serve import bound, start, stop_all
from domain.failure import Failure
from domain.members.member import member_by_reference
from domain.partners.partner import create_partner, find_partner, proves
from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from domain.settings import FCM_URL, Settings
from domain.store.clock import open_clock
from domain.store.connection import opened_store
from notifications.phone.address import PHONE_PORT
from notifications.phone.process import running_phones
from notifications.phone.terminal import NoPhones, watch

PROJECT: Final = Path(__file__).parents[2]
RECEIPTS: Final = PROJECT / "sample" / "receipts-2017-sample.jsonl.gz"
PROGRAMME: Final = PROJECT / "programme.yaml"
START: Final = datetime(2017, 1, 1, tzinfo=UTC)
READY_SECONDS: Final = 90.0
LOG_BYTES: Final = 2_000
_POLL_SECONDS: Final = 0.1
_QUERY: Final = "{ me { tier { tier { name } } wallet { points { available } cashback { available { amount } } } } }"

_REGISTER: Final = "mutation ($input: DeviceInput!) { registerDevice(input: $input) { __typename } }"


class DemoFailed(Failure):
    """The demo cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The till's, as OAuth knows it."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Handout:
    """What the newcomer is given: the shown member's id and number at the till, and a token for each client."""

    member: str
    household: str
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
    with bound(Plan(settings=settings, host="127.0.0.1", port=port)):
        settings.data.mkdir(parents=True, exist_ok=True)
    log = settings.data / "serve.log"
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))
        phones = None if _has_push(settings) else stack.enter_context(_phones())
        if phones is not None:
            settings = replace(settings, fcm_url=phones)
        server = start(Plan(settings=settings, host="127.0.0.1", port=port, start_at=START), log=log)
        stack.callback(_stop, server)
        with SCREEN.status("Starting the database and the server …"):
            _wait_until_ready(server, url, log)
        till = asyncio.run(_find_or_make_till(settings))
        SCREEN.print(f"Replaying {len(year):,} receipts of 2017 through the till's API.")
        show_replay(year, url=url, client_id=till.client_id, client_secret=till.secret)
        handout = asyncio.run(_hand_out(settings, till, household=_busiest(year)))
        if phones is not None:
            _give_phone(url, handout)
            Thread(target=_watch, args=(phones,), name="phones", daemon=True).start()
        for line in guide(handout, till, settings=settings, log=log, phones=phones):
            SCREEN.print(line)
        server.join()
        raise DemoFailed(f"The server ended by itself; its log is {log}.")


def guide(
    handout: Handout, till: Credentials, *, settings: Settings, log: Path, phones: str | None = None
) -> list[str]:
    """What to open and what to paste, line by line; `phones` is the address of the stand-in, if it runs."""
    url = settings.public_url
    wallet = shlex.quote(sys.argv[0])
    body = orjson.dumps({"query": _QUERY}).decode()
    return [
        "",
        f"[bold]The wallet is open.[/] Its clock stands at {handout.now:%d %B %Y, %H:%M} UTC and runs on from there.",
        "",
        f"  GraphiQL  {url}/graphql",
        f"  Health    {url}/ready  {url}/metrics",
        *([] if phones is None else [f"  Phone     {phones}/  (what comes onto it is shown here, too)"]),
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
        "A receipt at the till; a moment later the member's phone shows it:",
        "",
        f"  curl -s {url}/graphql -H 'Content-Type: application/json' \\",
        f'    -H "Authorization: Bearer $(curl -s {url}/oauth/token -u {till.client_id}:{till.secret} \\',
        """      -d grant_type=client_credentials | sed 's/.*"access_token":"//; s/".*//')" \\""",
        f"    -d '{_receipt(handout.household)}'",
        "",
        f"[dim]Ctrl-C stops everything. The data stays in {settings.data}, the log is {log}.[/]",
    ]


def _receipt(household: str) -> str:
    """A purchase to paste between single quotes; each time it is pasted it is another one."""
    number = "try-'$(date +%s)'"
    mutation = (
        f'mutation {{ recordPurchase(input: {{member: {{reference: "{household}"}}, receipt: "{number}", '
        f'total: {{amount: "12.34", currency: "USD"}}, idempotencyKey: "{number}"}}) '
        "{ ... on PurchaseRecorded { entry { points } } ... on Problem { message } } }"
    )
    return orjson.dumps({"query": mutation}).decode()


def _has_push(settings: Settings) -> bool:
    return settings.fcm_url != FCM_URL or settings.firebase_credentials is not None


@contextmanager
def _phones() -> Iterator[str]:
    """The stand-in on its own port, or on any where that one is taken."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_phones(PHONE_PORT))
        except OSError:
            url = stack.enter_context(running_phones())
        yield url


def _watch(phones: str) -> None:
    """Shows what comes onto the phone, until the stand-in is stopped."""
    with suppress(NoPhones):
        watch(phones, SCREEN)


def _give_phone(url: str, handout: Handout) -> None:
    """Registers the member's phone, as his app would."""
    name = f"phone-of-household-{re.sub('[^A-Za-z0-9_-]', '-', handout.household)}"[:64]
    device = {"installation": name, "platform": "ANDROID", "kind": "FID", "value": name}
    answered = httpx.post(
        f"{url}/graphql",
        json={"query": _REGISTER, "variables": {"input": device}},
        headers={"Authorization": f"Bearer {handout.member_token}"},
    ).json()
    registered = (answered.get("data") or {}).get("registerDevice") or {}
    if registered.get("__typename") != "Device":
        raise DemoFailed(f"The phone could not be registered: {answered}")


def _stop(server: BaseProcess) -> None:
    SCREEN.print("\nStopping …")
    with suppress(KeyboardInterrupt):
        stop_all([server])


def _of_project(path: Path) -> Path:
    if not path.is_file():
        raise DemoFailed(f"{path} is missing; the demo runs from a checkout of the project.")
    return path


def _busiest(receipts: Sequence[Receipt]) -> str:
    return Counter(receipt.household for receipt in receipts).most_common(1)[0][0]


def _wait_until_ready(server: BaseProcess, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client() as http:
        while time.monotonic() < deadline and server.is_alive():
            with suppress(httpx.TransportError):
                if http.get(f"{url}/ready").status_code == httpx.codes.OK:
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
            household=household,
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
