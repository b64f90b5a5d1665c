"""The format of a programme: every section of its YAML as frozen values.

Unknown keys are refused, amounts are decimal strings, durations ISO 8601, conditions CEL. What a value means
alone is checked here; what needs the rest of the programme (currency, references, facts) is in `checks`.

    Definition
    ├── points, cashback, prepaid, conversion, charities      how value lives
    ├── earning                                               what gives value
    ├── bonuses, vouchers, rewards, referral, plans           what value turns into
    ├── tiers, badges, streaks, stamp_cards, challenges, segments, places
    ├── messaging, cascades                                   what members are told, and when
    └── templates                                             what a message says, by language
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from domain.ledger.expiry import ExpiryKind, Period, Rounding
from domain.programme.cascade_format import Cascade
from domain.programme.fields import (
    MAX_ITEMS,
    BonusId,
    Count,
    Day,
    Days,
    Factor,
    Identifier,
    LineCondition,
    MemberCondition,
    Model,
    Money,
    Per,
    Percent,
    PlaceId,
    Points,
    Span,
    Text,
    TextLists,
    Texts,
    TierId,
    VoucherId,
    one_or_many,
)
from domain.programme.messaging import Messaging
from domain.programme.template import TemplateText


class Locales(Model):
    default: str
    supported: Annotated[list[str], Field(min_length=1, max_length=50)]
    fallback: dict[str, list[str]] = {}


class Expiry(Model):
    policy: Annotated[ExpiryKind, Field(strict=False)]
    after: Days | None = None
    round_to: Annotated[Rounding | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        counted = self.policy in {ExpiryKind.ROLLING, ExpiryKind.INACTIVITY}
        if counted and self.after is None:
            raise PydanticCustomError(
                "expiry", "The policy {kind} needs `after`, such as P12M.", {"kind": self.policy.value}
            )
        if not counted and (self.after is not None or self.round_to is not None):
            raise PydanticCustomError(
                "expiry",
                "The policy {kind} takes no `after` and no `round_to`; leave them out.",
                {"kind": self.policy.value},
            )
        return self


class GiftLimits(Model):
    per_day: Points | None = None
    per_month: Points | None = None


class PointsSection(Model):
    pending: Days | None = None
    expiry: Expiry = Expiry(policy=ExpiryKind.NONE)
    refund_grace: Days = Period(days=14)
    gift_limits: GiftLimits | None = None


class CashbackSection(Model):
    pending: Days | None = None
    expiry: Expiry = Expiry(policy=ExpiryKind.NONE)


class TopUpWindow(Model):
    amount: Money
    window: Days


class PrepaidLimits(Model):
    top_up_min: Money | None = None
    top_up_max: Money | None = None
    balance_max: Money | None = None
    top_up_window: TopUpWindow | None = None


class PrepaidSection(Model):
    limits: PrepaidLimits = PrepaidLimits()
    hold_expires: Span = Period(seconds=1_800)


class Conversion(Model):
    points: Points
    cashback: Money


class Charity(Model):
    id: Identifier
    name: Texts


class PointsAward(Model):
    """Either `fixed` points, or `give` points for each `per` of money. A bare number in YAML is `fixed`."""

    fixed: Points | None = None
    per: Money | None = None
    give: Points | None = None

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return {"fixed": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fixed is None) == (self.per is None) or (self.per is None) != (self.give is None):
            raise PydanticCustomError(
                "award",
                'Must be a number of points, or {{per: "1.00", give: 1}}: points for each full amount.',
            )
        return self


class CashbackAward(Model):
    """Either a fixed `amount`, or a `percent` of what was paid; `max` is a limit per purchase."""

    amount: Money | None = None
    percent: Percent | None = None
    max: Money | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.amount is None) == (self.percent is None):
            raise PydanticCustomError("award", 'Must have either `percent: "5"` or `amount: "5.00"`.')
        if self.amount is not None and self.max is not None:
            raise PydanticCustomError("award", "`max` goes with `percent`; a fixed amount needs none.")
        return self


class Award(Model):
    points: PointsAward | None = None
    cashback: CashbackAward | None = None
    voucher: VoucherId | None = None
    bonus: BonusId | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.is_empty():
            raise PydanticCustomError("award", "Gives nothing; name points, cashback, voucher or bonus.")
        return self


class FixedAward(Model):
    """An award that is not counted from money: of milestones, cards, challenges, referrals."""

    points: Points | None = None
    cashback: Money | None = None
    voucher: VoucherId | None = None
    bonus: BonusId | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.is_empty():
            raise PydanticCustomError("award", "Gives nothing; name points, cashback, voucher or bonus.")
        return self


class Multiply(Model):
    points: Factor | None = None
    cashback: Factor | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.points is None and self.cashback is None:
            raise PydanticCustomError("award", 'Multiplies nothing; name `points: "1.5"` or `cashback: "2"`.')
        return self


class Limit(Model):
    """Per member and period: how often the rule may give, and at most how much of one asset."""

    count: Count | None = None
    points: Points | None = None
    cashback: Money | None = None
    per: Per

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if self.points is not None and self.cashback is not None:
            raise PydanticCustomError("limit", "Limits one asset; give the other its own rule.")
        if self.count is None and self.points is None and self.cashback is None:
            raise PydanticCustomError("limit", "Limits nothing; name `count`, `points` or `cashback`.")
        return self


class Valid(Model):
    """`[from, until)` in the programme's days."""

    from_: Annotated[Day | None, Field(alias="from")] = None
    until: Day | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise PydanticCustomError("valid", "Ends before it starts: `until` is the first day it is not valid.")
        return self


class Pilot(Model):
    """In force only at those places or in those regions, and for that part of the members."""

    places: list[PlaceId] = []
    regions: list[str] = []
    percent: Percent | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.is_empty():
            raise PydanticCustomError("pilot", "Pilots nothing; name places, regions or percent, or leave it out.")
        return self


Reporter = Literal["member", "partner", "staff"]
Reporters = Annotated[list[Reporter], BeforeValidator(one_or_many), Field(min_length=1)]

EVENTS: Mapping[str, tuple[str, ...]] = {
    "purchase": ("purchase", "member"),
    "joined": ("member",),
    "birthday": ("member",),
    "feedback": ("member",),
    "same_sku": ("line", "member"),
    "top_up": ("top_up", "member"),
}
"""Event → the groups of facts at hand; `activity.<type>` comes beside them."""

ACTIVITY_PREFIX = "activity."


def groups_of(event: str) -> tuple[str, ...]:
    """The groups of facts that a rule of that event may use in `when`; empty when there is no such event."""
    if event.startswith(ACTIVITY_PREFIX) and len(event) > len(ACTIVITY_PREFIX):
        return ("activity", "member")
    return EVENTS.get(event, ())


def _event(value: str) -> str:
    if not groups_of(value):
        raise PydanticCustomError(
            "event",
            "There is no event {name}; known are {known}, and activity.<type>.",
            {"name": repr(value), "known": ", ".join(EVENTS)},
        )
    return value


Event = Annotated[str, AfterValidator(_event)]


class EarningRule(Model):
    """An award rule (`award`) or a multiplier (`multiply`) of one event."""

    id: Identifier
    event: Event
    when: str | None = None
    lines: LineCondition | None = None
    award: Award | None = None
    multiply: Multiply | None = None
    limit: Limit | None = None
    valid: Valid | None = None
    pilot: Pilot | None = None
    reported_by: Reporters | None = None
    nth: Annotated[int | None, Field(ge=2, le=100)] = None
    within: Days | None = None
    text: Texts = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:  # noqa: C901
        def refuse(message: str) -> None:
            raise PydanticCustomError("rule", "{message}", {"message": message})

        if (self.award is None) == (self.multiply is None):
            refuse("Must have either `award` or `multiply`.")
        if self.multiply is not None and (self.limit is not None or self.lines is not None):
            refuse("A multiplier takes no `limit` and no `lines`; put them on the award rules.")
        if self.lines is not None and self.event != "purchase":
            refuse("Only purchases have `lines`; leave it out.")
        if (self.event == "same_sku") != (self.nth is not None and self.within is not None):
            refuse("`nth` and `within` belong to the event same_sku, and it needs both.")
        if self.reported_by is not None and not self.event.startswith(ACTIVITY_PREFIX):
            refuse("`reported_by` belongs to activities; leave it out.")
        if self.award is not None and self.event not in {"purchase", "top_up"}:
            points, cashback = self.award.points, self.award.cashback
            if (points and points.per is not None) or (cashback and cashback.percent is not None):
                refuse(f"The event {self.event} has no amount; give a fixed number of points or cashback.")
        if self.limit is not None and self.award is not None:
            if self.limit.points is not None and self.award.points is None:
                refuse("Limits points but gives none.")
            if self.limit.cashback is not None and self.award.cashback is None:
                refuse("Limits cashback but gives none.")
        return self


class Growth(Model):
    after: Days
    worth: Money


class Bonus(Model):
    id: Identifier
    worth: Money
    grows: list[Growth] = []
    expires: Days
    name: Texts = {}


class TierWindow(Model):
    """`rolling`: the last `length`; `calendar`: the calendar year."""

    policy: Literal["rolling", "calendar"]
    length: Days | None = None

    @model_validator(mode="after")
    def _length(self) -> Self:
        months = 0 if self.length is None else self.length.years * 12 + self.length.months
        if self.policy == "calendar" and self.length is not None and (months != 12 or self.length.days):  # noqa: PLR2004
            raise PydanticCustomError("window", "A calendar window is the year; leave `length` out, or say P12M.")
        if self.policy == "rolling" and self.length is None:
            raise PydanticCustomError("window", "A rolling window needs its `length`, such as P12M.")
        if months > 36 or (self.length is not None and self.length.days > 1_100):  # noqa: PLR2004
            raise PydanticCustomError("window", "A window is at most three years long.")
        return self


class TierReview(Model):
    downgrade: Literal["one_level", "qualified"] = "one_level"


def _threshold(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, int) and value < 0):
        raise PydanticCustomError("threshold", 'Must be a whole number, or an amount such as "500.00" for spend.')
    return value


class Level(Model):
    """`from` is in the metric's unit: points, visits, or an amount of money in quotes for spend."""

    id: Identifier
    from_: Annotated[int | str, PlainValidator(_threshold), Field(alias="from")]
    name: Texts
    benefits: TextLists = {}


class Tiers(Model):
    metric: Literal["points_earned", "spend", "visits"]
    window: TierWindow
    review: TierReview = TierReview()
    levels: Annotated[list[Level], Field(min_length=1, max_length=20)]


def _badge_counter(value: str) -> str:
    plain = {"visits", "purchases", "spend", "distinct_places", "distinct_categories"}
    if value in plain or any(value.startswith(prefix) and value != prefix for prefix in ("activity.", "streak.")):
        return value
    raise PydanticCustomError(
        "counter",
        "There is no counter {name}; known are {known}, activity.<type> and streak.<id>.",
        {"name": repr(value), "known": ", ".join(sorted(plain))},
    )


Counter = Annotated[str, AfterValidator(_badge_counter)]


class Badge(Model):
    """`levels` are counts; those of `spend` are whole units of the currency."""

    id: Identifier
    counts: Counter
    levels: Annotated[list[Count], Field(min_length=1, max_length=50)]
    name: Texts
    description: Texts = {}
    image_url: str | None = None


class Freezes(Model):
    max: Annotated[int, Field(ge=1, le=100)]
    every: Annotated[int, Field(ge=1, le=1_000)]


class Milestone(Model):
    at: Count
    award: FixedAward


class Streak(Model):
    id: Identifier
    event: Event
    when: str | None = None
    period: Literal["day", "week", "month"]
    goal: Annotated[int, Field(ge=1, le=100)] = 1
    freezes: Freezes | None = None
    milestones: list[Milestone] = []
    name: Texts


class StampCard(Model):
    """Stamps for each unit on the lines that match, or one a visit when `lines` is left out.

    `per_day` is of the programme's days; a card `expires` counted from the day of its first stamp.
    """

    id: Identifier
    lines: LineCondition | None = None
    size: Annotated[int, Field(ge=1, le=100)]
    per_day: Annotated[int | None, Field(ge=1, le=100)] = None
    expires: Days | None = None
    award: FixedAward
    name: Texts


class Challenge(Model):
    """`[from, until)` in the programme's days; a `target` of `spend` is whole units of the currency."""

    id: Identifier
    event: Event
    when: str | None = None
    counts: Counter
    target: Count
    from_: Annotated[Day, Field(alias="from")]
    until: Day
    award: FixedAward
    name: Texts


class Discount(Model):
    percent: Percent | None = None
    amount: Money | None = None
    free_item: Identifier | None = None
    minimum_spend: Money | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(part is not None for part in (self.percent, self.amount, self.free_item)) != 1:
            raise PydanticCustomError("discount", "Must have one of `percent`, `amount` and `free_item`.")
        return self


class VoucherKind(Model):
    id: Identifier
    discount: Discount
    expires: Days
    name: Texts


class RewardLimit(Model):
    count: Count
    per: Per


class Reward(Model):
    id: Identifier
    kind: Literal["VOUCHER", "GIFT_CARD", "FREE_ITEM", "FREE_SHIPPING", "EXPERIENCE", "DONATION"]
    cost: Points
    voucher: VoucherId
    stock: Annotated[int | None, Field(ge=0, le=1_000_000_000)] = None
    tier: TierId | None = None
    limit: RewardLimit | None = None
    valid: Valid | None = None
    if_expired: Literal["forfeit", "return"] = "forfeit"
    name: Texts
    description: Texts = {}
    image_url: str | None = None


class Referral(Model):
    """Awards for the referrer and for the friend, once a purchase of the `minimum` or more cannot be returned any more.

    `after` is how long it can be: those days of the programme from its own day on. Left out it is the cashback's
    `pending`, or P14D without one. `per_year` is how many friends a referrer is rewarded for in a calendar year.
    """

    minimum: Money
    after: Days | None = None
    friend: FixedAward
    referrer: FixedAward
    per_year: Count | None = None


class Plan(Model):
    """`price` of prepaid money for each `period`; `multiply` is for purchases while it is paid, after all rules."""

    id: Identifier
    price: Money
    period: Days
    multiply: Multiply | None = None
    name: Texts
    benefits: TextLists = {}


class Segment(Model):
    id: Identifier
    when: MemberCondition
    name: Texts = {}


class Location(Model):
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


class Place(Model):
    id: Identifier
    name: Text
    location: Location
    radius_m: Annotated[int, Field(ge=50, le=10_000)] = 150
    region: Text | None = None
    time_zone: str | None = None
    closed: list[Day] = []


class Definition(Model):
    """The whole programme. Sections that are left out do nothing."""

    programme: Identifier
    name: Texts
    currency: str
    time_zone: str
    locales: Locales
    late_days: Annotated[int, Field(ge=0, le=3_660)] = 30
    points: PointsSection = PointsSection()
    cashback: CashbackSection = CashbackSection()
    prepaid: PrepaidSection = PrepaidSection()
    conversion: Conversion | None = None
    charities: Annotated[list[Charity], Field(max_length=MAX_ITEMS)] = []
    earning: Annotated[list[EarningRule], Field(max_length=MAX_ITEMS)] = []
    bonuses: Annotated[list[Bonus], Field(max_length=MAX_ITEMS)] = []
    tiers: Tiers | None = None
    badges: Annotated[list[Badge], Field(max_length=MAX_ITEMS)] = []
    streaks: Annotated[list[Streak], Field(max_length=MAX_ITEMS)] = []
    stamp_cards: Annotated[list[StampCard], Field(max_length=MAX_ITEMS)] = []
    challenges: Annotated[list[Challenge], Field(max_length=MAX_ITEMS)] = []
    vouchers: Annotated[list[VoucherKind], Field(max_length=MAX_ITEMS)] = []
    rewards: Annotated[list[Reward], Field(max_length=MAX_ITEMS)] = []
    referral: Referral | None = None
    plans: Annotated[list[Plan], Field(max_length=MAX_ITEMS)] = []
    segments: Annotated[list[Segment], Field(max_length=MAX_ITEMS)] = []
    places: Annotated[list[Place], Field(max_length=20 * MAX_ITEMS)] = []
    messaging: Messaging = Messaging()
    cascades: Annotated[list[Cascade], Field(max_length=MAX_ITEMS)] = []
    templates: Annotated[dict[Identifier, dict[str, TemplateText]], Field(max_length=MAX_ITEMS)] = {}


class ItemCondition(NamedTuple):
    """A condition of the item of that number of a section, from 0; `key` is `when` or `lines`."""

    section: str
    number: int
    item: str
    key: str
    source: str


def item_conditions(definition: Definition) -> Iterator[ItemCondition]:
    """Every `when` and `lines` of the items of all sections that are lists, in order."""
    for section in type(definition).model_fields:
        items = getattr(definition, section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            for key in ("when", "lines"):
                if isinstance(source := getattr(item, key, None), str):
                    yield ItemCondition(section, index, item.id, key, source)
