"""The stand-in of FCM as tests see it: its script, its ledger, and what is on the phones' screens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from notifications.phone.process import running_phones


@dataclass(frozen=True, kw_only=True)
class Phones:
    url: str
    http: httpx.Client

    def script(self, endpoint: str, *answers: dict[str, Any]) -> None:
        written = self.http.put(f"/phone/script/{endpoint}", json=list(answers))
        assert written.status_code == 204, written.text

    def ledger(self, *, at_least: int = 0) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.http.get("/phone/ledger", params={"at_least": at_least}).json()
        return listed

    def device(self, endpoint: str) -> dict[str, Any]:
        """The one device, or an empty one that nothing has reached."""
        devices: dict[str, dict[str, Any]] = {each["endpoint"]: each for each in self.http.get("/phone/devices").json()}
        return devices.get(endpoint, {"screen": [], "shown": {}, "replaced": 0, "removed": 0})

    def titles(self, endpoint: str) -> list[str]:
        return [item["title"] for item in self.device(endpoint)["screen"]]

    def tokens_last(self, seconds: int) -> None:
        """Those that were given end now; new ones live this long."""
        assert self.http.put("/phone/tokens", json={"expires_in": seconds}).status_code == 204

    def wait_for_watchers(self, count: int) -> None:
        """Returns when so many are watching the screens."""
        assert self.http.get("/phone/watchers", params={"at_least": count}).json() >= count

    def forget(self) -> None:
        assert self.http.delete("/phone").status_code == 204


@contextmanager
def opened_phones() -> Iterator[Phones]:
    with running_phones() as url, httpx.Client(base_url=url, timeout=90) as http:
        yield Phones(url=url, http=http)
