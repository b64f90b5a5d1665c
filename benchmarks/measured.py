"""Figures and how they are shown: percentiles, medians over rounds, the machine they were measured on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` (0 to 1) of them do not exceed; of at least one value."""
    assert sorted_values
    return sorted_values[max(0, ceil(share * len(sorted_values)) - 1)]


def machine() -> dict[str, str]:
    """What the figures were measured on, and when."""
    return {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pymongo": version("pymongo"),
    }


def show_and_keep(
    name: str,
    title: str,
    *,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    rounds: Any,
    about: Mapping[str, str],
    console: Console,
    last_of_section: str | None = None,
) -> None:
    """Prints the rows, and keeps `rounds` as `results/<name>.json` and the rows as `results/<name>.md`.

    A line is drawn after each row that has `last_of_section` in its second column.
    """
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row, end_section=row[1] == last_of_section)
    console.print(table)
    noted = "".join(f"- {each.replace('_', ' ')}: {value}\n" for each, value in about.items())
    figures = json.dumps({"about": about, "rounds": rounds}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    for path, text in (
        (RESULTS / f"{name}.json", f"{figures}\n"),
        (RESULTS / f"{name}.md", f"{markdown_table(columns, rows)}\n{noted}"),
    ):
        path.write_text(text, encoding="utf-8")
        console.print(f"Written: {path}")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text cells; the first column is aligned as the others are, to the right."""
    lines = [columns, ["---:"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _memory() -> str:
    total = _first("/proc/meminfo", "MemTotal")
    return f"{int(total.split()[0]) / 2**20:.0f} GiB" if total else "not known"


def _first(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
