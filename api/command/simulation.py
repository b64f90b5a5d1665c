"""`wallet cascade simulate`: a dry run of a cascade for one member, in lines."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from notifications.control import CascadeState
from notifications.simulation import Line, Simulation

_INDENT: Final = " " * 33


def simulation_lines(simulation: Simulation) -> Iterator[str]:
    """What the simulation comes to, for a person to read, in the member's local time."""
    zone, count = ZoneInfo(simulation.zone), len(simulation.messages)
    yield (
        f"{simulation.cascade} for {simulation.member}: version {simulation.version}, {simulation.arm.value}, "
        f"times in {simulation.zone}, texts in {simulation.locale}"
    )
    if simulation.switched is not CascadeState.LIVE:
        yield f"The cascade is {simulation.switched.value} now: nothing of this comes until it is LIVE."
    for line in simulation.lines:
        yield _told(line, zone)
        if line.message is not None:
            said = (line.message.title, line.message.body, line.message.link)
            yield from (f"{_INDENT}{text}" for text in said if text)
    messages = "1 message" if count == 1 else f"{count} messages"
    yield f"It ends {simulation.state.value}; {messages} would go. Nothing was sent."


def _told(line: Line, zone: ZoneInfo) -> str:
    event = line.event
    step = "" if event.step is None else f"step {event.step}"
    reason = "" if event.reason is None else f": {event.reason}"
    until = "" if line.until is None else f", until {_local(line.until, zone)}"
    return f"{_local(event.at, zone):<24}{step:<9}{event.what}{reason}{until}"


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %Z}"
