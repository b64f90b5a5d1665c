"""Segments: who a member is at this instant, by conditions on what is known about him. Pure.

Nothing keeps who is in a segment: it is worked out whenever it is asked, so it is never out of date. A segment's
condition sees the member's facts without his segments; `checks` sees to that.
"""

from domain.programme.facts import MemberFacts
from domain.programme.programme import Programme

SECTION = "segments"


def segments_of(facts: MemberFacts, programme: Programme) -> tuple[str, ...]:
    """The segments that a member with those facts is in, in the programme's order."""
    if not programme.definition.segments:
        return ()
    known = {"member": facts.as_facts()}
    return tuple(
        segment.id
        for segment in programme.definition.segments
        if programme.conditions[SECTION, segment.id, "when"].holds(known)
    )
