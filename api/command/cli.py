"""The command `wallet`: how an operator starts, prepares, checks and feeds a deployment (DESIGN §7).

Settings come from the environment, and what the command line says goes before them. What is wrong with either
is told in one line each, and the exit code is 2; it is 1 when the command ran and its answer is no.

A command imports what it needs when it is called: with all of it each of them would take a second more to start.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar

import typer
from rich.console import Console

from api.command.plan import MAX_PROCESSES, Plan
from domain.failure import Failure
from domain.programme.problem import DefinitionInvalid, ProgrammeProblem
from domain.settings import LOCAL_URL, Settings, SettingsError, read_settings
from notifications.phone.address import PHONE_PORT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from api.auth.tokens import Tokens
    from api.reports import ProgrammeReport
    from domain.payments.reconciliation import Reconciliation
    from domain.programme.published import ProgrammeInvalid, Published, VersionConflict
    from domain.store.clock import Clock
    from domain.store.connection import Store
    from notifications.simulation import Simulation

ANSWER_IS_NO: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130

_T = TypeVar("_T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
partners = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
tokens = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
cascades = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(partners, name="partner", help="Partner apps.")
app.add_typer(cascades, name="cascade", help="Cascades of messages.")
app.add_typer(tokens, name="token", help="Access tokens, in a sandbox only.")

Sandbox = Annotated[bool, typer.Option("--sandbox", help="The same as WALLET_MODE=sandbox.")]
Data = Annotated[str | None, typer.Option(metavar="DIR", help="The embedded server's folder (WALLET_DATA).")]
ProgrammeFile = Annotated[str | None, typer.Option(metavar="FILE", help="The programme (WALLET_PROGRAMME).")]
Since = Annotated[str, typer.Option("--from", metavar="DAY", help="The first day, in the programme's zone.")]
Until = Annotated[str, typer.Option("--to", metavar="DAY", help="The day after the last one.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]


class WrongUse(Exception):  # noqa: N818 -- says what is the case
    """What was asked cannot be done this way; one line for each problem."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def main() -> NoReturn:
    """The console script."""
    out = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        app()
    except (SettingsError, WrongUse) as error:
        for problem in error.problems:
            out.print(f"wallet: {problem}")
        sys.exit(WRONG_USE)
    except DefinitionInvalid as error:
        _print_problems(error.problems)
        sys.exit(ANSWER_IS_NO)
    except Failure as error:
        out.print(f"wallet: {error}")
        sys.exit(ANSWER_IS_NO)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


@app.command("serve")
def serve_command(  # noqa: PLR0917 -- typer's options, given by name
    sandbox: Sandbox = False,
    host: Annotated[str, typer.Option(metavar="H", help="The address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    data: Data = None,
    programme: ProgrammeFile = None,
    start: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="When a new sandbox's time begins, such as 2017-01-01.")
    ] = None,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Also do what falls due.")] = True,
    processes: Annotated[int, typer.Option(metavar="N", help="Processes that share the port.")] = 1,
) -> None:
    """Serve the API, until Ctrl-C or SIGTERM."""
    problems: list[str] = []
    start_at = None if start is None else _instant(start, problems)
    if not 1 <= processes <= MAX_PROCESSES:
        problems.append(f"--processes is {processes}; it should be 1 to {MAX_PROCESSES}")
    settings = _settings(problems, sandbox=sandbox, data=data, programme=programme)
    if start is not None and not settings.sandbox:
        raise WrongUse("--start moves a sandbox's clock; add --sandbox, or leave it out")
    if settings.sandbox and settings.public_url == LOCAL_URL:
        settings = replace(settings, public_url=f"http://localhost:{port}")
    plan = Plan(settings=settings, host=host, port=port, start_at=start_at, worker=worker)
    # Only now: what is wrong with the settings is told at once.
    from api.command.serve import serve

    serve(plan, processes=processes)


@app.command("worker")
def worker_command(sandbox: Sandbox = False, data: Data = None, programme: ProgrammeFile = None) -> None:
    """Do what falls due, until Ctrl-C or SIGTERM. Any number of workers share the work."""
    from api.command.work import work

    work(_settings([], sandbox=sandbox, data=data, programme=programme))


@app.command()
def init(
    programme: ProgrammeFile = None,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Create the indexes and publish the programme as version 1. Safe to repeat."""
    from domain.programme.published import ProgrammeInvalid, Published, VersionConflict, publish
    from domain.programme.source import read_file

    settings = _settings([], sandbox=sandbox, data=data, programme=programme)
    if settings.programme is None:
        raise WrongUse("--programme is missing; it should be the programme's file, such as programme.yaml")
    source = read_file(settings.programme)

    async def publish_first(store: Store, clock: Clock) -> Published | ProgrammeInvalid | VersionConflict:
        return await publish(store, source, expected_version=0, now=clock.now())

    match _on_store(settings, publish_first):
        case Published() as published:
            _print_problems(published.warnings)
            typer.echo(f"Published {published.programme.definition.programme} as version 1.")
        case ProgrammeInvalid(problems=problems):
            _print_problems(problems)
            raise typer.Exit(ANSWER_IS_NO)
        case VersionConflict(current_version=version):
            typer.echo(f"Version {version} is in force; nothing to do.")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)]) -> None:
    """Print a programme's problems. The exit code is 1 if one of them is an error."""
    from domain.programme.definition import check_source
    from domain.programme.source import read_file

    checked = check_source(read_file(file))
    _print_problems(checked.problems)
    if checked.definition is None:
        raise typer.Exit(ANSWER_IS_NO)
    typer.echo(f"{file} can be published.")


@app.command()
def schema() -> None:
    """Print the GraphQL schema, including what only a sandbox has."""
    from api.schema import sdl

    typer.echo(sdl(), nl=False)


@app.command("replay")
def replay_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl.gz", exists=True, dir_okay=False)],
    client_id: Annotated[str, typer.Option()],
    client_secret: Annotated[str, typer.Option()],
    url: Annotated[str, typer.Option(help="Where the API is served.")] = LOCAL_URL,
    members: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N households.")] = None,
) -> None:
    """Replay receipts through the partner API. A sandbox's clock is moved along with them.

    The exit code is 1 if a receipt was refused.
    """
    from api.command.replay import read_receipts
    from api.command.screen import show_replay

    receipts = read_receipts(file, members=members)
    summary = show_replay(receipts, url=url, client_id=client_id, client_secret=client_secret)
    if summary.refused:
        raise typer.Exit(ANSWER_IS_NO)


@app.command("audit")
def audit_command(sandbox: Sandbox = False, data: Data = None) -> None:
    """Prove every wallet, hash and sum from the journal. The exit code is 1 if anything differs."""
    from api.command.audit import show_audit

    settings = _settings([], sandbox=sandbox, data=data)
    proof = _on_store(settings, lambda store, _clock: show_audit(store))
    if not proof.ok:
        raise typer.Exit(ANSWER_IS_NO)


@app.command("report")
def report_command(
    since: Since,
    until: Until,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Print the programme's numbers over a period. They are those of the API's `report`."""
    from api.reports import read_report, report_lines
    from domain.programme.published import Programmes

    problems: list[str] = []
    days = _days(since, until, problems)
    settings = _settings(problems, sandbox=sandbox, data=data)

    async def read(store: Store, _clock: Clock) -> ProgrammeReport:
        return await read_report(store, await Programmes.open(store), since=days[0], until=days[1])

    for name, value in report_lines(_on_store(settings, read)):
        typer.echo(f"{name:<24}{value}")


@app.command("reconcile")
def reconcile_command(
    since: Since,
    until: Until,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Compare the payment provider's books with the journal. The exit code is 1 if anything differs."""
    from domain.ledger.expiry import start_of_day
    from domain.payments.opening import open_provider
    from domain.payments.reconciliation import reconcile
    from domain.programme.published import Programmes

    problems: list[str] = []
    days = _days(since, until, problems)
    settings = _settings(problems, sandbox=sandbox, data=data)

    async def compare(store: Store, clock: Clock) -> Reconciliation | None:
        provider = open_provider(settings, store, clock)
        if provider is None:
            return None
        zone = (await Programmes.open(store)).current.zone
        try:
            return await reconcile(
                store, provider, since=start_of_day(days[0], zone), until=start_of_day(days[1], zone)
            )
        finally:
            await provider.close()

    found = _on_store(settings, compare)
    if found is None:
        raise WrongUse("WALLET_STRIPE_KEY is missing; there is no payment provider to compare with")
    for difference in found.differences:
        typer.echo(f"{difference.about}: {difference.what}")
    typer.echo(f"{found.intents} payments and {found.refunds} refunds agree; {len(found.differences)} differences.")
    if not found.ok:
        raise typer.Exit(ANSWER_IS_NO)


@app.command("demo")
def demo(
    port: Port = 8000,
    data: Data = None,
    programme: ProgrammeFile = None,
    receipts: Annotated[Path | None, typer.Option(metavar="FILE", help="Receipts instead of the sample's.")] = None,
) -> None:
    """Start a sandbox with a year of receipts, and say what to try."""
    from api.command.demo import run_demo

    settings = _settings([], sandbox=True, data=data, programme=programme)
    run_demo(settings, port=port, receipts=receipts)


@app.command("phone")
def phone_command(
    port: Port = PHONE_PORT,
    member: Annotated[str | None, typer.Option(metavar="ID", help="Only the phones that this member has now.")] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="Only this phone; may be given again.")
    ] = None,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Show live what phones get, from a stand-in for FCM. It is started unless it runs on the port already."""
    from api.command.phone import show_phones

    endpoints = list(endpoint or ())
    if member is not None:
        from notifications.devices import devices_of

        settings = _settings([], sandbox=sandbox, data=data)
        devices = _on_store(settings, lambda store, clock: devices_of(store, member, now=clock.now()))
        if not devices:
            raise WrongUse(f"--member is {member}, who has no device; registerDevice gives him one")
        endpoints += [device.value for device in devices]
    show_phones(port, endpoints=endpoints)


@cascades.command("simulate")
def cascade_simulate(  # noqa: PLR0917 -- typer's options, given by name
    cascade: Annotated[str, typer.Argument(metavar="ID", help="The cascade's id.")],
    member: Annotated[str, typer.Option(metavar="M", help="The member's id.")],
    at: Annotated[str | None, typer.Option(metavar="INSTANT", help="When its signal comes; by default now.")] = None,
    event: Annotated[
        list[str], typer.Option(metavar="FACT=VALUE", help="A fact of its signal, such as points=12; repeat it.")
    ] = [],  # noqa: B006 -- typer copies it
    reacts: Annotated[bool, typer.Option("--reacts", help="As if the member opened each message.")] = False,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Show what a cascade would send a member, when, and why not. Nothing is sent or stored."""
    from api.command.simulation import simulation_lines
    from domain.programme.published import Programmes
    from notifications.carriers import opened_carriers
    from notifications.office import Office
    from notifications.simulation import CascadeUnknown, FactInvalid, NobodyThere, simulate

    problems: list[str] = []
    at_ = None if at is None else _instant(at, problems, flag="--at")
    if wrong := [each for each in event if "=" not in each]:
        problems.append(f"--event is {', '.join(wrong)}; it should be a fact and its value, such as points=12")
    settings = _settings(problems, sandbox=sandbox, data=data)
    facts = dict(each.split("=", 1) for each in event)

    async def run(store: Store, clock: Clock) -> Simulation:
        if at_ is not None and at_ < clock.now():
            raise WrongUse(f"--at is {at}; it should not be before now, {clock.now():%Y-%m-%dT%H:%M:%SZ}")
        async with opened_carriers(settings) as carriers:
            office = Office(store=store, clock=clock, programmes=await Programmes.open(store), carriers=carriers)
            return await simulate(office, cascade, member, now=clock.now(), at=at_, facts=facts, reacts=reacts)

    try:
        simulation = _on_store(settings, run)
    except (CascadeUnknown, NobodyThere) as error:
        raise WrongUse(str(error)) from None
    except FactInvalid as error:
        raise WrongUse(f"--event: {error}") from None
    for line in simulation_lines(simulation):
        typer.echo(line)


@partners.command("create")
def partner_create(
    name: str,
    scopes: Annotated[str, typer.Option(help="Parted by commas, such as members:enrol,activity:write.")],
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Create a partner app. Its secret is shown only this once."""
    from domain.partners.partner import PartnerInvalid, create_partner

    settings = _settings([], sandbox=sandbox, data=data)

    async def create(store: Store, clock: Clock) -> tuple[str, str]:
        partner, secret = await create_partner(store, settings.secret, name=name, scopes=_list(scopes), now=clock.now())
        return partner.client_id, secret

    try:
        client_id, secret = _on_store(settings, create)
    except PartnerInvalid as error:
        raise WrongUse(f"{'NAME' if error.field == 'name' else '--scopes'}: {error}") from None
    typer.echo(f"client id      {client_id}\nclient secret  {secret}")


@partners.command("limit")
def partner_limit(
    client_id: Annotated[str, typer.Argument(metavar="ID", help="The partner's client id.")],
    capacity: Annotated[
        int | None, typer.Option(min=1_000, show_default="what all have", help="The most cost at once.")
    ] = None,
    per_second: Annotated[
        int | None, typer.Option(min=1, show_default="what all have", help="Refilled each second.")
    ] = None,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Set how much cost a partner app may spend. Without options, what all may; in force within half a minute."""
    from api.edge.operations import PARTNER_ALLOWANCE
    from domain.partners.partner import set_allowance
    from domain.store.buckets import Allowance

    settings = _settings([], sandbox=sandbox, data=data)
    allowance = Allowance(
        capacity=capacity or PARTNER_ALLOWANCE.capacity,
        refill_per_second=per_second or PARTNER_ALLOWANCE.refill_per_second,
    )

    async def limit(store: Store, _clock: Clock) -> bool:
        return await set_allowance(store, client_id, None if allowance == PARTNER_ALLOWANCE else allowance)

    if not _on_store(settings, limit):
        raise WrongUse(f"ID: there is no partner {client_id}.")
    typer.echo(f"{client_id} may spend {allowance.capacity:,}, refilled at {allowance.refill_per_second:,} a second")


@tokens.command("staff")
def token_staff(
    scopes: Annotated[str, typer.Option(help="Parted by commas, such as staff:members,staff:adjust.")],
    url: Annotated[str | None, typer.Option(help="Where the sandbox is served (WALLET_PUBLIC_URL).")] = None,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Print a staff token, good for ten minutes on the sandbox's clock."""

    async def issue(issuer: Tokens, now: datetime, _store: Store) -> str:
        return (await issuer.issue_staff_token("cli", _list(scopes), now)).text

    typer.echo(_issue(issue, url=url, sandbox=sandbox, data=data))


@tokens.command("member", context_settings={"ignore_unknown_options": True})
def token_member(
    member: Annotated[str, typer.Argument(metavar="ID", help="The member's id.")],
    url: Annotated[str | None, typer.Option(help="Where the sandbox is served (WALLET_PUBLIC_URL).")] = None,
    sandbox: Sandbox = False,
    data: Data = None,
) -> None:
    """Print a member's token, good for ten minutes on the sandbox's clock."""
    from domain.members.member import member_by_id

    async def issue(issuer: Tokens, now: datetime, store: Store) -> str:
        if await member_by_id(store, member) is None:
            raise WrongUse(f"There is no member {member}")
        return (await issuer.issue_member_token(member, now)).text

    typer.echo(_issue(issue, url=url, sandbox=sandbox, data=data))


def _settings(problems: Sequence[str], *, sandbox: bool, data: str | None, programme: str | None = None) -> Settings:
    """The settings with what the command line said before them. Raises SettingsError with all problems at once."""
    flags = {"data": data, "programme": programme}
    try:
        settings = read_settings(mode="sandbox" if sandbox else None, data=data, programme=programme)
    except SettingsError as error:
        named = [_as_flag(problem, flags) for problem in error.problems]
        raise SettingsError((*problems, *named)) from None
    if problems:
        raise WrongUse(*problems)
    return settings


def _as_flag(problem: str, flags: Mapping[str, str | None]) -> str:
    """The problem with the flag's name in place of the variable's, where the flag was given."""
    for name, given in flags.items():
        if given is not None and problem.startswith(f"WALLET_{name.upper()} "):
            return problem.replace(f"WALLET_{name.upper()}", f"--{name}", 1)
    return problem


def _instant(text: str, problems: list[str], *, flag: str = "--start") -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or (instant.tzinfo is None and "T" in text):
        problems.append(f"{flag} is {text!r}; it should be a date, or an instant such as 2017-01-01T05:00:00Z")
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)


def _days(since: str, until: str, problems: list[str]) -> tuple[date, date]:
    """The first day and the one after the last; what is wrong with them goes to the problems."""
    days = _day("--from", since, problems), _day("--to", until, problems)
    if not problems and days[0] >= days[1]:
        problems.append(f"--to is {until}; it should be after --from")
    return days


def _day(flag: str, text: str, problems: list[str]) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        problems.append(f"{flag} is {text!r}; it should be a day such as 2026-11-22")
        return date.min


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _on_store(settings: Settings, act: Callable[[Store, Clock], Awaitable[_T]]) -> _T:
    """What `act` comes to on the prepared store."""
    from domain.store.clock import open_clock
    from domain.store.connection import opened_store

    async def opened() -> _T:
        async with opened_store(settings) as store:
            return await act(store, await open_clock(store, settings))

    return asyncio.run(opened())


def _issue(
    issue: Callable[[Tokens, datetime, Store], Awaitable[str]], *, url: str | None, sandbox: bool, data: str | None
) -> str:
    from api.auth.tokens import ScopeUnknown, open_tokens

    settings = _settings([], sandbox=sandbox, data=data)
    if not settings.sandbox:
        raise WrongUse("only a sandbox gives tokens like this; add --sandbox, or set WALLET_MODE=sandbox")
    issuer = settings if url is None else replace(settings, public_url=url.rstrip("/"))

    async def issued(store: Store, clock: Clock) -> str:
        return await issue(await open_tokens(store, issuer, clock.now()), clock.now(), store)

    try:
        return _on_store(settings, issued)
    except ScopeUnknown as error:
        raise WrongUse(f"--scopes: {error}") from None


def _print_problems(problems: Iterable[ProgrammeProblem]) -> None:
    for problem in problems:
        where = problem.path or "the file"
        typer.echo(f"{problem.severity.value.lower()}: {where}: {problem.message}", err=True)


if __name__ == "__main__":
    main()
