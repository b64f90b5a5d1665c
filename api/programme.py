"""The programme in force, in the caller's language, and how staff check and publish the next version."""

from collections.abc import Iterable
from typing import Annotated

import strawberry

from api.badges import BadgeDefinition, badge_type
from api.context import Info
from api.described import described
from api.problems import ProgrammeInvalid, ProgrammeProblem, Severity, VersionConflict
from api.rewards import Reward, programme_rewards
from api.scalars import Currency, Duration
from api.tiers import Tier, tier_types
from domain.ledger.expiry import format_period, local_date
from domain.programme import published
from domain.programme.problem import ProgrammeProblem as Found
from domain.programme.problem import Severity as FoundSeverity
from domain.programme.programme import Programme as PublishedProgramme
from domain.programme.wording import expiry_policy, localised, ways_to_earn


@strawberry.type
class Programme:
    id: strawberry.ID
    version: int
    name: str
    currency: Currency
    time_zone: str
    tiers: list[Tier]
    badges: list[BadgeDefinition]
    published: strawberry.Private[PublishedProgramme]
    locale: strawberry.Private[str]
    ways_to_earn: list[str] = strawberry.field(description="How points are earned, in words.")
    expiry_policy: str = strawberry.field(description="When and how points expire, in words.")
    holds_last: Duration = strawberry.field(description="How long a payment is held if nobody captures it.")

    @strawberry.field
    async def rewards(self, info: Info) -> list[Reward]:
        return await programme_rewards(info.context, self.published, self.locale)


@strawberry.type
class ProgrammeCheck:
    valid: bool
    problems: list[ProgrammeProblem]


@strawberry.type
class ProgrammePublished:
    programme: Programme
    warnings: list[ProgrammeProblem]


PublishProgrammeResult = Annotated[
    ProgrammePublished | ProgrammeInvalid | VersionConflict, strawberry.union("PublishProgrammeResult")
]


@strawberry.type
class ProgrammeQuery:
    @described("The published programme, in the caller's language. Public.")
    def programme(self, info: Info) -> Programme:
        return _in_force(info)


@strawberry.type
class ProgrammeMutation:
    @described("Check a programme without publishing it. scope: staff:programme")
    async def check_programme(self, info: Info, source: str) -> ProgrammeCheck:
        checked = await published.check_next(info.context.wallet.store, source)
        return ProgrammeCheck(valid=checked.definition is not None, problems=_problems(checked.problems))

    @described("Publish the next version; it rules from then on. scope: staff:programme")
    async def publish_programme(self, info: Info, source: str, expected_version: int) -> PublishProgrammeResult:
        services = info.context.wallet
        outcome = await published.publish(
            services.store, source, expected_version=expected_version, now=info.context.now
        )
        match outcome:
            case published.ProgrammeInvalid():
                errors = sum(problem.severity is FoundSeverity.ERROR for problem in outcome.problems)
                return ProgrammeInvalid(
                    code="PROGRAMME_INVALID",
                    message=f"The programme has {errors} errors; nothing was published.",
                    problems=_problems(outcome.problems),
                )
            case published.VersionConflict():
                return VersionConflict(
                    code="VERSION_CONFLICT",
                    message=(
                        f"Version {outcome.current_version} is in force, not {expected_version}; "
                        "nothing was published. Look at what changed, then publish again."
                    ),
                    current_version=outcome.current_version,
                )
            case published.Published():
                await services.programmes.refresh()
                programme = programme_type(outcome.programme, _locale(info, outcome.programme), info)
                return ProgrammePublished(programme=programme, warnings=_problems(outcome.warnings))


def programme_type(programme: PublishedProgramme, locale: str, info: Info) -> Programme:
    """The version in that language; the ways to earn are those in force today."""
    definition = programme.definition
    return Programme(
        id=strawberry.ID(definition.programme),
        version=programme.version,
        published=programme,
        locale=locale,
        name=localised(programme, definition.name, locale),
        currency=Currency(programme.currency),
        time_zone=definition.time_zone,
        tiers=[] if programme.tiers is None else tier_types(programme, locale),
        badges=[badge_type(badge, programme, locale) for badge in definition.badges],
        ways_to_earn=ways_to_earn(programme, locale, on=local_date(info.context.now, programme.zone)),
        expiry_policy=expiry_policy(programme, locale),
        holds_last=Duration(format_period(definition.prepaid.hold_expires)),
    )


def _in_force(info: Info) -> Programme:
    programme = info.context.wallet.programmes.current
    return programme_type(programme, _locale(info, programme), info)


def _locale(info: Info, programme: PublishedProgramme) -> str:
    return info.context.locale or programme.definition.locales.default


def _problems(problems: Iterable[Found]) -> list[ProgrammeProblem]:
    return [
        ProgrammeProblem(path=problem.path, message=problem.message, severity=Severity(problem.severity.value))
        for problem in problems
    ]
