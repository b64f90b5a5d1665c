"""The wallet, live: every entry from a version on, each with the wallet that it made."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from api.context import Info, require_member
from api.edge.errors import InvalidValue
from api.entries import Entry, entry_types
from api.faults import given
from api.members import locale_of, own_record
from api.scalars import Long
from api.wallet import Wallet, wallet_type
from domain.ledger.entry import Entry as JournalEntry
from domain.ledger.feed import VersionAhead, wallet_changes
from domain.ledger.wallet import Wallet as WalletState


@strawberry.type
class WalletChange:
    version: Long
    entry: Entry
    wallet: Wallet


@strawberry.type
class WalletSubscription:
    @strawberry.subscription(  # type: ignore[untyped-decorator]
        description=("The wallet after every change, from the version given on; what was missed comes first. member")
    )
    async def wallet_changed(
        self, info: Info, since_version: Long | None = strawberry.UNSET
    ) -> AsyncGenerator[WalletChange, None]:
        """Without a version it begins with the next change."""
        services, member = info.context.wallet, require_member(info).member_id
        since = given(since_version)
        if since is not None and since < 0:
            raise InvalidValue("sinceVersion is the version of a wallet: 0 or more.")
        await own_record(info)
        feed = wallet_changes(services.store, services.changes, member, since=since)
        try:
            async with aclosing(feed):
                async for entry, wallet in feed:
                    yield await _change(info, entry, wallet)
        except VersionAhead as ahead:
            raise InvalidValue(
                f"sinceVersion is {since}, but the wallet is at version {ahead.version}. Read the wallet anew."
            ) from None


async def _change(info: Info, entry: JournalEntry, wallet: WalletState) -> WalletChange:
    """In the member's language as it is now, at the instant of the event."""
    services = info.context.wallet
    now = services.clock.now()
    programme, locale = services.programmes.current, locale_of(await own_record(info), info.context)
    return WalletChange(
        version=Long(wallet.sequence),
        entry=(await entry_types([entry], services, locale, now=now))[0],
        wallet=wallet_type(wallet, programme, now=now, locale=locale),
    )
