"""Entries and wallets are the same after they were stored, and lots move as they should: pure properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import bson
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from domain.commands.return_ import _due_back
from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import (
    Balances,
    Changes,
    Entry,
    EntryKind,
    Note,
    entry_document,
    entry_from,
    is_intact,
)
from domain.ledger.expiry import Period
from domain.ledger.lot import Allocation, Lot, LotKey, add, expiry_of, spending_order
from domain.ledger.posting import AVAILABLE, OWED, PENDING, POINTS, Posting
from domain.ledger.wallet import Wallet, apply, standing, wallet_document, wallet_from
from domain.programme.definition import read_definition
from domain.programme.earning import ExplanationRow, UsageChange, Used
from domain.programme.programme import compile_programme
from domain.programme.tiers import TierState
from domain.store.codec import TYPE_REGISTRY
from tests.ledger.shop import source

CASHBACK = "cashback/EUR"
OPTIONS: CodecOptions[dict[str, object]] = CodecOptions(type_registry=TYPE_REGISTRY)
PROGRAMME = compile_programme(read_definition(source("points: {refund_grace: P14D}\n")), 1)
NOW = datetime(2026, 6, 10, 10, tzinfo=UTC)

instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000)
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
assets = st.sampled_from([POINTS, CASHBACK])
amounts = st.integers(1, 2**53 - 1)
keys = st.builds(
    LotKey, st.none() | instants, st.none() | instants, st.sampled_from(["PURCHASE", "ADJUST"]), st.booleans()
)
postings = st.one_of(
    st.builds(
        lambda asset, amount, key: Posting(
            source="programme/points",
            destination=AVAILABLE if key.pending_until is None else PENDING,
            asset=asset,
            amount=amount,
            to_lot=key,
        ),
        assets,
        amounts,
        keys,
    ),
    st.builds(
        lambda asset, amount: Posting(source=OWED, destination="programme/points", asset=asset, amount=amount),
        assets,
        amounts,
    ),
)
states = st.fixed_dictionaries(
    {"count": st.integers(0, 9), "at": instants, "seen": st.lists(texts, max_size=3)},
    optional={"days": st.dictionaries(st.just("2026-03-02"), st.integers(0, 9))},
)
progress = st.dictionaries(
    st.sampled_from(["badges", "streaks"]), st.dictionaries(st.sampled_from(["a", "b"]), states, min_size=1)
)
changes = st.builds(
    Changes,
    progress=progress | st.just({"badges": {"a": None}}),
    joined_at=st.none() | instants,
    purchases=st.integers(0, 1),
    spend_minor=st.integers(-(10**13), 10**13),
    purchased_at=st.none() | instants,
    lifetime_points=st.integers(-(10**9), 10**9),
    idle_until=st.dictionaries(assets, instants),
    usage=st.lists(
        st.builds(
            UsageChange,
            rule=st.just("base"),
            period=st.just("2026-W10"),
            count=st.integers(0, 9),
            amount=amounts,
            cashback_minor=amounts,
        ),
        max_size=2,
    ).map(tuple),
    metric=st.dictionaries(st.just("2026-03-02"), st.integers(-9, 9)),
    tier=st.none()
    | st.builds(
        TierState,
        level=st.just("gold"),
        threshold=st.integers(0, 9),
        since_on=st.dates(),
        valid_until=st.none() | instants,
    ),
)
entries = st.builds(
    lambda note, **given: Entry(note=note, note_digest=None if note is None else note.digest, **given),
    note=st.none() | st.builds(Note, text=texts, salt=texts),
    member=st.just("m"),
    sequence=st.just(1),
    kind=st.sampled_from(EntryKind),
    occurred_at=instants,
    posted_at=instants,
    actor=texts,
    key=texts,
    operation=texts,
    fingerprint=texts,
    leaves=texts,
    programme_version=st.integers(1, 10**6),
    previous_hash=st.just("0" * 64),
    postings=st.lists(postings, max_size=4).map(tuple),
    changes=changes,
    explanation=st.lists(
        st.builds(ExplanationRow, texts, st.just("award"), st.integers(-9, 9), st.integers(-9, 9)), max_size=2
    ).map(tuple),
    balances=st.builds(Balances, points=st.integers(0, 9), money=st.dictionaries(st.just(CASHBACK), amounts)),
    place=st.none() | texts,
    receipt=st.none() | texts,
    reverses=st.none() | texts,
    marks=progress,
)
lots = st.lists(
    st.builds(Lot, asset=assets, key=keys, remaining=amounts, earned_at=instants),
    max_size=5,
    unique_by=lambda lot: (lot.asset, lot.key),
).map(tuple)


def stored(document: dict[str, object]) -> dict[str, object]:
    """The document after it was written and read."""
    return bson.decode(bson.encode(document), OPTIONS)


def situation(wallet: Wallet, now: datetime = NOW) -> Situation:
    return Situation(
        wallet=wallet,
        programme=PROGRAMME,
        now=now,
        actor="staff:anna",
        key="staff:anna|k",
        operation="test",
        fingerprint="",
        leaves="",
    )


@given(entries)
def test_an_entry_is_the_same_and_intact_after_it_was_stored(entry: Entry) -> None:
    read = entry_from(stored(entry_document(entry)))

    assert read == entry
    assert is_intact(read)


@given(entries, st.sampled_from(["points", "occurred_at", "receipt", "note"]))
def test_whatever_is_changed_in_an_entry_shows(entry: Entry, what: str) -> None:
    changed = {
        "points": replace(entry, balances=Balances(points=entry.balances.points + 1, money=entry.balances.money)),
        "occurred_at": replace(entry, occurred_at=entry.occurred_at + timedelta(milliseconds=1)),
        "receipt": replace(entry, receipt=(entry.receipt or "") + "1"),
        "note": replace(entry, note=Note(text=(entry.note.text if entry.note else "") + "!", salt="s")),
    }[what]

    assert is_intact(entry)
    assert not is_intact(changed)


@given(entries)
def test_an_entry_whose_text_was_erased_is_intact(entry: Entry) -> None:
    assert is_intact(entry_from(stored(entry_document(replace(entry, note=None)))))


@given(
    st.builds(
        Wallet,
        member=st.just("m"),
        sequence=st.integers(0, 10**9),
        head=st.just("f" * 64),
        lots=lots,
        owed=st.dictionaries(assets, amounts),
        idle_until=st.dictionaries(assets, instants),
        usage=st.dictionaries(
            st.just("base"),
            st.dictionaries(
                st.just("2026-03"),
                st.builds(Used, count=st.integers(0, 9), amount=amounts, cashback_minor=amounts),
                min_size=1,
            ),
        ),
        metric=st.dictionaries(st.dates().map(lambda day: day.isoformat()), st.integers(-9, 10**9)),
        joined_at=st.none() | instants,
        purchases=st.integers(0, 10**6),
        visits=st.integers(0, 10**6),
        spend_minor=st.integers(0, 2**53),
        purchased_at=st.none() | instants,
        lifetime_points=st.integers(-9, 2**53),
        recent_purchases=st.lists(instants, max_size=3).map(tuple),
        progress=progress,
    )
)
def test_a_wallet_is_the_same_after_it_was_stored(wallet: Wallet) -> None:
    assert wallet_from(stored(wallet_document(wallet))) == wallet


@given(lots, st.dictionaries(assets, instants))
def test_spending_goes_by_expiry_with_none_last_then_by_earning(
    some: tuple[Lot, ...], idle: dict[str, datetime]
) -> None:
    ordered = spending_order(some, idle_until=idle)

    assert sorted(map(repr, ordered)) == sorted(map(repr, some))
    for one, other in pairwise(ordered):
        assert (expiry_of(one, idle), one.earned_at) <= (expiry_of(other, idle), other.earned_at)


@given(st.lists(st.builds(Lot, asset=assets, key=keys, remaining=st.integers(1, 100), earned_at=instants)))
def test_merging_loses_nothing_and_leaves_one_lot_for_each_key(some: list[Lot]) -> None:
    merged: tuple[Lot, ...] = ()
    for lot in some:
        merged = add(merged, lot)

    assert len({(lot.asset, lot.key) for lot in merged}) == len(merged)
    assert sum(lot.remaining for lot in merged) == sum(lot.remaining for lot in some)
    for lot in merged:
        same = [one for one in some if (one.asset, one.key) == (lot.asset, lot.key)]
        assert lot.earned_at == min(one.earned_at for one in same)


@given(
    award=st.integers(0, 10**9),
    parts=st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    rest=st.integers(0, 10**6),
)
def test_returns_of_any_sizes_take_what_was_earned_to_the_unit_and_never_more(
    award: int, parts: list[int], rest: int
) -> None:
    total, returned, taken = sum(parts) + rest, 0, 0
    for part in parts:
        returned += part
        due = _due_back(award, total, total - returned, taken)
        assert due >= 0
        taken += due
        assert taken == award - award * (total - returned) // total

    assert taken <= award
    assert (taken == award) or rest


def test_half_of_100_taken_from_two_lots_comes_back_last_taken_first_and_the_lapsed_part_for_the_grace() -> None:
    june, september = datetime(2026, 5, 31, 22, tzinfo=UTC), datetime(2026, 8, 31, 22, tzinfo=UTC)
    a, b = LotKey(june, None, "PURCHASE"), LotKey(september, None, "PURCHASE")
    taken = (Allocation(key=a, amount=60), Allocation(key=b, amount=40))
    draft = Draft(situation(Wallet(member="m")), EntryKind.VOUCHER_CANCELLED, NOW)

    draft.restore(POINTS, taken, 50, before=0, source="programme/redeemed")
    half = [(lot.key.expires_at, lot.remaining) for lot in draft.lots]
    draft.restore(POINTS, taken, 50, before=50, source="programme/redeemed")
    full = [(lot.key.expires_at, lot.remaining) for lot in draft.lots]

    grace = datetime(2026, 6, 24, 22, tzinfo=UTC)
    assert half == [(september, 40), (grace, 10)]
    assert full == [(september, 40), (grace, 60)]
    assert grace.astimezone(ZoneInfo("Europe/Ljubljana")).isoformat() == "2026-06-25T00:00:00+02:00"
    assert PROGRAMME.refund_grace == Period(days=14)


@given(
    held=st.lists(st.integers(1, 1_000), min_size=1, max_size=6),
    split=st.lists(st.integers(1, 500), min_size=1, max_size=6),
    spent=st.data(),
)
def test_what_was_spent_comes_back_in_any_parts_to_just_where_it_was(
    held: list[int], split: list[int], spent: st.DataObject
) -> None:
    own = tuple(
        Lot(
            asset=POINTS,
            key=LotKey(NOW + timedelta(days=index + 1), None, "PURCHASE"),
            remaining=amount,
            earned_at=NOW - timedelta(days=index),
        )
        for index, amount in enumerate(held)
    )
    draft = Draft(situation(Wallet(member="m", lots=own)), EntryKind.REDEEM, NOW)
    amount = spent.draw(st.integers(1, sum(held)))
    taken = draft.spend(POINTS, amount, destination="programme/redeemed")
    before = 0

    for part in [*split, amount]:
        part = min(part, amount - before)  # noqa: PLW2901
        draft.restore(POINTS, taken, part, before=before, source="programme/redeemed")
        before += part

    assert sorted((lot.key.expires_at, lot.remaining) for lot in draft.lots if lot.key.expires_at) == sorted(
        (lot.key.expires_at, lot.remaining) for lot in own if lot.key.expires_at
    )


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1, max_size=12))
def test_a_draft_sees_what_its_entry_folds_to(steps: list[tuple[bool, int]]) -> None:
    wallet = Wallet(member="m")
    for index, (is_credit, amount) in enumerate(steps):
        now = NOW + timedelta(days=index)
        draft = Draft(situation(wallet, now), EntryKind.ADJUST, now)
        if is_credit:
            key = LotKey(now + timedelta(days=5), None, "ADJUST")
            draft.credit(POINTS, amount, source="programme/points", key=key)
        else:
            draft.recover(POINTS, amount, destination="programme/points", own=())
        wallet = apply(wallet, draft.entry())
        assert wallet.lots == draft.lots
        assert {asset: owed for asset, owed in draft.owed.items() if owed} == wallet.owed
        assert standing(wallet, POINTS, now).available == draft.available(POINTS)
