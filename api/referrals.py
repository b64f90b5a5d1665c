"""Referrals, as the contract shows them: the member's code, and what came of it."""

import strawberry

from api.context import Context
from domain.commands.referral import rewarded
from domain.ledger.wallet import Wallet
from domain.members.referral import invited_by, referral_code_of


@strawberry.type
class ReferralStatus:
    code: str
    invited: int
    rewarded: int


async def referral_status(context: Context, wallet: Wallet) -> ReferralStatus:
    """The code of the wallet's member, who joined by it, and for how many of those he was rewarded."""
    store = context.wallet.store
    return ReferralStatus(
        code=await referral_code_of(store, wallet.member),
        invited=await invited_by(store, wallet.member),
        rewarded=rewarded(wallet),
    )
