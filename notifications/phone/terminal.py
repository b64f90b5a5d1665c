"""The phones in a terminal: each message in a frame as it comes, or on a line if the output is not a terminal."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import httpx
import orjson
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from domain.failure import Failure

WIDTH: Final = 60
_VERBS: Final[Mapping[str, str]] = {
    "SHOWN": "shows",
    "REPLACED": "shows in place of the one before",
    "REMOVED": "takes away",
}


class NoPhones(Failure):
    """Nothing at the address answers as the stand-in does, or not any more."""

    def __init__(self, url: str) -> None:
        super().__init__(f"There are no phones at {url}; `wallet phone` starts them.")


def watch(url: str, console: Console, *, endpoints: Collection[str] = ()) -> None:
    """Prints what happens on the phones, or on these endpoints' only, until the stand-in ends. Raises NoPhones."""
    for event in events(url):
        if not endpoints or event["endpoint"] in endpoints:
            show(event, console)


def events(url: str) -> Iterator[Mapping[str, Any]]:
    """What happens on the screens of a stand-in, from now on. Raises NoPhones when it is not there, or ends."""
    limits = httpx.Timeout(5.0, read=None)
    try:
        with httpx.stream("GET", f"{url}/phone/events", timeout=limits) as response:
            if response.headers.get("Content-Type") != "text/event-stream":
                raise NoPhones(url)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield orjson.loads(line.removeprefix("data: "))
    except httpx.HTTPError as error:
        raise NoPhones(url) from error


def show(event: Mapping[str, Any], console: Console) -> None:
    """One event; what changed nothing on the screen is not shown."""
    verb, item = _VERBS.get(event["effect"]), event["item"]
    if verb is None or item is None:
        return
    at = f"{datetime.fromisoformat(event['at']).astimezone():%H:%M:%S}"
    who = f"{event['endpoint']} · {event['system']}"
    if not console.is_terminal:
        said = " · ".join(part for part in (item["title"], item["body"], item["link"]) if part)
        console.print(f"{at}  {who} {verb}: {said}", markup=False, emoji=False)
        return
    gone = event["effect"] == "REMOVED"
    text = Text(style="strike dim" if gone else "")
    text.append(item["title"] or "", style="bold")
    if item["body"]:
        text.append(f"\n{item['body']}" if item["title"] else item["body"])
    if item["link"]:
        text.append(f"\n{item['link']}", style="dim")
    console.print(
        Panel(
            text,
            title=Text(f"{who} {verb}"),
            subtitle=Text(at),
            title_align="left",
            subtitle_align="right",
            width=min(WIDTH, console.width),
            border_style="dim" if gone else "cyan",
        )
    )
