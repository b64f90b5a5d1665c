"""What long commands show a person: a progress bar that moves, and what came out, in a few lines.

Where the output is no terminal there is no bar, only the outcome.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from api.command.replay import Receipt, Summary, replay
from domain.ledger.audit import AuditReport, audit
from domain.store.connection import Store
from notifications.phone.process import phones_url, running_phones
from notifications.phone.terminal import watch

SCREEN: Final = Console(highlight=False, soft_wrap=True)


def show_replay(receipts: Sequence[Receipt], *, url: str, client_id: str, client_secret: str) -> Summary:
    """Replays the receipts behind a progress bar and prints the summary. Raises ReplayFailed."""
    with _progress("receipts") as progress:
        task = progress.add_task("Replaying", total=len(receipts))

        def on_progress(done: int, at: datetime) -> None:
            progress.update(task, advance=done, description=f"{at:%d %b %Y}")

        summary = replay(receipts, url=url, client_id=client_id, client_secret=client_secret, on_progress=on_progress)
    for line in summary_lines(summary):
        SCREEN.print(line, markup=False)
    return summary


def summary_lines(summary: Summary) -> list[str]:
    """The summary in words."""
    outcome = f"{summary.recorded:,} recorded, {summary.replayed:,} replayed, {summary.refused.total():,} refused"
    lines = [f"{outcome} · {summary.members:,} members · {summary.points:,} points given"]
    lines += [f"  refused {count:,} × {code}" for code, count in summary.refused.most_common()]
    lines += [f"  such as {example}" for example in summary.examples]
    return lines


async def show_audit(store: Store) -> AuditReport:
    """Audits behind a progress bar and prints what it found."""
    with _progress("entries") as progress:
        task = progress.add_task("Auditing", total=None)
        report = await audit(store, progress=lambda done, all_: progress.update(task, completed=done, total=all_))
    for line in report_lines(report):
        SCREEN.print(line, markup=False)
    return report


def show_phones(port: int, *, endpoints: Collection[str] = ()) -> None:
    """Starts the phones, or joins those on the port, and prints what they show, until Ctrl-C.

    Raises NoPhones where another program has the port, and PhonesFailed.
    """
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        try:
            url = stack.enter_context(running_phones(port))
            SCREEN.print(f"Phones    {url}/  (this address is WALLET_FCM_URL for a sandbox without credentials)")
        except OSError:
            url = phones_url(port)
            SCREEN.print(f"Phones    {url}/  (they were running before)")
        watch(url, SCREEN, endpoints=endpoints)


def report_lines(report: AuditReport) -> list[str]:
    """The audit's report in words."""
    looked_at = f"{report.members:,} wallets, {report.entries:,} entries and {report.refusals:,} refusals"
    if report.ok:
        lines = [f"All is well: {looked_at} agree with each other and with every sum ({report.seconds:.1f} s)."]
    else:
        lines = [f"{report.difference_count:,} differences in {looked_at} ({report.seconds:.1f} s):"]
    for each in report.differences:
        where = " ".join(part for part in (each.member, each.entry) if part)
        lines.append(f"  {where or 'everywhere'}: {each.what}")
    if not report.accounts_compared:
        lines.append("  The programme's accounts could not be compared; run the audit again when it is quieter.")
    if report.uncounted:
        lines.append(
            f"  {report.uncounted:,} entries have yet to be summed by a worker; their slots were not compared."
        )
    return lines


def _progress(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
        console=SCREEN,
        disable=not SCREEN.is_terminal,
    )


class _Speed(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s", style="progress.data.speed")
