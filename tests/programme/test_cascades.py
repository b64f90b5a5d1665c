"""Cascades in a programme: what each mistake is told, and what the steps compile to (SEMANTICS §10, §11)."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from domain.ledger.expiry import Period
from domain.programme.cascade import BranchStep, EndStep, SendStep, WaitStep
from domain.programme.definition import check_source, read_definition
from domain.programme.programme import compile_programme


def with_cascade(example_source: str, **changes: Any) -> str:
    """The example programme with one more cascade, number 7."""
    data = yaml.safe_load(example_source)
    cascade: Mapping[str, Any] = {
        "id": "extra",
        "category": "MARKETING",
        "trigger": {"event": "purchase"},
        "steps": [{"send": "PUSH", "template": "win-back-1"}],
        **changes,
    }
    data["cascades"].append(cascade)
    return json.dumps(data, default=str)


SEND = {"send": "PUSH", "template": "win-back-1"}


@pytest.mark.parametrize(
    ("changes", "path", "remedy"),
    [
        ({"stpes": []}, "stpes", "Did you mean `steps`?"),
        ({"trigger": {"event": "purchased"}}, "trigger.event", "There is no event 'purchased'"),
        ({"trigger": {"event": "lapsed"}}, "trigger", "`days` belongs to the event lapsed"),
        ({"trigger": {"event": "points_expiring"}}, "trigger", "`before` belongs to"),
        (
            {"trigger": {"event": "streak_at_risk", "before": "P1D", "streak": "monthly"}},
            "trigger.streak",
            "There is no monthly in streaks",
        ),
        ({"trigger": {"event": "place.dwell", "place": "store-1"}}, "trigger.place.0", "There is no store-1 in places"),
        ({"trigger": {"event": "purchase", "cooldown": "P1D"}}, "trigger", "belong to place.enter"),
        ({"goal": {"events": ["lapsed"]}}, "goal.events.0", "No goal can be 'lapsed'"),
        ({"when": "member.point > 0"}, "when", "point"),
        ({"when": "member.points"}, "when", "not true or false"),
        ({"when": "member.tier == 'golden'"}, "when", "There is no golden in tiers"),
        ({"audience": {"when": "'nobody' in member.segments"}}, "audience.when", "There is no nobody in segments"),
        ({"steps": [{**SEND, "when": "member.plan == 'minus'"}]}, "steps.0.when", "There is no minus in plans"),
        (
            {"steps": [{"branch": "member.tier == 'iron'", "then": [SEND]}]},
            "steps.0.branch",
            "There is no iron in tiers",
        ),
        ({"audience": {"segment": "nobody"}}, "audience.segment", "There is no nobody in segments"),
        ({"audience": {"when": "entry.points > 0"}}, "audience.when", "entry"),
        ({"audience": {}}, "audience", "either `segment` or `when`"),
        ({"holdout_percent": 101}, "holdout_percent", "at most 100"),
        ({"steps": [{"send": "PUSH", "template": "none"}]}, "steps.0.template", "There is no none in templates"),
        ({"steps": [{"send": "PUSH"}]}, "steps.0", "either `template` or `variants`"),
        ({"steps": [{"send": "FAX", "template": "win-back-1"}]}, "steps.0.send.0", "one of"),
        ({"steps": [{"wait": "P1D", "template": "win-back-1"}]}, "steps.0", "takes no template"),
        ({"steps": [{"wait": "P1D", "end": True}]}, "steps.0", "Must be one of"),
        ({"steps": [{**SEND, "when": "member.tire == 'x'"}]}, "steps.0.when", "tire"),
        ({"steps": [{"end": True}, SEND]}, "steps.1", "No path reaches this step"),
        (
            {"steps": [{"branch": "member.points > 0", "then": [{"end": True}], "else": [{"end": True}]}, SEND]},
            "steps.1",
            "No path reaches this step",
        ),
        (
            {"steps": [{"branch": "member.points > 0", "then": [{"end": True}, SEND]}]},
            "steps.0.then.1",
            "No path reaches this step",
        ),
        (
            {"steps": [SEND, {"end": True, "if": "reaction"}, {"end": True, "if": "no_reaction"}, SEND]},
            "steps.3",
            "No path reaches this step",
        ),
        (
            {"steps": [SEND, {"branch": "no_reaction", "then": [{"end": True, "if": "no_reaction"}, SEND]}]},
            "steps.1.then.1",
            "No path reaches this step",
        ),
        (
            {"steps": [SEND, {"branch": "reaction", "then": [{"branch": "no_reaction", "then": [SEND]}]}]},
            "steps.1.then.0.then.0",
            "No path reaches this step",
        ),
        (
            {"steps": [SEND, {"wait": "P1D"}, {"end": True, "if": "reaction"}, {**SEND, "if": "reaction"}]},
            "steps.3",
            "No path reaches this step",
        ),
        ({"steps": [{**SEND, "if": "reaction"}]}, "steps.0.if", "nothing was sent before it"),
        (
            {"expires": "P3D", "steps": [SEND, {"wait": "P2D"}, {"wait": "P1D"}, SEND]},
            "steps.2.wait",
            "Waits beyond the run's end",
        ),
        (
            {"expires": "P3D", "steps": [SEND, {"branch": "reaction", "then": [{"wait": "P3D"}]}]},
            "steps.1.then.0.wait",
            "Waits beyond the run's end",
        ),
        (
            {"steps": [{"send": "PUSH", "variants": [{"template": "win-back-1", "weight": 0}]}]},
            "steps.0.variants.0.weight",
            "Must be at least 1.",
        ),
        ({"id": "a" * 60}, "", "over 50 characters"),
        ({"steps": [SEND] * 100}, "", "more than 100 statistics' labels"),
    ],
)
def test_a_mistake_in_a_cascade_is_told_with_its_place_and_remedy(
    example_source: str, changes: Mapping[str, Any], path: str, remedy: str
) -> None:
    checked = check_source(with_cascade(example_source, **changes))

    where = f"cascades.7.{path}".rstrip(".")
    told = [problem for problem in checked.problems if problem.path == where]
    assert len(told) == 1, checked.problems
    assert remedy in told[0].message
    assert checked.definition is None


@pytest.mark.parametrize(
    "steps",
    [
        [SEND, {"end": True, "if": "no_reaction"}, {"wait": "P1D"}, {**SEND, "if": "reaction"}],
        [SEND, {"end": True, "if": "reaction"}, {"wait": "P1D"}, {**SEND, "if": "reaction"}],
        [SEND, {"end": True, "if": "reaction"}, SEND, {"wait": "P1D"}, {**SEND, "if": "reaction"}],
        [SEND, {"end": True, "if": "reaction", "when": "member.points > 0"}, {**SEND, "if": "reaction"}],
        [SEND, {"branch": "reaction", "then": [{"end": True}]}, SEND],
    ],
    ids=range(5),
)
def test_a_step_that_some_path_reaches_is_no_mistake(example_source: str, steps: list[Mapping[str, Any]]) -> None:
    checked = check_source(with_cascade(example_source, steps=steps))

    assert checked.definition is not None, checked.problems


@pytest.mark.parametrize(
    ("messaging", "path"),
    [
        ({"quiet_hours": {"from": "22:00", "until": "22:00"}}, "messaging.quiet_hours"),
        ({"caps": [{"id": "x", "count": 1, "per": "week"}]}, "messaging.caps.0.per"),
        ({"caps": [{"id": "x", "count": 0, "per": "day"}]}, "messaging.caps.0.count"),
        (
            {
                "caps": [{"id": "x", "count": 1, "per": "day"}, {"id": "x", "count": 3, "per": "P7D"}],
                "links": ["corner://"],
            },
            "messaging.caps.1.id",
        ),
    ],
)
def test_a_mistake_in_messaging_is_told(example_source: str, messaging: Mapping[str, Any], path: str) -> None:
    data = yaml.safe_load(example_source)
    data["messaging"] = messaging

    checked = check_source(json.dumps(data, default=str))

    assert [problem.path for problem in checked.problems] == [path]


def test_branches_become_jumps_and_steps_keep_their_order(example_source: str) -> None:
    source = with_cascade(
        example_source,
        steps=[
            SEND,
            {
                "branch": "reaction",
                "then": [{"wait": "P1D"}, SEND],
                "else": [{"end": True, "when": "member.points > 0"}],
            },
            {"at": "10:00"},
            {"send": ["PUSH", "EMAIL"], "template": "win-back-1"},
        ],
    )

    steps = compile_programme(read_definition(source), 1).cascades["extra"].steps

    assert [type(step) for step in steps] == [
        *(SendStep, BranchStep, WaitStep, SendStep),
        *(BranchStep, EndStep, WaitStep, SendStep),
    ]
    question, jump, wait = steps[1], steps[4], steps[6]
    assert isinstance(question, BranchStep)
    assert isinstance(jump, BranchStep)
    assert isinstance(wait, WaitStep)
    assert (question.if_reacted, question.otherwise) == (True, 5)
    assert (jump.if_reacted, jump.condition, jump.otherwise) == (None, None, 6)
    assert (wait.length, wait.at) == (None, "10:00")


def test_the_examples_cascades_compile(example_source: str) -> None:
    cascades = compile_programme(read_definition(example_source), 1).cascades

    assert list(cascades) == [
        *("welcome", "points-expiring", "win-back", "near-store", "streak-at-risk", "bonus-grows", "earned"),
    ]
    assert cascades["win-back"].purposes == ("MARKETING",)
    assert cascades["near-store"].purposes == ("MARKETING", "LOCATION")
    assert cascades["win-back"].reentry == Period(days=60)
    assert cascades["win-back"].group == "win-back"
    assert cascades["earned"].group is None
    assert cascades["welcome"].label(2, "welcome-2") == "welcome.2"
