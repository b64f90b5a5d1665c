"""What long commands show: a moving progress bar, and the outcome of a replay in a few lines.

Where the output is no terminal there is no bar, only the outcome.
"""

from collections.abc import Sequence
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

SCREEN: Final = Console(highlight=False, soft_wrap=True)


def show_replay(receipts: Sequence[Receipt], *, url: str, client_id: str, client_secret: str) -> Summary:
    """Replays the receipts behind a progress bar and prints the summary. Raises ReplayFailed."""
    with progress_of("receipts") as progress:
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


def progress_of(unit: str) -> Progress:
    """A bar that counts the unit and says how fast."""
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
