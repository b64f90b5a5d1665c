"""The schema: all nouns together. A sandbox has a few more fields, which production does not know at all."""

from functools import cache
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryObjectDefinition, StrawberryType

from api.activities import ActivityMutation
from api.adjustments import AdjustmentMutation
from api.app_authorization import AppAuthorizationMutation
from api.bonus_claims import BonusMutation
from api.cascade_runs import CascadeRunQuery
from api.cascade_states import CascadeStateMutation
from api.consents import ConsentMutation
from api.conversions import ConversionMutation
from api.delivery_reports import DeliveryMutation
from api.devices import DeviceMutation
from api.donations import DonationMutation
from api.feedback import FeedbackMutation
from api.gifts import GiftMutation
from api.inbox import InboxMutation, InboxSubscription
from api.members import MemberMutation, MemberQuery
from api.nearby import NearbyQuery
from api.nodes import NodeQuery
from api.partners import PartnerMutation, PartnerQuery
from api.payments import PaymentMutation
from api.plan_changes import PlanMutation
from api.preferences import PreferencesMutation
from api.profile_changes import ProfileMutation
from api.programme import ProgrammeMutation, ProgrammeQuery
from api.purchases import PurchaseMutation, PurchaseQuery
from api.redemptions import RedemptionMutation
from api.reports import ReportQuery
from api.rights import RightsMutation
from api.sandbox import SandboxMutation
from api.scalars import SCALARS
from api.sessions import SessionMutation
from api.simulation import CascadeSimulationQuery
from api.tags import TagMutation
from api.till_top_ups import TillTopUpMutation
from api.top_ups import TopUpMutation
from api.transitions import TransitionMutation
from api.voucher_use import VoucherMutation, VoucherQuery
from api.wallet_changes import WalletSubscription


@strawberry.type
class Query(
    MemberQuery,
    ProgrammeQuery,
    PurchaseQuery,
    VoucherQuery,
    PartnerQuery,
    NearbyQuery,
    NodeQuery,
    ReportQuery,
    CascadeRunQuery,
    CascadeSimulationQuery,
):
    pass


@strawberry.type
class Mutation(
    SessionMutation,
    MemberMutation,
    RedemptionMutation,
    VoucherMutation,
    ConversionMutation,
    DonationMutation,
    GiftMutation,
    BonusMutation,
    PurchaseMutation,
    PaymentMutation,
    TillTopUpMutation,
    TopUpMutation,
    PlanMutation,
    AdjustmentMutation,
    ActivityMutation,
    FeedbackMutation,
    ProfileMutation,
    TagMutation,
    ConsentMutation,
    PreferencesMutation,
    DeviceMutation,
    InboxMutation,
    TransitionMutation,
    DeliveryMutation,
    CascadeStateMutation,
    AppAuthorizationMutation,
    RightsMutation,
    ProgrammeMutation,
    PartnerMutation,
):
    pass


@strawberry.type
class Subscription(WalletSubscription, InboxSubscription):
    pass


@strawberry.type(name="Mutation")
class MutationInSandbox(Mutation, SandboxMutation):
    pass


class _Names(NameConverter):
    """The inbox's connection is called after the inbox, and not after its items, as the contract has it."""

    def from_generic(self, generic_type: StrawberryObjectDefinition, types: list[StrawberryType | type[Any]]) -> str:
        return super().from_generic(generic_type, types).replace("InboxItem", "Inbox")


@cache
def build_schema(*, sandbox: bool) -> strawberry.Schema:
    """The schema of the mode, built once per process."""
    return strawberry.Schema(
        query=Query,
        mutation=MutationInSandbox if sandbox else Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS, name_converter=_Names()),
    )


def sdl() -> str:
    """The sandbox's schema in the schema definition language: production's and the sandbox's own fields."""
    return build_schema(sandbox=True).as_str() + "\n"
