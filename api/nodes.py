"""`node(id:)`: anything that has an id, with the same access as everywhere else."""

import strawberry

from api.access import TABLE, Caller, MemberCaller, PartnerCaller, allows
from api.cascade_runs import one_run
from api.context import Context, Info
from api.entries import Entry, entry_types
from api.inbox import one_inbox_item
from api.members import MemberLookup, find_account, locale_of, member_type
from api.node import Node
from api.partners import Partner, partner_type
from api.places import place_type
from api.rewards import Reward, one_reward
from api.vouchers import Voucher, voucher_type
from domain.ledger.entry import member_of_entry
from domain.ledger.issued import vouchers_by_id
from domain.ledger.voucher import entry_of_voucher
from domain.partners.partner import find_partner
from notifications.run import member_of_run


@strawberry.type
class NodeQuery:
    @strawberry.field
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:  # noqa: A002 -- the contract's name
        """The thing of that id if the caller may see it; None for all else, whether it exists or not."""
        context = info.context
        place = place_type(context.wallet.programmes.current, id)
        if place is not None:
            return place
        if id in context.wallet.programmes.current.rewards:
            return await _reward(context, id)
        for find in (_run, _voucher, _entry, _partner, _member, _inbox_item):
            if (found := await find(context, id)) is not None:
                return found
        return None


async def _member(context: Context, identifier: str) -> Node | None:
    if not _may(context.caller, "Query.member"):
        return None
    account = await find_account(context, MemberLookup(id=strawberry.ID(identifier)))
    return None if account is None else member_type(account.member, account.wallet, context, payer=account.payer)


async def _run(context: Context, identifier: str) -> Node | None:
    """The run of a cascade, for staff."""
    if member_of_run(identifier) is None or not allows(context.caller, TABLE["Query.cascadeRuns"]):
        return None
    return await one_run(context, identifier)


async def _inbox_item(context: Context, identifier: str) -> Node | None:
    """The message, for whom it is; a delivery's id may have any form, so it is asked for last."""
    if not (isinstance(context.caller, MemberCaller) and allows(context.caller, TABLE["Member.inbox"])):
        return None
    return await one_inbox_item(context, context.caller.member_id, identifier)


async def _entry(context: Context, identifier: str) -> Entry | None:
    member = member_of_entry(identifier)
    if member is None or not _may(context.caller, "Member.wallet"):
        return None
    account = await find_account(context, MemberLookup(id=strawberry.ID(member)))
    entry = None if account is None else await context.wallet.ledger.journal.entry(identifier)
    if account is None or entry is None:
        return None
    locale = locale_of(account.member, context)
    return (await entry_types([entry], context.wallet, locale, now=context.now))[0]


async def _voucher(context: Context, identifier: str) -> Voucher | None:
    member = member_of_entry(entry_of_voucher(identifier) or "")
    if member is None or not _may(context.caller, "Member.vouchers"):
        return None
    account = await find_account(context, MemberLookup(id=strawberry.ID(member)))
    issued = (await vouchers_by_id(context.wallet.store, [identifier], now=context.now)).get(identifier)
    if account is None or issued is None:
        return None
    return voucher_type(issued, context.wallet.programmes.current, locale_of(account.member, context))


async def _reward(context: Context, identifier: str) -> Reward | None:
    """The reward; a member is told what blocks him."""
    wallet, locale = None, context.locale or context.wallet.programmes.current.definition.locales.default
    if isinstance(context.caller, MemberCaller):
        account = await find_account(context, MemberLookup(id=strawberry.ID(context.caller.member_id)))
        if account is not None:
            wallet, locale = account.wallet, locale_of(account.member, context)
    return await one_reward(context, identifier, wallet, locale)


async def _partner(context: Context, identifier: str) -> Partner | None:
    """The calling partner itself; any partner for those who manage them."""
    caller = context.caller
    is_itself = isinstance(caller, PartnerCaller) and caller.client_id == identifier
    if not (is_itself or allows(caller, TABLE["Mutation.disablePartner"])):
        return None
    partner = await find_partner(context.wallet.store, identifier)
    return None if partner is None else partner_type(partner)


def _may(caller: Caller, coordinate: str) -> bool:
    """Whether the caller may touch that field; a member's own session always may see the member himself."""
    return isinstance(caller, MemberCaller) or allows(caller, TABLE[coordinate])
