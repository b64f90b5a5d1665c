"""A year of receipts through the partner API, counted again by a few lines that know only the receipts and the rules.

The sample's first households are replayed once; their balances, a second replay and the audit are looked at after it.
With `--receipts FILE` the same is done for a whole year.
"""

import calendar
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from api.command.replay import Receipt, ReceiptsInvalid, instant_of, read_receipts
from domain.programme.programme import PILOT_SCALE, stable_share
from notifications.inbox import KEPT_FOR
from notifications.schedule import spread
from tests.cascades_by_hand import (
    Bought,
    CountedRun,
    Life,
    Person,
    Told,
    day_of,
    offers_in,
    offers_too_many,
    quiet_until,
)
from tests.counted_by_hand import Household, Terms
from tests.households import Api, endpoints_of, live_on, people_of, settle_in
from tests.notifications.phones import Phones, opened_phones
from tests.programme.naive_streak import Event, Move, NaiveStreak, Shown
from tests.wallet_command import HTTP, PROGRAMME, SAMPLE, WalletCommand, free_port, wallet_command

ZONE: Final = ZoneInfo("America/New_York")
TIERS: Final = [(4000, Decimal(2)), (1500, Decimal("1.5")), (500, Decimal("1.25")), (0, Decimal(1))]
PILOT: Final = {"330", "424"}
VOUCHERS: Final = {
    "next-20": "20 % off your next shop",
    "free-coffee": "A coffee on us",
    "free-pastry": "A pastry on us",
    "same-sku-15": "15 % off your favourite",
}
BEGINNING: Final = datetime(2016, 12, 31, tzinfo=UTC)
HOUSEHOLDS: Final = 7
LATER: Final = datetime(2018, 6, 15, 12, tzinfo=UTC)

pytestmark = pytest.mark.slow


@dataclass(kw_only=True)
class Account:
    """One household by hand: what it earned, as (amount, first day, first day on which it is gone)."""

    person: Person
    points: list[tuple[int, date]] = field(default_factory=list)
    earned_on: list[date] = field(default_factory=list)
    bought: list[Bought] = field(default_factory=list)
    cashback: list[tuple[int, date, date]] = field(default_factory=list)
    metric: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    produce: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    multiplier: Decimal = Decimal(1)
    collected: Household = field(init=False)

    def __post_init__(self) -> None:
        self.collected = Household(zone=self.person.zone)
        self.earn(100, day_of(self.person.joined_at))

    def earn(self, points: int, day: date) -> None:
        self.points.append((points, gone_after(day)))
        self.earned_on.append(day)

    def buy(self, receipt: dict[str, Any], printed: Receipt) -> None:
        at = datetime.fromisoformat(receipt["at"])
        day = at.date()
        happy = (
            receipt["store"] in PILOT
            and date(2017, 6, 1) <= day < date(2017, 9, 1)
            and at.hour >= 18
            and at.isoweekday() <= 5
        )
        times = self.multiplier * (2 if happy else 1)
        week = day.isocalendar()[:2]
        produce = min(int(of(receipt, "PRODUCE") * times), 40 - self.produce[week])
        earned = int(Decimal(receipt["total"]) * times) + produce
        self.produce[week] += produce
        collected = self.collected.buy(printed, Terms())
        self.earn(earned + 150 * collected["won"] + collected["points"], day)
        self.bought.append(Bought(printed.occurred_at, self.points[-1][0]))
        cents = min(int(of(receipt, "PASTRY") * 5), 300)
        matures = day + timedelta(days=14)
        self.cashback.append((cents, matures, months_after(matures, 6) + timedelta(days=1)))
        self.metric[day] += earned
        year = sum(amount for on, amount in self.metric.items() if on > months_after(day, -12))
        self.multiplier = max(self.multiplier, next(factor for least, factor in TIERS if year >= least))

    def points_on(self, day: date) -> int:
        """What was earned by that day and is not gone."""
        kept = zip(self.points, self.earned_on, strict=True)
        return sum(amount for (amount, gone), earned_on in kept if earned_on <= day < gone)

    def on(self, day: date) -> dict[str, Any]:
        """The balances at the end of that day, as the API tells them."""
        available = sum(cents for cents, matures, gone in self.cashback if matures <= day < gone)
        pending = sum(cents for cents, matures, _ in self.cashback if day < matures)
        return {
            "points": sum(amount for amount, gone in self.points if day < gone),
            "earned": sum(amount for amount, _ in self.points),
            "cashback": money(available),
            "pending": money(pending),
        }


def of(receipt: dict[str, Any], category: str) -> Decimal:
    return sum((Decimal(line["amount"]) for line in receipt["lines"] if line["category"] == category), Decimal())


def months_after(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def gone_after(day: date) -> date:
    """The first of the month after the one that is twelve months on."""
    return months_after(months_after(day, 12).replace(day=1), 1)


def money(cents: int) -> str:
    return str(Decimal(cents) / 100) if cents % 10 else f"{Decimal(cents) / 100:.2f}"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A server to which the receipts were brought once."""

    wallet: WalletCommand
    port: int
    file: Path
    client_id: str
    secret: str
    first: str
    phones: Phones
    people: dict[str, Person]

    @property
    def receipts(self) -> list[dict[str, Any]]:
        with gzip.open(self.file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @property
    def accounts(self) -> dict[str, Account]:
        accounts = {household: Account(person=person) for household, person in self.people.items()}
        for receipt, printed in zip(self.receipts, read_receipts(self.file), strict=True):
            accounts[receipt["household"]].buy(receipt, printed)
        return accounts

    def again(self) -> tuple[int, str]:
        done = self.wallet.run(
            *("replay", str(self.file), "--url", f"http://127.0.0.1:{self.port}"),
            *("--client-id", self.client_id, "--client-secret", self.secret),
        )
        return done.returncode, done.stdout + done.stderr

    @property
    def api(self) -> Api:
        return Api(url=f"http://127.0.0.1:{self.port}", variables=self.wallet.variables)

    def ask(self, query: str) -> dict[str, Any]:
        answered: dict[str, Any] = self.api.ask(query, token=self.till_token())
        return answered

    def till_token(self) -> str:
        form = {"grant_type": "client_credentials"}
        answer = HTTP.post(f"{self.api.url}/oauth/token", data=form, auth=(self.client_id, self.secret))
        token: str = answer.json()["access_token"]
        return token

    def member(self, household: str) -> str:
        identifier: str = self.ask(f'{{ member(by: {{reference: "{household}"}}) {{ id }} }}')["member"]["id"]
        return identifier

    def balances(self, household: str) -> dict[str, Any]:
        wallet = self.ask(
            f'{{ member(by: {{reference: "{household}"}}) {{ wallet {{ points {{ available lifetimeEarned }}'
            " cashback { available { amount } pending { amount } } } } }"
        )["member"]["wallet"]
        cashback = (wallet["cashback"] or [{"available": {"amount": "0.00"}, "pending": {"amount": "0.00"}}])[0]
        return {
            "points": wallet["points"]["available"],
            "earned": wallet["points"]["lifetimeEarned"],
            "cashback": cashback["available"]["amount"],
            "pending": cashback["pending"]["amount"],
        }

    def collected(self, household: str) -> dict[str, Any]:
        """Levels and counts of badges, longest streaks, stamps, full cards, and vouchers by name and item."""
        member = self.ask(
            f'{{ member(by: {{reference: "{household}"}}) {{ badges {{ badge {{ id }} level count }}'
            " streaks { streak longest } stampCards { card stamps completed } challenges { challenge } } }"
        )["member"]
        return {
            "badges": {each["badge"]["id"]: (each["level"], each["count"]) for each in member["badges"]},
            "streaks": {each["streak"]: each["longest"] for each in member["streaks"]},
            "cards": [(each["card"], each["stamps"], each["completed"]) for each in member["stampCards"]],
            "challenges": member["challenges"],
            "vouchers": Counter((voucher["name"], voucher["sku"]) for voucher in self.vouchers(household)),
        }

    def vouchers(self, household: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = "null"
        while True:
            page = self.ask(
                f'{{ member(by: {{reference: "{household}"}}) {{ vouchers(first: 100, after: {after}) {{'
                " nodes { name sku } pageInfo { hasNextPage endCursor } } } }"
            )["member"]["vouchers"]
            found += page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = json.dumps(page["pageInfo"]["endCursor"])

    def streaks(self, household: str) -> dict[str, Shown]:
        member = self.ask(
            f'{{ member(by: {{reference: "{household}"}}) {{'
            " streaks { streak current longest freezesLeft safe atRiskAt } } }"
        )["member"]
        return {
            each["streak"]: Shown(
                current=each["current"],
                longest=each["longest"],
                freezes_left=each["freezesLeft"],
                is_safe=each["safe"],
                at_risk_at=each["atRiskAt"] and datetime.fromisoformat(each["atRiskAt"]),
            )
            for each in member["streaks"]
        }

    def versions(self) -> dict[str, int]:
        return {
            household: self.ask(f'{{ member(by: {{reference: "{household}"}}) {{ wallet {{ version }} }} }}')["member"][
                "wallet"
            ]["version"]
            for household in self.accounts
        }


def some_households(folder: Path) -> Path:
    """The receipts of the sample's first households: enough for every rule and cascade to have its turn."""
    kept = {receipt.household for receipt in read_receipts(SAMPLE, members=HOUSEHOLDS)}
    file = folder / "receipts.jsonl.gz"
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines, gzip.open(file, "wt", encoding="utf-8") as some:
        some.writelines(line for line in lines if json.loads(line)["household"] in kept)
    return file


@pytest.fixture(scope="module", params=["sample", "year"])
def replayed(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    server_url: str,
    worker_id: str,
) -> Iterator[Replayed]:
    whole = pytestconfig.getoption("--receipts")
    if request.param == "year" and whole is None:
        pytest.skip("give the whole year's file with --receipts")
    file = whole if request.param == "year" else some_households(tmp_path_factory.mktemp("receipts"))
    port = free_port()
    people = people_of(receipt.household for receipt in read_receipts(file))
    with wallet_command(server_url, f"replay_{worker_id}") as plain, opened_phones() as phones:
        more = {"WALLET_FCM_URL": phones.url, "WALLET_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        wallet = replace(plain, variables={**plain.variables, **more})
        arguments = ("--programme", str(PROGRAMME), "--start", "2017-01-01")
        with wallet.serving(*arguments, "--no-worker", port=port):
            client_id, secret = wallet.till()
            done = Replayed(
                wallet=wallet,
                port=port,
                file=file,
                client_id=client_id,
                secret=secret,
                first="",
                phones=phones,
                people=people,
            )
            settle_in(done.api, people, done.till_token)
        with wallet.serving(*arguments, port=port):
            code, said = done.again()
            assert code == 0, said
            yield replace(done, first=said)


def test_every_receipt_is_recorded_and_the_points_are_those_of_the_rules(replayed: Replayed) -> None:
    accounts = replayed.accounts
    points = sum(amount for account in accounts.values() for amount, _ in account.points) - 100 * len(accounts)

    assert replayed.first == (
        f"{len(replayed.receipts):,} recorded, 0 replayed, 0 refused · "
        f"{len(accounts):,} members · {points:,} points given\n"
    )


def test_balances_are_those_counted_by_hand(replayed: Replayed) -> None:
    last_day = datetime.fromisoformat(replayed.receipts[-1]["at"]).date()

    for household, account in replayed.accounts.items():
        assert (household, replayed.balances(household)) == (household, account.on(last_day))


def test_badges_streaks_stamps_and_vouchers_are_those_counted_by_hand(replayed: Replayed) -> None:
    for household, account in replayed.accounts.items():
        by_hand = account.collected

        assert (household, replayed.collected(household)) == (
            household,
            {
                "badges": {badge: (by_hand.levels[badge], count) for badge, count in by_hand.counts().items()},
                "streaks": {"weekly": by_hand.weekly.longest, "daily": by_hand.daily.longest},
                "cards": [("bread", by_hand.stamps, by_hand.cards)],
                "challenges": [],
                "vouchers": Counter((VOUCHERS[kind], sku) for kind, sku in by_hand.vouchers),
            },
        )


def test_streaks_are_as_the_naive_ones_show_them(replayed: Replayed) -> None:
    printed = read_receipts(replayed.file)

    for household, person in replayed.people.items():
        here = [Move(BEGINNING, person.zone)]
        naive = {
            "weekly": NaiveStreak(BEGINNING, here, per="week", most_freezes=2, every=4),
            "daily": NaiveStreak(BEGINNING, here, per="day", most_freezes=1, every=7),
        }
        for at in [receipt.occurred_at for receipt in printed if receipt.household == household]:
            for streak in naive.values():
                streak.tell(Event(at, None), at)
        shown = {name: streak.shown(printed[-1].occurred_at) for name, streak in naive.items()}
        assert (household, replayed.streaks(household)) == (household, shown)


def test_the_audit_proves_it(replayed: Replayed) -> None:
    outcome = replayed.wallet.run("audit")

    assert outcome.returncode == 0, outcome.stdout
    assert outcome.stdout.startswith(f"All is well: {len(replayed.accounts)} wallets")


@pytest.fixture(scope="module")
def half_a_year_on(replayed: Replayed) -> Replayed:
    """Of those who came back some react to messages and go past a shop; then the clock stands at LATER."""
    members = {household: replayed.member(household) for household in replayed.people}
    acts = {household: life_of(each, members[household]).acts() for household, each in replayed.accounts.items()}
    live_on(replayed.api, replayed.people, members, acts)
    replayed.api.move_to(LATER)
    return replayed


def test_time_takes_what_has_expired_and_the_audit_still_holds(half_a_year_on: Replayed) -> None:
    replayed = half_a_year_on

    for household, account in replayed.accounts.items():
        assert (household, replayed.balances(household)) == (household, account.on(LATER.date()))
    assert replayed.wallet.run("audit").returncode == 0


def test_a_second_replay_posts_nothing_though_the_receipts_are_too_late_by_now(half_a_year_on: Replayed) -> None:
    replayed = half_a_year_on
    before = replayed.versions()

    code, said = replayed.again()

    assert code == 0
    assert said.startswith(f"0 recorded, {len(replayed.receipts):,} replayed, 0 refused")
    assert replayed.versions() == before


RUNS: Final = """
query($member: ID!, $after: String) { cascadeRuns(member: $member, first: 100, after: $after) {
  nodes { id cascade arm state startedAt history { at what step reason } } pageInfo { hasNextPage endCursor }
} }
"""
INBOX: Final = """
query($after: String) { me { inbox(first: 100, after: $after) {
  nodes { cascade sentAt } pageInfo { hasNextPage endCursor }
} } }
"""
NOTED: Final = {
    *("started", "not started", "held out", "not sent", "deferred", "goal reached", "done", "expired"),
    *("reaction", "late reaction"),
}
WITHOUT_REASON: Final = {"started", "goal reached", "reaction", "late reaction"}
CLOCK_RUNS_ON: Final = timedelta(seconds=90)
"""Between two movements a sandbox's clock goes on by the machine's."""


def pages(replayed: Replayed, query: str, of: str, variables: dict[str, Any], *, token: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answered = replayed.api.ask(query, {**variables, "after": after}, token=token)
        page = answered["cascadeRuns"] if of == "cascadeRuns" else answered["me"]["inbox"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


def runs_of(replayed: Replayed, member: str, staff_token: str) -> list[dict[str, Any]]:
    """As staff see them, in the order in which they started, with what is told by hand too."""
    runs = pages(replayed, RUNS, "cascadeRuns", {"member": member}, token=staff_token)
    for run in runs:
        run["startedAt"] = datetime.fromisoformat(run["startedAt"])
        run["told"] = [
            Told(
                each["what"],
                each["step"],
                None if each["what"] in WITHOUT_REASON else each["reason"],
                datetime.fromisoformat(each["at"]),
            )
            for each in run["history"]
            if each["what"] in NOTED or each["what"].startswith("sent by")
        ]
    return sorted(runs, key=lambda run: (run["startedAt"], run["cascade"]))


def life_of(account: Account, member: str) -> Life:
    """By hand, with the two hashes of the product."""
    gone: dict[date, int] = defaultdict(int)
    for amount, gone_on in account.points:
        gone[gone_on] += amount
    return Life(
        person=account.person,
        bought=account.bought,
        points_on=account.points_on,
        points_gone=gone,
        is_held_out=is_held_out(member),
        spread=spread(member),
        until=LATER,
    )


def is_held_out(member: str) -> bool:
    """Whether the member belongs to the tenth that gets no offers."""
    return stable_share("corner\0holdout\0win-back", member) < PILOT_SCALE // 10


def near(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= CLOCK_RUNS_ON


def summary(run: CountedRun) -> tuple[object, ...]:
    return run.cascade, run.arm, run.state, [told[:3] for told in run.told]


def test_every_cascade_ran_and_told_what_is_counted_by_hand(half_a_year_on: Replayed) -> None:
    replayed = half_a_year_on
    staff = replayed.api.ask('mutation { sandboxStaffToken(scopes: ["staff:members"]) }')["sandboxStaffToken"]
    members = {household: replayed.member(household) for household in replayed.people}
    tokens = replayed.api.member_tokens(list(members.values()), now=LATER)
    expected_pushes: Counter[tuple[str, str]] = Counter()
    came, became = set[str](), set[str]()

    for household, account in replayed.accounts.items():
        member = members[household]
        shown = runs_of(replayed, member, staff)
        by_hand = life_of(account, member).runs()
        told = [(run["cascade"], run["arm"], run["state"], [each[:3] for each in run["told"]]) for run in shown]
        pairs = zip_longest(told, map(summary, by_hand))
        assert (household, [(one, other) for one, other in pairs if one != other][:3]) == (household, [])
        for run, counted in zip(shown, by_hand, strict=True):
            for line, by_hand_line in zip(run["told"], counted.told, strict=True):
                assert near(line.at, by_hand_line.at), (household, counted.cascade, line, by_hand_line)
        kept = sorted(
            (at, run.cascade) for run in by_hand for at in run.messages if at > LATER + CLOCK_RUNS_ON - KEPT_FOR
        )
        inbox = sorted(
            (datetime.fromisoformat(item["sentAt"]), item["cascade"])
            for item in pages(replayed, INBOX, "inbox", {}, token=tokens[member])
        )
        assert (household, [cascade for _, cascade in inbox]) == (household, [cascade for _, cascade in kept])
        assert all(near(one, other) for (one, _), (other, _) in zip(inbox, kept, strict=True))
        pushed = [(run.cascade, each) for run in by_hand for each in run.told if each.what == "sent by PUSH"]
        offers = offers_in(by_hand)
        assert offers_too_many(offers, account.person.zone) == []
        assert all(quiet_until(at, account.person) is None for at in offers)
        assert "win-back" not in {cascade for cascade, _ in pushed} or not is_held_out(member)
        for phone in endpoints_of(household, account.person):
            expected_pushes.update((phone, f"{cascade}.{each.step}") for cascade, each in pushed)
        came.update(run.cascade for run in by_hand if run.messages)
        became.update(each.what for run in by_hand for each in run.told)

    pushes = Counter(
        (entry["endpoint"], entry["message"]["fcm_options"]["analytics_label"])
        for entry in replayed.phones.ledger()
        if "notification" in entry["message"]
    )
    assert pushes == expected_pushes
    assert came == {
        *("welcome", "earned", "win-back", "streak-at-risk", "points-expiring", "bonus-grows", "near-store")
    }
    assert {"reaction", "late reaction"} <= became


def test_a_receipt_that_cannot_be_read_is_named_and_harms_no_other(half_a_year_on: Replayed, tmp_path: Path) -> None:
    replayed = half_a_year_on
    last, file = replayed.receipts[-1], tmp_path / "receipts.jsonl"
    line = {**last["lines"][0], "amount": "5.00"}
    odd: list[dict[str, Any]] = [{"quantity": 1}, {"quantity": 1.5}, {"brand": "B" * 70_000}, {"quantity": 2}]
    receipts = [
        {**last, "receipt": f"odd-{number}", "at": "2018-06-15T07:00:00", "total": "5.00", "lines": [{**line, **told}]}
        for number, told in enumerate(odd)
    ]
    file.write_text("\n".join(json.dumps(receipt) for receipt in receipts), "utf-8")

    code, said = replace(replayed, file=file).again()

    assert code == 1
    assert said.startswith("2 recorded, 0 replayed, 2 refused · 1 members · ")
    assert "Receipt odd-1: inputs.0.lines.0.quantity: " in said
    assert "Receipt odd-2: The body is larger than 65536 bytes." in said


def test_only_the_first_households_are_kept_when_asked() -> None:
    receipts = read_receipts(SAMPLE, members=2)

    assert len({receipt.household for receipt in receipts}) == 2
    assert receipts[0] == read_receipts(SAMPLE)[0]


@pytest.mark.parametrize(
    ("local", "before", "instant"),
    [
        ("2017-01-01T11:53:26", None, "2017-01-01T16:53:26Z"),
        ("2017-11-05T01:30:00", None, "2017-11-05T05:30:00Z"),
        ("2017-11-05T01:30:00", "2017-11-05T05:20:00Z", "2017-11-05T05:30:00Z"),
        ("2017-11-05T01:30:00", "2017-11-05T05:50:00Z", "2017-11-05T06:30:00Z"),
        ("2017-11-05T01:30:00", "2017-11-05T07:00:00Z", "2017-11-05T05:30:00Z"),
        ("2017-03-12T02:30:00", None, "2017-03-12T07:30:00Z"),
    ],
)
def test_a_tills_local_time_is_one_instant(local: str, before: str | None, instant: str) -> None:
    not_before = None if before is None else datetime.fromisoformat(before)

    assert instant_of(datetime.fromisoformat(local), ZONE, not_before=not_before) == datetime.fromisoformat(instant)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 1: unexpected end of data"),
        (b'{"receipt": "1"}', "line 1: 'household' is missing"),
        (b'{"receipt": "1", "household": "2", "at": "noon", "timeZone": "UTC"}', "line 1: Invalid isoformat string"),
    ],
)
def test_a_line_that_is_no_receipt_is_named(line: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "receipts.jsonl"
    file.write_bytes(line + b"\n")

    with pytest.raises(ReceiptsInvalid) as refused:
        read_receipts(file)

    assert f"{file}, {said}" in str(refused.value)
