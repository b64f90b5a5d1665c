"""The pure engine over random cascades, signals and times, beside an interpreter that only reads the steps down.

The interpreter knows no states: it goes through the sections of the programme, works out from the whole list of
reactions what the member had done by then, and notes who sent what and when (SEMANTICS §10.4 to §10.8).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.ledger.expiry import parse_period
from domain.programme.cascade import CompiledCascade, SendStep, compile_cascades
from domain.programme.cascade_format import Cascade
from notifications import engine
from notifications.delivery import OPENED
from notifications.engine import Conditions, Deferred, Go, HeldOut, Refused, Send, Standing
from notifications.run import Run, RunArm, RunState
from notifications.schedule import next_local, plus, spread
from notifications.signal import Signal

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
ZONES: Final = ("Europe/Ljubljana", "America/New_York", "Australia/Lord_Howe", "America/Santiago")
TIMES: Final = ("10:00", "02:30", "00:00", "23:30")
ASKED: Final = ("reaction", "no_reaction", "member.points > 0", "member.points == 0")
Step = dict[str, Any]

a_time = st.sampled_from(TIMES)
a_reaction = st.sampled_from(ASKED[:2])
a_condition = st.sampled_from(ASKED[2:])
a_length = st.sampled_from(["PT1H", "PT90M", "P1D", "P3D"])
sends: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {"send": st.just("PUSH"), "if": a_reaction | st.none(), "at": st.none() | st.none() | a_time},
    optional={"when": a_condition, "misfire": st.sampled_from(["send", "skip"])},
).map(lambda step: {key: value for key, value in step.items() if value is not None})
waits: st.SearchStrategy[Step] = st.one_of(
    st.fixed_dictionaries({"wait": a_length}, optional={"until": st.just("reaction"), "at": a_time}),
    st.fixed_dictionaries({"at": a_time}, optional={"until": st.just("reaction")}),
)
ends: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {"end": st.just(True)}, optional={"if": a_reaction, "when": a_condition}
)
plain = st.one_of(sends, sends, sends, waits, waits, waits, ends)


def branches(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    some = st.lists(inner, max_size=3)
    return st.fixed_dictionaries({"branch": st.sampled_from(ASKED), "then": some, "else": some})


steps = st.lists(st.one_of(plain, plain, branches(st.one_of(plain, plain, branches(plain)))), min_size=1, max_size=9)


@dataclass(frozen=True, kw_only=True)
class World:
    """A member: how long after each message, by template, he opens it, if he does, and when its goal comes."""

    starts_at: datetime
    zone: ZoneInfo
    points: int
    opens_after: dict[str, timedelta]
    goal_at: datetime | None

    @property
    def facts(self) -> dict[str, Any]:
        return {"member": {"points": self.points}, "entry": {}}


delays = (st.integers(1, 1_800) | st.integers(1, 6 * 86_400)).map(lambda seconds: timedelta(seconds=seconds))
worlds = st.builds(
    World,
    starts_at=st.integers(0, 366 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes)),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    points=st.sampled_from([0, 5]),
    opens_after=st.lists(delays | st.none(), max_size=9).map(
        lambda found: {f"t{number}": delay for number, delay in enumerate(found) if delay is not None}
    ),
    goal_at=st.none(),
)
expiries = st.sampled_from([None, None, "PT2H", "P2D", "P9D"])


def numbered(sections: Sequence[Step], first: int = 0) -> tuple[list[Step], int]:
    """The steps with a template of its own for each send."""
    found: list[Step] = []
    for section in sections:
        if "send" in section:
            found.append({**section, "template": f"t{first}"})
            first += 1
        elif "branch" in section:
            then, first = numbered(section["then"], first)
            otherwise, first = numbered(section["else"], first)
            found.append({**section, "then": then, "else": otherwise})
        else:
            found.append(section)
    return found, first


def compiled(sections: Sequence[Step], *, expires: str | None = None, **more: Any) -> CompiledCascade:
    told = {"id": "c", "category": "SERVICE", "trigger": {"event": "purchase"}, "goal": {"events": ["adjust"]}}
    ends_after = {} if expires is None else {"expires": expires}
    cascade = Cascade.model_validate({**told, **ends_after, **more, "steps": list(sections)})
    return compile_cascades([cascade])["c"]


def begun(cascade: CompiledCascade, world: World) -> Run:
    signal = Signal(id="s", member="m", event="purchase", at=world.starts_at)
    standing = Standing(facts=world.facts, zone=world.zone)
    run = engine.begin(cascade, signal, version=1, programme="p", standing=standing)
    assert run is not None
    return run


def followed(cascade: CompiledCascade, world: World) -> tuple[list[tuple[str, datetime]], Run]:
    """What the engine sends and when, and the run at its end: it is always on time, signals go before sends."""
    run, sent, opened = begun(cascade, world), list[tuple[str, datetime]](), list[tuple[datetime, str]]()
    while run.is_live:
        now = due_at(run)
        if world.goal_at is not None and world.goal_at <= min([now, *(at for at, _ in opened)]):
            run = engine.reach(run, at=world.goal_at, event="adjust")
        elif opened and min(opened)[0] <= now:
            at, delivery = min(opened)
            opened.remove((at, delivery))
            run = engine.wake(engine.react(run, at=at, event=OPENED, delivery=delivery), cascade, at=at)
        else:
            step = run.step
            run, send = engine.proceed(run, cascade, now=now, facts=world.facts, zone=world.zone)
            assert run.step >= step
            if send is not None:
                sent.append((send.template, now))
                run = engine.sent(run, send, now=now)
                if (delay := world.opens_after.get(send.template)) is not None:
                    opened.append((now + delay, send.delivery))
            else:
                assert not run.is_live or due_at(run) > now
    return sent, run


def due_at(run: Run) -> datetime:
    """When a live run is due."""
    assert run.due_at is not None, run
    return run.due_at


@dataclass(kw_only=True)
class Reader:
    """Reads the steps down. `at` is where in time it is, `group` the messages since the wait before the last one."""

    world: World
    ends_at: datetime | None
    at: datetime
    sent: list[tuple[str, datetime]] = field(default_factory=list)
    group: list[tuple[str, datetime]] = field(default_factory=list)
    waited: bool = False
    over: bool = False

    def reactions(self) -> list[datetime]:
        """When he reacted to one of the last messages, after the last of them went."""
        opens = self.world.opens_after
        found = [at + opens[template] for template, at in self.group if template in opens]
        return sorted(at for at in found if at > self.group[-1][1])

    def holds(self, asked: str | None) -> bool:
        if asked is None:
            return True
        if asked in ASKED[:2]:
            return any(at <= self.at for at in self.reactions()) == (asked == "reaction")
        return (self.world.points > 0) == (asked == "member.points > 0")

    def read(self, sections: Sequence[Step]) -> None:
        for section in sections:
            if self.over or (self.ends_at is not None and self.at >= self.ends_at):
                self.over = True
                return
            if "send" in section:
                self.send(section)
            elif "branch" in section:
                self.read(section["then"] if self.holds(section["branch"]) else section["else"])
            elif "end" in section:
                self.over = self.holds(section.get("if")) and self.holds(section.get("when"))
            else:
                self.wait(section)

    def send(self, section: Step) -> None:
        for attempt in (1, 2):
            if not (self.holds(section.get("if")) and self.holds(section.get("when"))):
                return
            if attempt == 1 and "at" in section:
                self.at = next_local(self.at, time.fromisoformat(section["at"]), self.world.zone)
        if self.ends_at is not None and self.at >= self.ends_at:
            self.over = True
            return
        self.group = [*([] if self.waited else self.group), (section["template"], self.at)]
        self.waited = False
        self.sent.append((section["template"], self.at))

    def wait(self, section: Step) -> None:
        until_reaction = "until" in section
        if until_reaction and self.holds("reaction"):
            return
        due_at = self.at
        if "wait" in section:
            due_at = plus(due_at, parse_period(section["wait"], time=True), self.world.zone)
        if "at" in section:
            due_at = next_local(due_at, time.fromisoformat(section["at"]), self.world.zone)
        due_at = due_at if self.ends_at is None else min(due_at, self.ends_at)
        early = [at for at in self.reactions() if at <= due_at] if until_reaction else []
        self.at = early[0] if early else due_at
        self.waited = True


def read_down(sections: Sequence[Step], world: World, *, expires: str | None) -> list[tuple[str, datetime]]:
    """What is sent and when by reading the steps down."""
    ends_at = None if expires is None else plus(world.starts_at, parse_period(expires, time=True), world.zone)
    reader = Reader(world=world, ends_at=ends_at, at=world.starts_at)
    reader.read(sections)
    return [(template, at) for template, at in reader.sent if world.goal_at is None or at < world.goal_at]


OPENS_THE_FIRST: Final = World(
    starts_at=START, zone=ZoneInfo("UTC"), points=0, opens_after={"t0": SECOND}, goal_at=None
)
TO_THE_SILENT: Final[list[Step]] = [
    {"send": "PUSH"},
    {"wait": "P1D"},
    {"send": "PUSH"},
    {"send": "PUSH", "if": "reaction"},
    {"wait": "P3D", "until": "reaction"},
    {"send": "PUSH", "if": "no_reaction"},
]


@settings(max_examples=200, deadline=None)
@given(drawn=steps, world=worlds, expires=expiries, goal=st.none() | delays)
@example(drawn=TO_THE_SILENT, world=OPENS_THE_FIRST, expires=None, goal=None)
def test_the_engine_sends_what_reading_the_steps_down_sends_at_the_same_instants(
    drawn: list[Step], world: World, expires: str | None, goal: timedelta | None
) -> None:
    sections, _ = numbered(drawn)
    world = replace(world, goal_at=None if goal is None else world.starts_at + goal)

    sent, run = followed(compiled(sections, expires=expires), world)

    assert sent == read_down(sections, world, expires=expires)
    assert len({template for template, _ in sent}) == len(sent)
    assert run.state in {RunState.DONE, RunState.EXPIRED, RunState.GOAL_REACHED}
    assert (run.due_at, run.claim) == (None, None)
    if run.state is RunState.GOAL_REACHED:
        assert run.ended_at == world.goal_at


@dataclass(frozen=True, kw_only=True)
class Whim:
    """What the world does at one turn: how late the worker is, and what becomes of a message at hand."""

    late: timedelta
    does: str
    by: timedelta


whims = st.lists(
    st.builds(
        Whim,
        late=st.sampled_from([timedelta(0), timedelta(0), SECOND, timedelta(minutes=3), timedelta(days=2)]),
        does=st.sampled_from(["send", "send", "skip", "defer", "hold", "react", "bogus", "goal", "cancel"]),
        by=delays,
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(drawn=steps, world=worlds, expires=expiries, turns=whims)
def test_whatever_happens_a_run_comes_to_rest_and_each_step_sends_once_at_most(
    drawn: list[Step], world: World, expires: str | None, turns: list[Whim]
) -> None:
    cascade = compiled(numbered(drawn)[0], expires=expires)
    run, now, sent = begun(cascade, world), world.starts_at, list[int]()

    for whim in [*turns, *[Whim(late=timedelta(0), does="send", by=SECOND)] * 2 * len(cascade.steps)]:
        if not run.is_live:
            break
        if whim.does in {"hold", "react", "bogus", "goal", "cancel"}:
            run = moved(run, cascade, whim, now=now)
            continue
        step, now = run.step, max(now, due_at(run)) + whim.late
        run, send = engine.proceed(run, cascade, now=now, facts=world.facts, zone=world.zone)
        assert run.step >= step
        if send is None:
            assert not run.is_live or due_at(run) > now
            continue
        assert is_wanted(cascade, run, send, now=now)
        if whim.does == "defer":
            run = engine.defer(run, Deferred(until=now + whim.by, reason="quiet hours"), now=now)
        elif whim.does == "skip":
            run = engine.skip(run, send.step, now=now, reason="capped: day")
        else:
            sent.append(send.step)
            run = engine.sent(run, send, now=now)

    assert not run.is_live
    assert len(set(sent)) == len(sent) == run.sent
    assert engine.proceed(run, cascade, now=now, facts=world.facts, zone=world.zone) == (run, None)
    assert run.history[-1].at >= run.started_at


def moved(run: Run, cascade: CompiledCascade, whim: Whim, *, now: datetime) -> Run:
    """The run after what happens to it from outside."""
    match whim.does:
        case "hold":
            held = engine.hold(run, run.held_seconds + whim.by.total_seconds())
            assert [each and each + whim.by for each in clocks(run)] == clocks(held)
            return held
        case "goal":
            reached = engine.reach(run, at=now, event="adjust")
            assert (reached.state, reached.due_at) == (RunState.GOAL_REACHED, None)
            return reached
        case "cancel":
            return engine.cancel(run, at=now, reason="stopped")
    delivery = (run.delivery or "none") if whim.does == "react" else "of-somebody-else"
    reacted = engine.react(run, at=now, event=OPENED, delivery=delivery)
    assert whim.does == "react" or reacted.reacted == run.reacted
    return engine.wake(reacted, cascade, at=now)


def clocks(run: Run) -> list[datetime | None]:
    return [run.due_at, run.step_at, run.expires_at]


def is_wanted(cascade: CompiledCascade, run: Run, send: Send, *, now: datetime) -> bool:
    """Whether the message may be at hand at all: as its step asks, and not too late for it."""
    step = cascade.steps[send.step]
    assert isinstance(step, SendStep)
    in_time = step.misfire == "send" or now - due_at(run) <= engine.ON_TIME
    return in_time and step.if_reacted in {None, run.reacted} and send.expires_at > run.started_at


PURPOSES: Final = ("MARKETING", "LOCATION", "PERSONALISATION")
CHANNELS: Final = ("PUSH", "EMAIL", "SMS", "INBOX")
instants = st.integers(-600, 600).map(lambda minutes: START + timedelta(minutes=minutes))
conditions = st.builds(
    Conditions,
    now=st.just(START),
    consents=st.frozensets(st.sampled_from(PURPOSES)) | st.just(frozenset(PURPOSES)),
    muted=st.frozensets(st.sampled_from(CHANNELS)) | st.just(frozenset()),
    has_goal=st.booleans(),
    reachable=st.frozensets(st.sampled_from(CHANNELS)) | st.just(frozenset(CHANNELS)),
    full=st.dictionaries(st.sampled_from(CHANNELS), st.tuples(st.just("day"), instants), max_size=2),
    quiet_until=st.none() | instants.filter(lambda at: at > START),
    wait_for=st.none() | st.tuples(st.just("rival"), instants),
)


@settings(max_examples=250)
@given(
    asked=st.lists(st.sampled_from(PURPOSES[1:]), unique=True),
    category=st.sampled_from(["MARKETING", "SERVICE", "TRANSACTIONAL"]),
    channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4, unique=True),
    capped=st.sampled_from(["skip", "wait"]),
    arm=st.sampled_from(RunArm),
    expires_at=instants,
    known=conditions,
)
def test_the_first_rule_that_says_no_is_the_reason(
    *,
    asked: list[str],
    category: str,
    channels: list[str],
    capped: str,
    arm: RunArm,
    expires_at: datetime,
    known: Conditions,
) -> None:
    section = {"send": channels, "template": "t", "capped": capped}
    cascade = compiled([section], category=category, consent=asked)
    signal = Signal(id="s", member="m", event="purchase", at=START)
    run = engine.begin(cascade, signal, version=1, programme="p", standing=Standing(facts={}))
    assert run is not None
    send = Send(step=0, delivery="d", channels=tuple(channels), template="t", label="c.0", expires_at=expires_at)

    verdict = engine.judge(replace(run, arm=arm), cascade, send, known)

    needed = ["MARKETING"] * (category == "MARKETING") + asked
    missing = next((each for each in needed if each not in known.consents), None)
    wanted = [each for each in channels if each not in known.muted]
    reached = [each for each in wanted if each in known.reachable]
    first = reached[0] if reached else ""
    cap = known.full.get(first)
    woken_at = None if known.quiet_until is None else known.quiet_until + spread(run.member)
    rules: list[tuple[bool, Callable[[], engine.Verdict]]] = [
        (missing is not None, lambda: Refused(reason=f"no consent: {missing}")),
        (not wanted, lambda: Refused(reason=f"muted: {', '.join(channels)}")),
        (arm is RunArm.HELD_OUT, HeldOut),
        (known.has_goal, lambda: Refused(reason="goal reached")),
        (expires_at <= START, lambda: Refused(reason="message expired")),
        (not reached, lambda: Refused(reason=f"unreachable: {', '.join(wanted)}", to_inbox=True)),
        (
            cap is not None and (capped == "skip" or cap[1] >= expires_at),
            lambda: Refused(reason="capped: day"),
        ),
        (cap is not None, lambda: Deferred(until=known.full[first][1], reason="capped: day")),
        (
            category != "TRANSACTIONAL" and woken_at is not None and woken_at >= expires_at,
            lambda: Refused(reason="quiet hours until after the message expired"),
        ),
        (
            category != "TRANSACTIONAL" and woken_at is not None,
            lambda: Deferred(until=woken_at or START, reason="quiet hours"),
        ),
        (
            category != "TRANSACTIONAL" and known.wait_for is not None,
            lambda: Deferred(until=(known.wait_for or ("", START))[1], reason="priority of rival"),
        ),
    ]
    passed = tuple(wanted[: wanted.index(first)]) if first else ()
    said_no = next((says for holds, says in rules if holds), None)
    assert verdict == (said_no() if said_no is not None else Go(channel=first, passed=passed))
