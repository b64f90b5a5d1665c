"""The schema: the nouns put together. A sandbox has a few fields more; production does not know them at all."""

import strawberry
from strawberry.schema.config import StrawberryConfig

from api.adjustments import AdjustmentMutation
from api.lookup import NodeQuery
from api.members import MemberMutation, MemberQuery
from api.partners import PartnerQuery
from api.programme import ProgrammeMutation, ProgrammeQuery
from api.purchases import PurchaseMutation, PurchaseQuery
from api.sandbox import SandboxMutation
from api.scalars import SCALARS


@strawberry.type
class Query(MemberQuery, ProgrammeQuery, PurchaseQuery, PartnerQuery, NodeQuery):
    pass


@strawberry.type
class Mutation(MemberMutation, PurchaseMutation, AdjustmentMutation, ProgrammeMutation):
    pass


@strawberry.type(name="Mutation")
class MutationInSandbox(Mutation, SandboxMutation):
    pass


def build_schema(*, sandbox: bool) -> strawberry.Schema:
    """A fresh schema of the mode. Build it once per process."""
    return strawberry.Schema(
        query=Query,
        mutation=MutationInSandbox if sandbox else Mutation,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """The sandbox's schema in the schema definition language: production's and the sandbox's own fields."""
    return build_schema(sandbox=True).as_str() + "\n"
