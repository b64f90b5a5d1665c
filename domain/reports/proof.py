"""Proves what was counted for reports: the days' sums and the members' days, from the journal, at one instant."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from bson.timestamp import Timestamp

from domain.programme.published import Programmes
from domain.reports.counting import BATCH, Counting, found_at, sums_in
from domain.reports.tally import MemberDays, member_days_from
from domain.store.connection import Store


async def differing_days(store: Store, slots: Sequence[int], at: Timestamp) -> AsyncIterator[tuple[str | None, str]]:
    """(member or None, what differs) for slots all of whose entries were counted at that instant."""
    counting = Counting(store, await Programmes.open(store))
    sums: dict[str, Counter[str]] = {}
    members: list[MemberDays] = []
    async for known, _slot in counting.members_at(slots, at, sums):
        members.append(known)
        if len(members) == BATCH:
            async for difference in _members(store, members, at):
                yield difference
            members = []
    async for difference in _members(store, members, at):
        yield difference
    stored: dict[str, Mapping[str, int]] = {}
    async for batch in found_at(store.day_sums, {"slot": {"$in": list(slots)}}, at):
        stored |= {document["_id"]: sums_in(document) for document in batch}
    for name in sorted(sums.keys() | stored.keys()):
        kept, counted = stored.get(name, {}), sums.get(name, Counter())
        for each in sorted(kept.keys() | counted.keys()):
            if kept.get(each, 0) != counted.get(each, 0):
                yield None, f"sums {name}: {each} is {kept.get(each, 0)}, its journal says {counted.get(each, 0)}"


async def _members(
    store: Store, expected: Iterable[MemberDays], at: Timestamp
) -> AsyncIterator[tuple[str | None, str]]:
    wanted = {known.member: known for known in expected}
    stored: dict[str, MemberDays] = {}
    async for batch in found_at(store.member_days, {"_id": {"$in": list(wanted)}}, at):
        stored |= {document["_id"]: member_days_from(document) for document in batch}
    for member, known in wanted.items():
        if stored.get(member) != known:
            yield member, "the days that are kept for reports are not those of the journal"
