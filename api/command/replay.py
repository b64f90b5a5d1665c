"""A till that replays receipts: the partner API's client behind `wallet replay`.

It speaks to the server as any partner does, by OAuth and GraphQL over one kept connection, in the order of the
receipts. Every key is made of what it is for, so that a second replay posts nothing. Where the server is a
sandbox, its clock is moved along, so that every receipt is recorded at the moment it was printed.

    ReceiptsInvalid     the file cannot be used; says which line and why
    ReplayFailed        the server refuses the client or does not answer; says what to do
"""

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import httpx
import orjson

from domain.failure import Failure

MAX_BATCH: Final = 50
MAX_BATCH_BYTES: Final = 48 * 1024
MAX_RECEIPTS: Final = 1_000_000
TIMEOUT_SECONDS: Final = 60.0
RETRY_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)
TOKEN_RESERVE_SECONDS: Final = 30.0
EXAMPLES: Final = 3
UNREADABLE: Final = {"BAD_USER_INPUT", "BODY_TOO_LARGE"}
"""What the server says of a whole request for one value in it that it cannot read."""

ENROL: Final = """
mutation Enrol($input: EnrolMemberInput!) {
  enrolMember(input: $input) {
    ... on MemberEnrolled { isNew member { id } }
    ... on Problem { code message }
  }
}"""
RECORD: Final = """
mutation Record($inputs: [PurchaseInput!]!) {
  recordPurchases(inputs: $inputs) {
    ... on PurchaseRecorded { replayed entry { points } }
    ... on Problem { code message }
  }
}"""
PREVIEW: Final = """
query Preview($input: PurchaseInput!) {
  previewPurchase(input: $input) {
    __typename
    ... on NotFound { what }
  }
}"""
ADVANCE: Final = "mutation Advance($to: DateTime!) { advanceClock(to: $to) { now } }"
MUTATIONS: Final = '{ __type(name: "Mutation") { fields { name } } }'


class ReceiptsInvalid(Failure):
    """The receipts cannot be read; the message names the line."""


class ReplayFailed(Failure):
    """The replay cannot go on; what was recorded stays, and the same command goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One line of the file. `occurred_at` is UTC; `purchase` is its PurchaseInput, without place."""

    number: str
    household: str
    store: str
    occurred_at: datetime
    purchase: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Summary:
    """What became of the receipts. `refused` counts by the problem's code; `examples` are a few refusals in words."""

    recorded: int = 0
    replayed: int = 0
    points: int = 0
    members: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def refuse(self, what: str, problem: Mapping[str, Any]) -> None:
        self.refused[problem["code"]] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{what}: {problem['message']}")


def read_receipts(path: Path, *, members: int | None = None) -> list[Receipt]:
    """The receipts of a JSONL file, gzipped or not, oldest first. Raises ReceiptsInvalid.

    With `members` only those of the first so many households.
    """
    receipts: list[Receipt] = []
    households: set[str] = set()
    last: datetime | None = None
    for number, line in enumerate(_lines(path), 1):
        if number > MAX_RECEIPTS:
            raise ReceiptsInvalid(f"{path} has more than {MAX_RECEIPTS:,} lines; split it.")
        try:
            receipt = receipt_from(orjson.loads(line), not_before=last)
        except (ValueError, KeyError, TypeError) as error:
            raise ReceiptsInvalid(f"{path}, line {number}: {_reason(error)}") from None
        if last is not None and receipt.occurred_at < last:
            raise ReceiptsInvalid(f"{path}, line {number}: it is older than the line before; sort by time first.")
        last = receipt.occurred_at
        if members is None or receipt.household in households or len(households) < members:
            households.add(receipt.household)
            receipts.append(receipt)
    return receipts


def receipt_from(data: Mapping[str, Any], *, not_before: datetime | None = None) -> Receipt:
    """The receipt of one decoded line. Raises ValueError, KeyError and TypeError if it is not one."""
    number, household = str(data["receipt"]), str(data["household"])
    occurred_at = instant_of(datetime.fromisoformat(data["at"]), ZoneInfo(data["timeZone"]), not_before=not_before)
    return Receipt(
        number=number,
        household=household,
        store=str(data["store"]),
        occurred_at=occurred_at,
        purchase={
            "member": {"reference": household},
            "receipt": number,
            "total": {"amount": data["total"], "currency": data["currency"]},
            "occurredAt": _rfc3339(occurred_at),
            "lines": [
                {name: line[name] for name in ("sku", "category", "brand", "quantity", "amount")}
                for line in data["lines"]
            ],
            "idempotencyKey": f"receipt-{number}",
        },
    )


def instant_of(local: datetime, zone: ZoneInfo, *, not_before: datetime | None = None) -> datetime:
    """The UTC instant of a till's local time.

    A time that comes twice in an autumn night is its first coming, unless that lies before `not_before`, the
    receipt before it. A time that a spring night leaves out counts with the offset from before the change.
    """
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    again = not_before is not None and first < not_before <= second
    return second if again else first


def replay(
    receipts: Sequence[Receipt],
    *,
    url: str,
    client_id: str,
    client_secret: str,
    on_progress: Callable[[int, datetime], None] = lambda _done, _at: None,
) -> Summary:
    """Enrol every household when it first comes and record its receipts, in time order.

    `on_progress` is told how many receipts were done just now, and the instant of the last one. Raises
    ReplayFailed.
    """
    summary = Summary()
    with Till(url, client_id=client_id, client_secret=client_secret) as till:
        position = 0
        while position < len(receipts):
            till.wait_for(receipts[position].occurred_at)
            batch = _batch(receipts, position, now=till.now)
            for receipt in batch:
                till.enrol(receipt.household, summary)
            till.record(batch, summary)
            position += len(batch)
            on_progress(len(batch), batch[-1].occurred_at)
    return summary


class Till:
    """One partner's connection. Use it from one thread, as a context."""

    def __init__(self, url: str, *, client_id: str, client_secret: str) -> None:
        self._http = httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_SECONDS)
        self._url = url
        self._credentials = (client_id, client_secret)
        self._token = ""
        self._token_left_at = 0.0
        self._moves_clock: bool | None = None
        self._clock: tuple[datetime, float] | None = None
        self._households: set[str] = set()
        self._places: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def now(self) -> datetime:
        """The server's time, as far as it is known: a sandbox's after a move, else this machine's."""
        if self._clock is None:
            return datetime.now(UTC)
        at, since = self._clock
        return at + timedelta(seconds=time.monotonic() - since)

    def wait_for(self, instant: datetime) -> None:
        """Moves a sandbox's clock on to `instant`, unless it has passed it."""
        if self._moves_clock is None:
            fields = self._ask(MUTATIONS, {})["__type"]["fields"]
            self._moves_clock = any(each["name"] == "advanceClock" for each in fields)
        if not self._moves_clock or (self._clock is not None and instant <= self.now):
            return
        before = self._clock and self.now
        answer = self._answer(ADVANCE, {"to": _rfc3339(instant)})
        if "errors" in answer:
            self._take_refused_move(answer["errors"][0], instant)
        else:
            self._learn(datetime.fromisoformat(answer["data"]["advanceClock"]["now"]))
        passed = None if before is None else (self.now - before).total_seconds()
        self._token_left_at = 0.0 if passed is None else self._token_left_at - passed

    def enrol(self, household: str, summary: Summary) -> None:
        """Makes the household a member, once."""
        if household in self._households:
            return
        self._households.add(household)
        key = f"enrol-household-{household}"
        outcome = self._outcome(ENROL, {"input": {"reference": household, "idempotencyKey": key}}, of="enrolMember")
        if "code" in outcome:
            summary.refuse(f"Household {household}", outcome)
        else:
            summary.members += 1

    def record(self, batch: Sequence[Receipt], summary: Summary) -> None:
        """Records the receipts together, each with its own outcome; where one cannot be read, each alone."""
        answer = self._answer(RECORD, {"inputs": [self._with_place(receipt) for receipt in batch]})
        if (unreadable := _unreadable(answer)) is None:
            outcomes = self._data(answer)["recordPurchases"]
        elif len(batch) == 1:
            outcomes = [unreadable]
        else:
            for receipt in batch:
                self.record([receipt], summary)
            return
        for receipt, outcome in zip(batch, outcomes, strict=True):
            if "code" in outcome:
                summary.refuse(f"Receipt {receipt.number}", outcome)
            elif outcome["replayed"]:
                summary.replayed += 1
            else:
                summary.recorded += 1
                summary.points += outcome["entry"]["points"]

    def _with_place(self, receipt: Receipt) -> Mapping[str, Any]:
        """The purchase with its place, if the programme has it: asked once for each store, by a preview."""
        place = {**receipt.purchase, "place": f"store-{receipt.store}"}
        if receipt.store not in self._places:
            # As of now: by its own time the receipt may be too late, though it was recorded when it was not.
            as_of_now = {name: value for name, value in place.items() if name != "occurredAt"}
            outcome = self._outcome(PREVIEW, {"input": as_of_now}, of="previewPurchase")
            if outcome["__typename"] == "InvalidInput":
                return place
            self._places[receipt.store] = outcome.get("what") != "place"
        return place if self._places[receipt.store] else receipt.purchase

    def _take_refused_move(self, error: Mapping[str, Any], instant: datetime) -> None:
        """A sandbox's clock does not go back: what is older is recorded late."""
        now = error.get("extensions", {}).get("now")
        if now is None:
            raise ReplayFailed(f"The sandbox's clock cannot be moved to {_rfc3339(instant)}: {error['message']}")
        self._learn(datetime.fromisoformat(now))

    def _learn(self, now: datetime) -> None:
        self._clock = (now, time.monotonic())

    def _outcome(self, query: str, variables: Mapping[str, Any], *, of: str) -> dict[str, Any]:
        """What the operation came to, or the problem that the server cannot read its input."""
        answer = self._answer(query, variables)
        outcome: dict[str, Any] = _unreadable(answer) or self._data(answer)[of]
        return outcome

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The data of an operation that must not fail."""
        return self._data(self._answer(query, variables))

    def _data(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        if "errors" in answer:
            raise ReplayFailed(f"{self._url} answers: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data

    def _answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to an operation, asked again with the same keys where none came or the token had expired."""
        if time.monotonic() >= self._token_left_at:
            self._renew_token()
        content = orjson.dumps({"query": query, "variables": variables})
        answer = self._answer_once(content)
        for wait in RETRY_SECONDS:
            code = _error_code(answer)
            if code == "UNAUTHENTICATED":
                self._renew_token()
            elif code == "UNAVAILABLE":
                time.sleep(wait)
            elif code == "RATE_LIMITED":
                time.sleep(answer["errors"][0]["extensions"]["retryAfterSeconds"])
            else:
                break
            answer = self._answer_once(content)
        return answer

    def _answer_once(self, content: bytes) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        response = self._post("/graphql", content=content, headers=headers)
        answer = _json(response)
        if "data" not in answer and "errors" not in answer:
            raise ReplayFailed(f"{self._url}/graphql answers with status {response.status_code}, which is not GraphQL.")
        return answer

    def _renew_token(self) -> None:
        response = self._post("/oauth/token", data={"grant_type": "client_credentials"}, auth=self._credentials)
        answer = _json(response)
        if response.status_code != httpx.codes.OK or "access_token" not in answer:
            reason = answer.get("error_description", f"status {response.status_code}")
            raise ReplayFailed(f"{self._url}/oauth/token gives no token: {reason}")
        self._token = answer["access_token"]
        self._token_left_at = time.monotonic() + answer["expires_in"] - TOKEN_RESERVE_SECONDS

    def _post(self, path: str, **request: Any) -> httpx.Response:
        for wait in (*RETRY_SECONDS, None):
            try:
                return self._http.post(path, **request)
            except httpx.TransportError as error:
                if wait is None or isinstance(error, httpx.UnsupportedProtocol):
                    reason = str(error) or type(error).__name__
                    raise ReplayFailed(f"{self._url} does not answer ({reason}). Is `wallet serve` running?") from error
                time.sleep(wait)
        raise AssertionError("unreachable")


def _batch(receipts: Sequence[Receipt], start: int, *, now: datetime) -> Sequence[Receipt]:
    """The receipt at `start`, and those after it that have happened by `now`, within the limits of one request."""
    end, size = start + 1, len(orjson.dumps(receipts[start].purchase))
    while end < len(receipts) and end - start < MAX_BATCH and receipts[end].occurred_at <= now:
        size += len(orjson.dumps(receipts[end].purchase))
        if size > MAX_BATCH_BYTES:
            break
        end += 1
    return receipts[start:end]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except (OSError, EOFError) as error:
        raise ReceiptsInvalid(f"{path} cannot be read: {error}") from error


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _unreadable(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the server cannot read in the request, as a problem; None where it could."""
    code = _error_code(answer)
    if code not in UNREADABLE:
        return None
    return {"__typename": "InvalidInput", "code": code, "message": answer["errors"][0]["message"]}


def _error_code(answer: Mapping[str, Any]) -> str | None:
    errors = answer.get("errors") or [{}]
    code: str | None = errors[0].get("extensions", {}).get("code")
    return code
