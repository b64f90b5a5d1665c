"""What a member and a till ask about rewards, vouchers, points and bonuses, as documents."""

from typing import Any

from tests.api.shop import Shop, new_key

PROBLEM = """
    ... on Problem { code message }
    ... on InvalidInput { fields { path } }
    ... on IdempotencyMismatch { differs }
"""
LOST = "... on NotFound { what }"
POSTED = "replayed entry { id kind points reverses message awards { vouchers { id status } } } "
MEMBER = "member { id wallet { version points { available } cashback { available { amount } } bonuses { id } } }"
VOUCHER = (
    "voucher { id code name status discount { percent freeItem amount { amount } minimumSpend { amount } } usedAt }"
)
POOR = "... on InsufficientBalance { asset available required }"
LIMITED = "... on LimitReached { limit headroom resetsAt }"
WRONG = "... on WrongState { state }"
UNFIT = "... on NotEligible { reason }"
GONE = "... on OutOfStock { reward }"

DOCUMENTS = {
    "redeemReward": ("RedeemRewardInput", "RewardRedeemed", VOUCHER, LOST, POOR, LIMITED, UNFIT, GONE),
    "cancelVoucher": ("CancelVoucherInput", "VoucherCancelled", VOUCHER, LOST, WRONG, UNFIT),
    "convertPoints": ("ConvertPointsInput", "PointsConverted", "cashback { amount currency }", POOR, UNFIT),
    "donate": ("DonateInput", "Donated", "charity", LOST, POOR),
    "giftPoints": ("GiftPointsInput", "PointsGifted", "", LOST, POOR, LIMITED, UNFIT),
    "claimBonus": ("ClaimBonusInput", "BonusClaimed", "amount { amount currency }", LOST, WRONG),
    "useVoucher": ("UseVoucherInput", "VoucherUsed", VOUCHER, LOST, WRONG, LIMITED),
}
REDEEM_FOR = (
    "mutation Do($member: MemberLookup!, $input: RedeemRewardInput!) {"
    " redeemRewardFor(member: $member, input: $input) { __typename"
    f" ... on RewardRedeemed {{ {POSTED} {VOUCHER} member {{ id }} }} {PROBLEM} {LOST} {POOR} {UNFIT} }} }}"
)


def document(name: str, *, member: str = MEMBER) -> str:
    """The mutation of that name, with all that it may answer."""
    kind, done, more, *problems = DOCUMENTS[name]
    return (
        f"mutation Do($input: {kind}!) {{ {name}(input: $input) {{ __typename"
        f" ... on {done} {{ {POSTED} {member} {more} }} {PROBLEM} {' '.join(problems)} }} }}"
    )


async def do(shop: Shop, member: str, name: str, key: str | None = None, **given: Any) -> dict[str, Any]:
    """What the mutation answers to the member's phone."""
    asked = {"idempotencyKey": key or new_key(), **given}
    answered: dict[str, Any] = (await shop.phone(member, document(name), {"input": asked}))[name]
    return answered


async def use(
    shop: Shop, code: str, *, receipt: str = "R-1", key: str | None = None, token: str | None = None
) -> dict[str, Any]:
    """What useVoucher answers to a till that holds nothing but that scope."""
    token = token or await shop.till_token("vouchers:use", client_id=shop.other_till_id)
    asked = {"code": code, "receipt": receipt, "idempotencyKey": key or new_key()}
    response = await shop.ask(document("useVoucher", member="member { id }"), {"input": asked}, token=token)
    answered: dict[str, Any] = response["data"]["useVoucher"]
    return answered
