"""Mistakes in the example programme: what is changed, where that is told, and what the remedy says (SEMANTICS §11)."""

from typing import Final, NamedTuple


class Mistake(NamedTuple):
    """`old` stands in the example once; `path` is where its replacement is told of, `remedy` a part of what is said."""

    old: str
    new: str
    path: str
    remedy: str


MISTAKES: Final[dict[str, Mistake]] = {
    "unknown key": Mistake("late_days: 400", "late_day: 400", "late_day", "Did you mean `late_days`?"),
    "unknown key inside": Mistake("{id: share, event", "{id: share, evnt", "earning.10.evnt", "Did you mean `event`?"),
    "CEL that is none": Mistake(
        "purchase.hour >= 18 &&", "purchase.hour => 18 &&", "earning.7.when", "Not CEL: line 1"
    ),
    "unknown fact": Mistake(
        "purchase.total_minor >=", "purchase.totl >=", "earning.6.when", "known are purchase.total_minor"
    ),
    "fact of another event": Mistake("purchase.total_minor >=", "line.quantity >=", "earning.6.when", "for this event"),
    "unknown function": Mistake(
        'member.tier == "vip"',
        'member.tier.reverse() == "piv"',
        "earning.3.when",
        "`reverse` is not a known function; known are",
    ),
    "not boolean": Mistake("purchase.total_minor >= 10000", "purchase.total_minor", "earning.6.when", "compare it"),
    "loop in a loop": Mistake(
        'member.tags.exists(t, t == "bakery")',
        "member.tags.exists(t, member.tags.exists(u, u == t))",
        "segments.2.when",
        "takes too long",
    ),
    "tiers not rising": Mistake("from: 1500,", "from: 500,", "tiers.levels.2.from", "above the level before"),
    "badge levels not rising": Mistake("[5, 25, 100]", "[5, 100, 25]", "badges.0.levels.2", "above the one before"),
    "milestones not rising": Mistake(
        "{at: 13, award", "{at: 4, award", "streaks.0.milestones.1.at", "above the one before"
    ),
    "bonus steps not rising": Mistake(
        "{after: P60D, worth", "{after: P30D, worth", "bonuses.0.grows.1.after", "above the one before"
    ),
    "bonus worth not rising": Mistake('worth: "12.00"', 'worth: "10.00"', "bonuses.0.grows.0.worth", "worth more"),
    "no such place": Mistake("[store-330, store-424]", "[store-331]", "earning.7.pilot.places.0", "there are store-3"),
    "no such region": Mistake(
        "pilot: {places: [store-330, store-424]}",
        "pilot: {regions: [east]}",
        "earning.7.pilot.regions.0",
        "there are north, south",
    ),
    "no such tier": Mistake("tier: gold, if", "tier: golden, if", "rewards.3.tier", "there are bronze, gold"),
    "no such tier in CEL": Mistake('== "gold"', '== "golden"', "earning.2.when", "There is no golden in tiers"),
    "no such segment in CEL": Mistake(
        "purchase.total_minor >= 10000",
        '"bakerz" in member.segments',
        "earning.6.when",
        "There is no bakerz in segments; there are bakers, lapsed, newcomers",
    ),
    "no such plan in CEL": Mistake(
        "purchase.total_minor >= 10000",
        'member.plan == "pluss"',
        "earning.6.when",
        "There is no pluss in plans; there are plus",
    ),
    "no such place in CEL": Mistake(
        "purchase.total_minor >= 10000",
        'purchase.place == "store-1"',
        "earning.6.when",
        "There is no store-1 in places",
    ),
    "no such voucher": Mistake(
        "voucher: next-20}", "voucher: next-2}", "earning.6.award.voucher", "there are five-off"
    ),
    "no such voucher of a card": Mistake(
        "free-pastry}, name", "free}, name", "stamp_cards.0.award.voucher", "There is no free"
    ),
    "no such voucher of a streak": Mistake(
        "award: {voucher: free-coffee}}]",
        "award: {voucher: coffee}}]",
        "streaks.0.milestones.1.award.voucher",
        "There is no coffee in vouchers",
    ),
    "no such voucher of a reward": Mistake(
        "voucher: tasting, stock", "voucher: taste, stock", "rewards.3.voucher", "no taste"
    ),
    "no such bonus": Mistake("bonus: growing-ten}", "bonus: ten}", "earning.8.award.bonus", "there are growing-ten"),
    "no such streak": Mistake(
        "streak.weekly, levels", "streak.monthly, levels", "badges.3.counts", "there are daily, wee"
    ),
    "no such event": Mistake("event: feedback", "event: feedbak", "earning.14.event", "known are purchase"),
    "inexact amount": Mistake('{amount: "5.00"}}', '{amount: "5.001"}}', "earning.16.award.cashback.amount", "2 dec"),
    "inexact price": Mistake('price: "4.99"', 'price: "4.999"', "plans.0.price", "USD has 2 decimals"),
    "amount that is no text": Mistake('price: "4.99"', "price: 4.99", "plans.0.price", "in quotes"),
    "unknown currency": Mistake("currency: USD", "currency: USX", "currency", "ISO 4217"),
    "unknown zone": Mistake("America/New_York", "America/York", "time_zone", "such as Europe/Ljubljana"),
    "unknown zone of a place": Mistake(
        "radius_m: 250, region: south",
        "radius_m: 250, region: south, time_zone: Mars/Base",
        "places.3.time_zone",
        "such as Europe/Ljubljana",
    ),
    "unknown locale": Mistake("ru, kk]", "ru, kk, xq]", "locales.supported.6", "such as sl or pt-BR"),
    "default that is not supported": Mistake("{default: en,", "{default: de,", "locales.default", "add it there"),
    "fallback that is not supported": Mistake(
        "{kk: [ru, en],", "{kk: [uz, en],", "locales.fallback.kk", "add it there"
    ),
    "fallback to itself": Mistake("ru: [en]}", "ru: [kk]}", "locales.fallback.kk", "falls back to itself"),
    "text in a locale that is not supported": Mistake(
        "sl: Klub Vogal", "de: Klub", "name.de", "add it to locales.supported"
    ),
    "no text in the default locale": Mistake(
        "name: {en: VIP}", "name: {sl: VIP}", "tiers.levels.3.name", "add `en: …`"
    ),
    "id that is taken": Mistake(
        "{id: delivery, kind", "{id: five, kind", "rewards.2.id", "taken by rewards.1; choose another"
    ),
    "level that is taken": Mistake("{id: vip, from", "{id: gold, from", "tiers.levels.3.id", "taken by tiers.levels.2"),
    "window that is never open": Mistake(
        "until: 2017-09-01", "until: 2017-05-01", "earning.7.valid", "Ends before it starts"
    ),
    "challenge that never runs": Mistake("until: 2017-07-01", "until: 2017-06-01", "challenges.0.until", "Ends before"),
    "limit of what is not given": Mistake(
        "award: {voucher: next-20}, limit: {count: 1",
        "award: {voucher: next-20}, limit: {points: 1",
        "earning.6",
        "Limits points but gives none",
    ),
    "segment that sees segments": Mistake(
        "'member.days_since_joined < 30'",
        "'\"bakers\" in member.segments'",
        "segments.0.when",
        "write the other's condition",
    ),
    "number in quotes": Mistake(
        "late_days: 400", 'late_days: "400"', "late_days", "Must be a whole number, without quotes."
    ),
    "number out of range": Mistake("late_days: 400", "late_days: 4000", "late_days", "Must be at most 3660."),
    "id that is none": Mistake(
        "programme: corner", "programme: Corner Club", "programme", "Must be an id: small letters"
    ),
    "amount below zero": Mistake(
        'max: "3.00"', 'max: "-3.00"', "earning.4.award.cashback.max", "an amount here is above zero"
    ),
    "percent above a hundred": Mistake(
        'percent: "5"', 'percent: "150"', "earning.4.award.cashback.percent", "Must be above 0 and at most 100."
    ),
    "factor that is no text": Mistake(
        'multiply: {points: "1.25"}',
        "multiply: {points: 1.25}",
        "earning.1.multiply.points",
        "tier-silver: Must be a decimal",
    ),
    "types that do not go together": Mistake(
        "purchase.total_minor >= 10000",
        'purchase.total_minor >= "x"',
        "earning.6.when",
        "Types that do not go together",
    ),
    "number that is never a text": Mistake(
        "purchase.weekday <= 5",
        'purchase.weekday == "Friday"',
        "earning.7.when",
        "`purchase.weekday` is a whole number and never text; compare it with a whole number.",
    ),
    "text that is in no list of numbers": Mistake(
        'member.tier == "vip"', "member.tier in [4, 5]", "earning.3.when", "is text and never a whole number"
    ),
    "list that is never a text": Mistake(
        'member.tags.exists(t, t == "bakery")',
        '"bakery" == member.tags',
        "segments.2.when",
        'write `"…" in member.tags`',
    ),
    "unknown group of facts": Mistake(
        "member.purchases > 0 &&", "mmber.purchases > 0 &&", "segments.1.when", "lapsed: `mmber` is not a known fact"
    ),
    "unknown fact in a cascade": Mistake(
        "when: 'entry.points > 0'", "when: 'entry.point > 0'", "cascades.6.when", "earned: `entry.point` is not"
    ),
    "unknown period": Mistake(
        "{count: 1, per: month}}\n  - {id: happy",
        "{count: 1, per: moon}}\n  - {id: happy",
        "earning.6.limit.per",
        "big-basket: Must be one of",
    ),
    "offer without its days": Mistake(
        "nth: 4, within: P60D", "nth: 4", "earning.15", "same-item: `nth` and `within` belong to"
    ),
    "lowest tier above zero": Mistake("from: 0, name", "from: 10, name", "tiers.levels.0.from", "must begin at 0"),
    "threshold of another metric": Mistake(
        "metric: points_earned",
        "metric: spend",
        "tiers.levels.1.from",
        'silver: Must be an amount in quotes, such as "500.00".',
    ),
    "event of an offer alone": Mistake(
        "{id: weekly, event: purchase", "{id: weekly, event: same_sku", "streaks.0.event", "Only an earning rule has"
    ),
    "too many distinct ones": Mistake(
        "levels: [3, 6, 12]", "levels: [3, 101]", "badges.1.levels.1", "explorer: Is too many to remember"
    ),
    "target of too many distinct ones": Mistake(
        "target: 8,", "target: 101,", "challenges.0.target", "summer-basket: Is too many to remember"
    ),
    "challenge that never counts": Mistake(
        "event: purchase, counts: distinct_categories",
        "event: feedback, counts: distinct_categories",
        "challenges.0.event",
        "Only a purchase counts distinct_categories",
    ),
    "activity that never counts": Mistake(
        "event: purchase, counts: distinct_categories",
        "event: purchase, counts: activity.share",
        "challenges.0.event",
        "Never counts activity.share",
    ),
    "card of no size": Mistake(
        "size: 4, per_day: 2", "size: 0, per_day: 2", "stamp_cards.0.size", "Must be at least 1"
    ),
    "unknown group of a card": Mistake(
        'lines: \'line.sku == "1082185" ||', 'lines: \'lane.sku == "1082185" ||', "stamp_cards.0.lines", "bread:"
    ),
    "unknown policy": Mistake(
        "policy: rolling, after: P12M, round_to",
        "policy: rollin, after: P12M, round_to",
        "points.expiry.policy",
        "Must be one of 'rolling'",
    ),
    "rolling expiry without its length": Mistake(
        "policy: rolling, after: P12M, round_to", "policy: rolling, round_to", "points.expiry", "needs `after`"
    ),
    "length of no expiry": Mistake(
        "policy: rolling, after: P12M, round_to",
        "policy: none, after: P12M, round_to",
        "points.expiry",
        "takes no `after`",
    ),
    "hours where days are counted": Mistake(
        "pending: P14D", "pending: PT14H", "cashback.pending", "whole days are counted here"
    ),
    "day that no calendar has": Mistake(
        "until: 2017-09-01}", "until: 2017-09-31}", "earning.7.valid.until", "2017-09-31 is not in the calendar"
    ),
    "two discounts in one": Mistake(
        'discount: {percent: "20"}', 'discount: {percent: "20", amount: "1"}', "vouchers.0.discount", "Must have one of"
    ),
    "no top-up between the limits": Mistake(
        'top_up_max: "150.00"', 'top_up_max: "1.00"', "prepaid.limits.top_up_max", "Is below top_up_min"
    ),
    "award of nothing": Mistake("award: {points: 200}}", "award: {}}", "earning.9.award", "birthday: Gives nothing"),
    "rate without an amount": Mistake(
        "award: {points: 200}}", 'award: {points: {per: "1.00", give: 1}}}', "earning.9", "has no amount"
    ),
    "bonus that expires before its last step": Mistake(
        "expires: P90D}\n\ntiers", "expires: P50D}\n\ntiers", "bonuses.0.expires", "Expires before its last step"
    ),
    "plan that is called as a rule": Mistake(
        "- {id: plus, price", "- {id: base, price", "plans.0.id", "The id base is taken by earning.0"
    ),
    "step that sends on nothing": Mistake(
        "{send: SMS, template", "{send: null, template", "cascades.2.steps.4", "Must be one of: `send: PUSH`"
    ),
    "place that is nowhere": Mistake(
        "latitude: 40.6602", 'latitude: "40.6602"', "places.3.location.latitude", "Must be a number, without quotes"
    ),
    "truth where a number is wanted": Mistake(
        "longitude: -73.9690", "longitude: true", "places.3.location.longitude", "Must be a number"
    ),
    "region without a name": Mistake(
        "radius_m: 250, region: south", 'radius_m: 250, region: " "', "places.3.region", "Must not be empty"
    ),
    "blank text": Mistake("name: {en: VIP}", 'name: {en: " "}', "tiers.levels.3.name.en", "Must not be empty"),
    "no text at all": Mistake("name: {en: VIP}", "name: {}", "tiers.levels.3.name", "add `en: …`"),
    "text that nobody can read": Mistake(
        "name: {en: VIP}", 'name: {en: "V\\x08P"}', "tiers.levels.3.name.en", "Has the control character U+0008"
    ),
    "blank message": Mistake(
        'body: "Fresh bread is out at 8."', 'body: " "', "templates.win-back-1.en.body", "Must not be empty"
    ),
    "unknown key in a re-entry": Mistake(
        "reentry: {cooldown: P60D}",
        "reentry: {cooldwn: P60D}",
        "cascades.2.reentry.cooldwn",
        "win-back: Is not a known key; known here are cooldown. Did you mean `cooldown`?",
    ),
    "re-entry that is none": Mistake(
        "reentry: {cooldown: P60D}", "reentry: sometimes", "cascades.2.reentry", "Must be one of 'once' or 'always'"
    ),
    "hours of a referral": Mistake(
        'minimum: "20.00", friend', 'minimum: "20.00", after: PT1H, friend', "referral.after", "has a time part"
    ),
}


def damaged(source: str, *changes: tuple[str, str]) -> str:
    """The source with each text replaced by another; it must stand there once."""
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def with_mistakes(source: str, *kinds: str) -> str:
    """The source with those mistakes in it."""
    return damaged(source, *((MISTAKES[kind].old, MISTAKES[kind].new) for kind in kinds))
