"""What sums are kept of: a day of the programme, a month, and a month as it follows upon an earlier one.

    2026-03-04          a day
    m2026-03            a month
    f2026-02>2026-03    purchases of a month that followed upon purchases of an earlier one, the earlier one first

Days are ISO dates. Spans of a kind sort by time, and so do the ids of their documents, one for each slot.
"""


def month_span(day: str) -> str:
    """The month of that day."""
    return f"m{day[:7]}"


def following_span(earlier: str, later: str) -> str:
    """The month of the day `later` as it follows upon the month of `earlier`."""
    return f"f{earlier[:7]}>{later[:7]}"


def sums_id(span: str, slot: int) -> str:
    """The id of the sums of a span in that slot."""
    return f"{span}|{slot:02}"


def span_in(name: str) -> str:
    """The span in :func:`sums_id`."""
    return name.partition("|")[0]


def slot_in(name: str) -> int:
    """The slot in :func:`sums_id`."""
    return int(name.rpartition("|")[2])
