"""The facts that conditions may use, by group, with examples of them.

Publishing checks every condition against the examples; the names are a contract with whoever writes the
programme. A new fact is one line in its group, one value per example, and the place that fills it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What rules may know of a member, just before the entry at hand.

    `id` is for pilots only and is no fact. `tier` is the level held, empty without tiers; `plan` likewise.
    `spend_minor` is in the programme's currency; `age_years` is None when the birthday is unknown, and
    `days_since_purchase` when there was no purchase: rules then see the days since joining.
    """

    id: str
    tier: str = ""
    segments: tuple[str, ...] = ()
    plan: str = ""
    days_since_joined: int = 0
    days_since_purchase: int | None = None
    purchases: int = 0
    visits: int = 0
    spend_minor: int = 0
    birthday_today: bool = False
    age_years: int | None = None
    locale: str = ""
    points: int = 0
    tags: tuple[str, ...] = ()

    def as_facts(self) -> dict[str, Any]:
        """The group `member` as conditions see it."""
        since = self.days_since_purchase
        return {
            "tier": self.tier,
            "segments": self.segments,
            "plan": self.plan,
            "days_since_joined": self.days_since_joined,
            "days_since_purchase": self.days_since_joined if since is None else since,
            "purchases": self.purchases,
            "visits": self.visits,
            "spend_minor": self.spend_minor,
            "birthday_today": self.birthday_today,
            "age_years": self.age_years,
            "locale": self.locale,
            "points": self.points,
            "tags": self.tags,
        }


_REGULAR: Final[Mapping[str, Mapping[str, Any]]] = {
    "purchase": {
        "total_minor": 12_345,
        "place": "store-330",
        "region": "north",
        "hour": 18,
        "weekday": 5,
        "categories": ("BAKERY", "PASTRY"),
        "skus": ("1082185", "995242"),
    },
    "line": {"amount_minor": 350, "quantity": 2, "category": "PASTRY", "brand": "National", "sku": "1082185"},
    "activity": {"type": "course_completed", "attributes": {}},
    "member": MemberFacts(
        id="",
        tier="gold",
        segments=("bakers",),
        plan="plus",
        days_since_joined=400,
        days_since_purchase=3,
        purchases=70,
        visits=90,
        spend_minor=250_000,
        birthday_today=True,
        age_years=41,
        locale="sl",
        points=1_234,
        tags=("bakery",),
    ).as_facts(),
    "top_up": {"amount_minor": 10_000},
    "entry": {"kind": "PURCHASE", "points": 18, "cashback_minor": 350, "amount_minor": 9_000},
}

_NEWCOMER: Final[Mapping[str, Mapping[str, Any]]] = {
    "purchase": {
        "total_minor": 1,
        "place": "",
        "region": "",
        "hour": 0,
        "weekday": 1,
        "categories": (),
        "skus": (),
    },
    "line": {"amount_minor": 0, "quantity": 1, "category": "", "brand": "", "sku": "1"},
    "activity": {"type": "social_share", "attributes": {}},
    "member": MemberFacts(id="", age_years=18).as_facts(),
    "top_up": {"amount_minor": 500},
    "entry": {"kind": "EXPIRE", "points": 0, "cashback_minor": 0, "amount_minor": 0},
}

EXAMPLES: Final = (_REGULAR, _NEWCOMER)
"""Two members and their moments: a regular one and one on the first day."""

FACTS: Final[Mapping[str, tuple[str, ...]]] = {group: tuple(facts) for group, facts in _REGULAR.items()}
"""Group → the names of its facts."""
