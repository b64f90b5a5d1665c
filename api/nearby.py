"""The places near a phone, to register with its geofencing. The point is used and forgotten (SEMANTICS §10.14)."""

from typing import Final

import strawberry

from api.context import Info
from api.described import described
from api.edge.errors import InvalidValue
from api.places import Place, place_type
from domain.programme.nearby import place_index

MOST_PLACES: Final = 100


@strawberry.input
class GeoPointInput:
    latitude: float
    longitude: float


@strawberry.type
class PlacesNearby:
    places: list[Place]
    refresh_radius_metres: int = strawberry.field(description="Leave this circle and ask again.")
    version: str = strawberry.field(description="Changes when a place of the programme changes, and only then.")


@strawberry.type
class NearbyQuery:
    @described(
        "The places nearest to a point, nearest first, to register with the phone's geofencing. "
        "The point is used and forgotten. member"
    )
    def places(self, info: Info, near: GeoPointInput, first: int = 19) -> PlacesNearby:
        # The messages repeat no coordinate: whoever keeps answers keeps none.
        if not -90 <= near.latitude <= 90:  # noqa: PLR2004
            raise InvalidValue("near.latitude is in degrees, from -90 to 90.")
        if not -180 <= near.longitude <= 180:  # noqa: PLR2004
            raise InvalidValue("near.longitude is in degrees, from -180 to 180.")
        if not 1 <= first <= MOST_PLACES:
            raise InvalidValue(f"first is {first}; ask for 1 to {MOST_PLACES}.")
        programme = info.context.wallet.programmes.current
        index = place_index(programme)
        found = index.nearest(near.latitude, near.longitude, first)
        shown = [place_type(programme, place) for place in found.places]
        return PlacesNearby(
            places=[place for place in shown if place is not None],
            refresh_radius_metres=found.refresh_radius_m,
            version=index.version,
        )
