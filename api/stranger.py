"""A member who is not linked to the acting partner: it learns his id and what it did, and no more (SEMANTICS §9.2).

A partner comes to such a member by a voucher's code, by a purchase or a payment of its own after the link has ended,
and by a key that it used before. The contract lets neither `member` nor `entry` be null, so an operation that asks for
more of them is refused before anything is done; with a leaner selection the same key goes through. Whatever is
answered even so holds nothing to read: a field that is forgotten here fails, and does not tell.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Never, TypeVar

import strawberry
from strawberry.types.nodes import FragmentSpread, InlineFragment, SelectedField, Selection

from api.access import FORBIDDEN, AccessError, PartnerCaller
from api.context import Context, Info
from api.entries import Entry
from api.members import Member
from domain.members.member import Member as MemberRecord
from domain.members.member import is_visible, member_by_id

_OPEN_OF_MEMBER: Final = frozenset({"id", "__typename"})
_CLOSED_OF_ENTRY: Final = frozenset({"balanceAfter"})
_T = TypeVar("_T")


class _Veiled:
    """What is not set is not told."""

    def __getattr__(self, name: str) -> Never:
        # Python and its libraries ask by such names what kind of thing this is.
        raise AttributeError(name) if name.startswith("_") else _refusal()


class StrangeMember(_Veiled, Member):
    """A member of whom the id is known, and nothing else."""


class StrangeEntry(_Veiled, Entry):
    """An entry without the balances that it left."""


def is_stranger(context: Context, member: MemberRecord) -> bool:
    """Whether the caller is a partner that may not see the member."""
    caller = context.caller
    return isinstance(caller, PartnerCaller) and not (
        is_visible(member, caller.client_id) and caller.member_id in {None, member.id}
    )


def veiled(entry: Entry) -> tuple[Entry, Member]:
    """The entry and its member as a partner that is not linked may be told of them."""
    told = {name: value for name, value in vars(entry).items() if name != "balance_after"}
    member = str(entry.id).rpartition(".")[0]
    return _made(StrangeEntry, told), _made(StrangeMember, {"id": strawberry.ID(member)})


async def require_discretion(info: Info, member: str) -> None:
    """Lets the operation pass unless it asks for more of that member than the partner may know.

    Raises AccessError, and nothing has been done.
    """
    asked = _asked_beyond(info.selected_fields)
    if asked is None or not isinstance(info.context.caller, PartnerCaller):
        return
    record = await member_by_id(info.context.wallet.store, member)
    if record is not None and is_stranger(info.context, record):
        raise _refusal(asked)


def _asked_beyond(selected: Iterable[Selection]) -> str | None:
    """The first field of a mutation's answer that tells of the member, such as ``member.wallet``; None if none does."""
    for mutation in selected:
        for answered in _fields(mutation.selections):
            for field in _fields(answered.selections):
                if (answered.name == "member" and field.name not in _OPEN_OF_MEMBER) or (
                    answered.name == "entry" and field.name in _CLOSED_OF_ENTRY
                ):
                    return f"{answered.name}.{field.name}"
    return None


def _fields(selections: Iterable[Selection]) -> Iterator[SelectedField]:
    """The fields that are selected, through fragments, but for those that a directive leaves out."""
    for each in selections:
        if each.directives.get("skip", {}).get("if") is True or each.directives.get("include", {}).get("if") is False:
            continue
        if isinstance(each, FragmentSpread | InlineFragment):
            yield from _fields(each.selections)
        else:
            yield each


def _made(kind: type[_T], values: dict[str, object]) -> _T:
    made = object.__new__(kind)
    vars(made).update(values)
    return made


def _refusal(field: str | None = None) -> AccessError:
    return AccessError(
        f"{field or 'This'} is not for you to see: the member is not linked to you. Leave it out and ask for "
        "member { id } alone, or have the member show you a current code first. Nothing was done; the same key may "
        "be sent again.",
        code=FORBIDDEN,
        details={"field": field} if field else {},
    )
