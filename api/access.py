"""Who is calling, and what each kind of caller may touch: the one place that decides it.

`TABLE` holds a requirement for every field of the root types and for the fields of objects that are not open
to everybody who sees the object, as the contract's descriptions state them. `guard_schema` installs the check
in front of the resolvers when the schema is built and refuses a schema with a root field that the table does
not know, so no resolver can forget it. `check` runs the same rule before an operation begins, so that nothing
of a refused operation is done.

    Caller
    ├── Anonymous       no token, or one that does not hold
    ├── MemberCaller    a member's own session
    ├── PartnerCaller   a partner app, for itself or, delegated, as a member who let it in
    └── StaffCaller     staff, by scopes that begin with ``staff:``
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from api.edge.errors import ExposedError
from domain.partners.scopes import SCOPES

UNAUTHENTICATED: Final = "UNAUTHENTICATED"
FORBIDDEN: Final = "FORBIDDEN"


class AccessError(ExposedError):
    """The caller may not do this; `scope` in the details is the one that is missing, if one would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymous:
    """Nobody in particular. `token_refused` is true when a token came that does not hold."""

    token_refused: bool = False

    actor: ClassVar[str] = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCaller:
    """A member's own session. `session` is the id of the session that the access token belongs to."""

    member_id: str
    session: str | None = None

    @property
    def actor(self) -> str:
        return f"member:{self.member_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerCaller:
    """A partner app. `member_id` is set on a delegated token: the member who let the app in."""

    client_id: str
    scopes: frozenset[str]
    member_id: str | None = None

    @property
    def actor(self) -> str:
        return f"partner:{self.client_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffCaller:
    subject: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        return f"staff:{self.subject}"


Caller = Anonymous | MemberCaller | PartnerCaller | StaffCaller
"""`actor` of each is the namespace of its idempotency keys (SEMANTICS §1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Who may touch a field: any of the kinds of caller that are true, or one with any scope of `scopes`.

    With `itself` a partner's scopes count for what it does for itself alone, not for a member who let it in.
    """

    public: bool = False
    member: bool = False
    delegate: bool = False
    partner: bool = False
    staff: bool = False
    scopes: tuple[str, ...] = ()
    itself: bool = False

    def __post_init__(self) -> None:
        assert set(self.scopes) <= SCOPES, self.scopes


PUBLIC: Final = Requirement(public=True)
MEMBER: Final = Requirement(member=True)
SIGNED_IN: Final = Requirement(member=True, partner=True, staff=True)


def scopes(*alternatives: str) -> Requirement:
    """A partner's or staff's token with any one of these scopes."""
    return Requirement(scopes=alternatives)


def own_or(*alternatives: str) -> Requirement:
    """A member's own session, or a token with any one of these scopes."""
    return Requirement(member=True, scopes=alternatives)


ROOT_TYPES: Final = ("Query", "Mutation", "Subscription")

TABLE: Final[Mapping[str, Requirement]] = {
    "Query.me": Requirement(member=True, delegate=True),
    "Query.member": scopes("members:read", "staff:members"),
    "Query.programme": PUBLIC,
    "Query.places": MEMBER,
    "Query.voucher": scopes("vouchers:use"),
    "Query.previewPurchase": scopes("activity:write", "staff:programme"),
    "Query.partner": Requirement(partner=True),
    "Query.report": scopes("staff:reports"),
    "Query.cascadeRuns": scopes("staff:members"),
    "Query.simulateCascade": scopes("staff:members"),
    "Query.node": SIGNED_IN,
    "Member.profile": own_or("members:read", "staff:members"),
    "Member.wallet": own_or("wallet:read", "staff:members", "staff:adjust", "staff:refunds"),
    # A voucher's code is value to whoever holds it, so a partner needs a scope that has to do with it.
    "Member.vouchers": own_or("wallet:read", "vouchers:use", "staff:members"),
    "Member.segments": own_or("staff:members"),
    "Member.code": MEMBER,
    "Member.sessions": MEMBER,
    "Member.inbox": MEMBER,
    "Member.unreadCount": MEMBER,
    "Member.devices": MEMBER,
    "Member.consents": MEMBER,
    "Member.preferences": MEMBER,
    "Member.connectedApps": MEMBER,
    "Mutation.signIn": PUBLIC,
    "Mutation.refreshSession": PUBLIC,
    "Mutation.signOut": PUBLIC,
    "Mutation.endSession": MEMBER,
    "Mutation.updateProfile": MEMBER,
    "Mutation.setConsent": MEMBER,
    "Mutation.setPreferences": MEMBER,
    "Mutation.registerDevice": MEMBER,
    "Mutation.removeDevice": MEMBER,
    "Mutation.redeemReward": MEMBER,
    "Mutation.cancelVoucher": MEMBER,
    "Mutation.convertPoints": MEMBER,
    "Mutation.donate": MEMBER,
    "Mutation.giftPoints": MEMBER,
    "Mutation.claimBonus": MEMBER,
    "Mutation.startTopUp": MEMBER,
    "Mutation.setAutoTopUp": MEMBER,
    "Mutation.joinPlan": MEMBER,
    "Mutation.leavePlan": MEMBER,
    "Mutation.reportActivity": MEMBER,
    "Mutation.reportTransition": MEMBER,
    "Mutation.reportDelivery": MEMBER,
    "Mutation.markRead": MEMBER,
    "Mutation.submitFeedback": MEMBER,
    "Mutation.authorizeApp": MEMBER,
    "Mutation.revokeApp": MEMBER,
    "Mutation.exportMyData": MEMBER,
    "Mutation.eraseMe": MEMBER,
    "Mutation.enrolMember": Requirement(scopes=("members:enrol",), itself=True),
    "Mutation.recordPurchase": scopes("activity:write"),
    "Mutation.recordPurchases": scopes("activity:write"),
    "Mutation.returnPurchase": scopes("activity:write"),
    "Mutation.recordActivity": scopes("activity:write", "staff:adjust"),
    "Mutation.authorizePayment": scopes("prepaid:charge"),
    "Mutation.capturePayment": scopes("prepaid:charge"),
    "Mutation.voidPayment": scopes("prepaid:charge"),
    "Mutation.refundPayment": scopes("prepaid:charge"),
    "Mutation.topUpAtTill": scopes("prepaid:topup"),
    "Mutation.useVoucher": scopes("vouchers:use"),
    "Mutation.redeemRewardFor": scopes("points:spend"),
    "Mutation.adjustBalance": scopes("staff:adjust"),
    "Mutation.refundTopUp": scopes("staff:refunds"),
    "Mutation.setMemberTags": scopes("staff:members"),
    "Mutation.checkProgramme": scopes("staff:programme"),
    "Mutation.publishProgramme": scopes("staff:programme"),
    "Mutation.createPartner": scopes("staff:partners"),
    "Mutation.rotatePartnerSecret": scopes("staff:partners"),
    "Mutation.setPartnerKeys": scopes("staff:partners"),
    "Mutation.disablePartner": scopes("staff:partners"),
    "Mutation.setCascadeState": scopes("staff:programme"),
    "Mutation.sandboxSignIn": PUBLIC,
    "Mutation.sandboxStaffToken": PUBLIC,
    "Mutation.advanceClock": PUBLIC,
    "Mutation.sandboxConfirmTopUp": PUBLIC,
    "Subscription.walletChanged": MEMBER,
    "Subscription.inboxItemAdded": MEMBER,
}
"""Keyed by ``Type.field``. A field of an object that is not here is open to whoever may see the object."""


JUDGED_WHEN_THERE: Final = frozenset({"Session.member"})
"""Fields whose object is the caller himself, known only once the operation has run: nobody can be refused before."""


def allows(caller: Caller, requirement: Requirement) -> bool:
    """Whether the caller may touch a field of this requirement. Pure; the whole decision."""
    if requirement.public:
        return True
    match caller:
        case Anonymous():
            return False
        case MemberCaller():
            return requirement.member
        case PartnerCaller():
            return (
                requirement.partner
                or (requirement.delegate and caller.member_id is not None)
                or (not caller.scopes.isdisjoint(requirement.scopes) and not (requirement.itself and caller.member_id))
            )
        case StaffCaller():
            return requirement.staff or not caller.scopes.isdisjoint(requirement.scopes)


def check(caller: Caller, coordinate: str) -> None:
    """Raises AccessError unless the caller may touch the field `coordinate`, a ``Type.field`` of `TABLE`."""
    requirement = TABLE[coordinate]
    if not allows(caller, requirement):
        raise refusal(caller, coordinate, requirement)


def refusal(caller: Caller, coordinate: str, requirement: Requirement) -> AccessError:
    """Why the caller may not: one shape for every token that does not hold, so that it tells nothing else."""
    if isinstance(caller, Anonymous):
        return AccessError(
            "This needs a valid access token. Send it as Authorization: Bearer …. Tokens last ten minutes: a member "
            "gets the next one by refreshSession, a partner at /oauth/token.",
            code=UNAUTHENTICATED,
        )
    scope = _scope_for(caller, requirement)
    if scope is None or scope in getattr(caller, "scopes", ()):
        return AccessError(
            f"{coordinate} is not open to this kind of token; it takes {_kinds(requirement)}.",
            code=FORBIDDEN,
        )
    return AccessError(
        f"{coordinate} needs the scope {scope}, which this token does not carry.",
        code=FORBIDDEN,
        details={"scope": scope},
    )


def guard_schema(schema: GraphQLSchema) -> None:
    """Put the check in front of every resolver that the table names.

    Raises AssertionError at start-up for a root field without a requirement.
    """
    for name in ROOT_TYPES:
        root = schema.get_type(name)
        if isinstance(root, GraphQLObjectType):
            missing = [field for field in root.fields if f"{name}.{field}" not in TABLE]
            assert not missing, f"no requirement in api.access.TABLE for {name}: {', '.join(missing)}"
    for coordinate, requirement in TABLE.items():
        type_name, field_name = coordinate.split(".")
        owner = schema.get_type(type_name)
        if requirement.public or not isinstance(owner, GraphQLObjectType) or field_name not in owner.fields:
            continue
        _guard(owner.fields[field_name], coordinate, requirement)


def _guard(field: GraphQLField, coordinate: str, requirement: Requirement) -> None:
    field.resolve = _guarded(field.resolve or _attribute, coordinate, requirement)
    if field.subscribe is not None:
        field.subscribe = _guarded(field.subscribe, coordinate, requirement)


def _guarded(inner: Callable[..., Any], coordinate: str, requirement: Requirement) -> Callable[..., Any]:
    def guarded(source: Any, info: GraphQLResolveInfo[Any], /, **arguments: Any) -> Any:
        caller: Caller = info.context.caller
        if not (allows(caller, requirement) or _is_own(source, requirement)):
            raise refusal(caller, coordinate, requirement)
        return inner(source, info, **arguments)

    return guarded


def _is_own(source: Any, requirement: Requirement) -> bool:
    """Whether the object is the member who signs in with this very request, and the field is not his phone's alone."""
    return requirement.member and bool(requirement.scopes) and getattr(source, "is_own", False)


def _attribute(source: Any, info: GraphQLResolveInfo[Any], /) -> Any:
    return getattr(source, info.field_name)


def _scope_for(caller: Caller, requirement: Requirement) -> str | None:
    staff = [scope for scope in requirement.scopes if scope.startswith("staff:")]
    others = [scope for scope in requirement.scopes if not scope.startswith("staff:")]
    named = [*staff, *others] if isinstance(caller, StaffCaller) else [*others, *staff]
    return named[0] if named else None


def _kinds(requirement: Requirement) -> str:
    kinds = {
        "a member's own session": requirement.member,
        "a partner's token": requirement.partner,
        "a token that a member delegated to a partner": requirement.delegate,
        "a partner's token for itself": requirement.itself,
        "a staff token": requirement.staff,
    }
    return " or ".join(kind for kind, taken in kinds.items() if taken)
