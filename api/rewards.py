"""Rewards, as the contract shows them: to everybody as they are, and to a member with what blocks him.

Cheapest first, so that pages neither skip nor repeat when the next version of the programme comes in between.
"""

from enum import StrEnum
from typing import Final

import strawberry

from api.context import Context
from api.node import Node
from api.pages import Connection, connection, window
from api.scalars import Long
from domain.commands.redemption import RewardBlock, block_of, stock_left
from domain.ledger.due import as_settled
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet, standing
from domain.programme.format import Reward as RewardSection
from domain.programme.programme import Programme
from domain.programme.wording import localised

strawberry.enum(RewardBlock)

REWARDS: Final = "rewards"


@strawberry.enum
class RewardKind(StrEnum):
    VOUCHER = "VOUCHER"
    GIFT_CARD = "GIFT_CARD"
    FREE_ITEM = "FREE_ITEM"
    FREE_SHIPPING = "FREE_SHIPPING"
    EXPERIENCE = "EXPERIENCE"
    DONATION = "DONATION"


@strawberry.type
class Reward(Node):
    name: str
    description: str
    cost: Long
    kind: RewardKind
    stock_left: Long | None = strawberry.field(description="Null when unlimited.")
    image_url: str | None
    blocked: RewardBlock | None = strawberry.field(description="Why this member cannot have it now; null when he can.")


async def reward_connection(
    context: Context, wallet: Wallet, *, locale: str, first: int, after: str | None, affordable: bool
) -> Connection[Reward]:
    """A page of the rewards for the member of that wallet, at the instant of the request."""
    asked = window(REWARDS, first, after, by=(int, str))
    programme = context.wallet.programmes.current
    settled = as_settled(wallet, programme, context.now)
    within = standing(settled, POINTS, context.now).available if affordable else None
    rewards = [
        reward
        for reward in sorted(programme.rewards.values(), key=lambda reward: (reward.cost, reward.id))
        if (within is None or reward.cost <= within)
        and (asked.after is None or (reward.cost, str(reward.id)) > asked.after)
    ]
    left = await stock_left(context.wallet.store, programme)
    nodes = [
        reward_type(
            reward,
            programme,
            locale,
            left=left.get(reward.id),
            blocked=block_of(reward, programme, settled, at=context.now, stock_left=left.get(reward.id)),
        )
        for reward in rewards[: asked.fetch]
    ]
    return connection(REWARDS, asked, items=nodes, key=lambda node: (int(node.cost), str(node.id)))


async def programme_rewards(context: Context, programme: Programme, locale: str) -> list[Reward]:
    """All rewards of the programme, in its order, blocked for nobody."""
    left = await stock_left(context.wallet.store, programme)
    return [
        reward_type(reward, programme, locale, left=left.get(reward.id), blocked=None)
        for reward in programme.rewards.values()
    ]


async def one_reward(context: Context, identifier: str, wallet: Wallet | None, locale: str) -> Reward | None:
    """The reward of that id, with what blocks the member of the wallet, if there is one; None for no reward's id."""
    programme = context.wallet.programmes.current
    reward = programme.rewards.get(identifier)
    if reward is None:
        return None
    left = (await stock_left(context.wallet.store, programme)).get(reward.id)
    blocked = None
    if wallet is not None:
        settled = as_settled(wallet, programme, context.now)
        blocked = block_of(reward, programme, settled, at=context.now, stock_left=left)
    return reward_type(reward, programme, locale, left=left, blocked=blocked)


def reward_type(
    reward: RewardSection, programme: Programme, locale: str, *, left: int | None, blocked: RewardBlock | None
) -> Reward:
    """The reward in that language; `left` is None when it is not limited."""
    return Reward(
        id=strawberry.ID(reward.id),
        name=localised(programme, reward.name, locale),
        description=localised(programme, reward.description, locale),
        cost=Long(reward.cost),
        kind=RewardKind(reward.kind),
        stock_left=None if left is None else Long(left),
        image_url=reward.image_url,
        blocked=blocked,
    )
