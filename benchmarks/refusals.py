"""What it costs to refuse: processor time from the text of a document to its refusal, in the process that serves.

Each text is refused many times; nothing of a refused one is kept, so each time is like the first.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

from rich.console import Console

from api.access import MemberCaller
from api.edge.documents import Documents, RequestError
from api.edge.limits import MAX_BODY_BYTES
from api.schema import build_schema
from benchmarks.measured import machine, percentile, show_and_keep

COLUMNS: Final = ("refused", "code", "CPU ms median", "CPU ms p99")
_RICH: Final = "nodes { id place { id } balanceAfter { points } awards { tier } }"
TEXTS: Final[Mapping[str, str]] = {
    "cost 1,001": (
        "{ me { referral { code } wallet { "
        f"a: activity(first: 100) {{ {_RICH} }} b: activity(first: 100) {{ {_RICH} }} "
        "c: activity(first: 96) { nodes { place { id } } } } } }"
    ),
    "depth 11": "{ me " + "{ wallet " * 9 + "{ version }" + "}" * 9 + "}",
    "16 aliases": "{ me { " + " ".join(f"a{each}: id" for each in range(16)) + " } }",
    "64 KiB + 1": "{ me { id } } #" + "x" * (MAX_BODY_BYTES - 14),
    "64 KiB of fields": "{ me { " + "id " * 21_000 + "} }",
    "fragment cycle": "{ me { ...A } } fragment A on Member { wallet { version } ...B } fragment B on Member { ...A }",
    "1,000 introspections": "{ "
    + " ".join(f"a{each}: __schema {{ types {{ name }} }}" for each in range(1_000))
    + " }",
    "nested 10,000 deep": "{ me " + "{ a " * 10_000,
    "bomb of fragments": "{ me { ...F0 } } "
    + " ".join(f"fragment F{each} on Member {{ ...F{each + 1} ...F{each + 1} }}" for each in range(40))
    + " fragment F40 on Member { id }",
}


def refuse(documents: Documents, text: str) -> str:
    """The code that the text is refused with."""
    if len(text) > MAX_BODY_BYTES:
        return "BODY_TOO_LARGE"
    try:
        operation = documents.select(documents.prepare(text), None)
        documents.admit(operation, MemberCaller(member_id="m"))
        documents.cost(operation, {})
    except RequestError as error:
        return error.code_shown
    return "not refused"


def measured(work: Callable[[], str], times: int) -> tuple[str, list[float]]:
    """The code, and the processor time of each try in ms, in order of size."""
    spent, code = [], ""
    for _ in range(times):
        begun = time.process_time_ns()
        code = work()
        spent.append((time.process_time_ns() - begun) / 1e6)
    return code, sorted(spent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals")
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args().times
    rows, rounds = [], []
    for name, text in TEXTS.items():
        # What is valid but too dear is kept when it was validated: each try begins without it.
        documents = Documents(build_schema(sandbox=False), open_to_all=False)

        def work(documents: Documents = documents, text: str = text) -> str:
            documents.forget(text)
            return refuse(documents, text)

        # As the server does with what is built once.
        gc.collect()
        gc.freeze()
        code, spent = measured(work, times)
        rows.append((name, code, f"{statistics.median(spent):.2f}", f"{percentile(spent, 0.99):.2f}"))
        rounds.append({"refused": name, "code": code, "median_ms": statistics.median(spent)})
    show_and_keep(
        "refusals",
        "Processor time of a refusal",
        columns=COLUMNS,
        rows=rows,
        rounds=rounds,
        about=machine() | {"times": str(times)},
        console=Console(),
    )


if __name__ == "__main__":
    main()
