"""Places: the programme's shops, as the contract shows them."""

import strawberry

from api.node import Node
from domain.programme.programme import Programme


@strawberry.type
class Place(Node):
    name: str
    latitude: float
    longitude: float
    radius_metres: int
    region: str | None
    time_zone: str


def place_type(programme: Programme, identifier: str | None) -> Place | None:
    """The place of that id in that version of the programme; None when it has none."""
    place = programme.places.get(identifier) if identifier is not None else None
    if place is None:
        return None
    return Place(
        id=strawberry.ID(place.id),
        name=place.name,
        latitude=place.location.latitude,
        longitude=place.location.longitude,
        radius_metres=place.radius_m,
        region=place.region,
        time_zone=place.time_zone or programme.definition.time_zone,
    )
