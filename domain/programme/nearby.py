"""The places nearest to a point, for a phone to register with its geofencing.

Exact and in memory, over the places of one version of the programme: the point goes into no query, so no server's
slow-query log or profiler can ever hold it (SEMANTICS §10.14). Distances are great-circle ones on a sphere.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from math import asin, cos, radians, sin, sqrt
from typing import NamedTuple

import orjson

from domain.programme.programme import Programme

EARTH_RADIUS_M = 6_371_008.8
"""The mean radius (IUGG)."""

LEAST_REFRESH_M = 100
"""As near as a phone can tell: below that it would only ask again and again."""

MOST_REFRESH_M = 50_000
"""Places come and go: who travels that far asks again, whatever he knows."""

KEPT = 4
"""Versions of the places that a process keeps at hand."""

LEAF = 32
"""Places that are looked at one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """The ids of the nearest places, nearest first, places at one distance by id.

    Within `refresh_radius_m` of the point they stay the nearest, see :func:`refresh_radius_m`.
    """

    places: tuple[str, ...]
    refresh_radius_m: int


_Point = tuple[float, float, float]
_Placed = tuple[_Point, str]


class _Node(NamedTuple):
    """What is not above `at` on the axis, and what is not below it."""

    axis: int
    at: float
    below: "_Node | list[_Placed]"
    above: "_Node | list[_Placed]"


class PlaceIndex:
    """A k-d tree of places. `version` is a hash of all that the programme says of its places, in whatever order."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme
        self._tree = _tree(
            [
                (_on_sphere(place.location.latitude, place.location.longitude), place.id)
                for place in programme.places.values()
            ]
        )

    @cached_property
    def version(self) -> str:
        """Changes when a place does, and only then."""
        zone = self._programme.definition.time_zone
        said = [
            {**place.model_dump(mode="json"), "time_zone": place.time_zone or zone}
            for _, place in sorted(self._programme.places.items())
        ]
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def nearest(self, latitude: float, longitude: float, count: int) -> Nearby:
        """The `count` nearest places. Degrees, within ±90 and ±180."""
        found = _search(self._tree, _on_sphere(latitude, longitude), count + 1, [])
        return Nearby(
            places=tuple(place for _, place in found[:count]),
            refresh_radius_m=refresh_radius_m([_metres(square) for square, _ in found], count),
        )


def refresh_radius_m(distances_m: list[float], count: int) -> int:
    """How far one may go from the point before another place can be among the `count` nearest, in whole metres.

    `distances_m` rise and have one more than `count`, if there is one. Who goes r metres comes at most r nearer to the
    first place left out and at most r farther from the last one taken, so the two change places half-way through the
    difference at the soonest. Never below :data:`LEAST_REFRESH_M` or above :data:`MOST_REFRESH_M`.
    """
    if len(distances_m) <= count:
        return MOST_REFRESH_M
    half_way = (distances_m[count] - distances_m[count - 1]) / 2
    return min(MOST_REFRESH_M, max(LEAST_REFRESH_M, int(half_way)))


def place_index(programme: Programme) -> PlaceIndex:
    """The index of that version's places; made once."""
    key = (programme.version, programme.digest)
    index = _kept.get(key)
    if index is None:
        index = _kept[key] = PlaceIndex(programme)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(key)
    return index


def _tree(places: list[_Placed]) -> _Node | list[_Placed]:
    if len(places) <= LEAF:
        return places
    spreads = [max(at[axis] for at, _ in places) - min(at[axis] for at, _ in places) for axis in range(3)]
    axis = spreads.index(max(spreads))
    places = sorted(places, key=lambda placed: placed[0][axis])
    middle = len(places) // 2
    return _Node(axis, places[middle][0][axis], _tree(places[:middle]), _tree(places[middle:]))


def _search(
    tree: _Node | list[_Placed], point: _Point, count: int, found: list[tuple[float, str]]
) -> list[tuple[float, str]]:
    """The nearest of the tree and of `found`: the square of the chord to each, on a sphere of radius 1, and its id."""
    if not isinstance(tree, _Node):
        x, y, z = point
        here = [((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2, place) for at, place in tree]
        return nsmallest(count, found + here)
    beyond = point[tree.axis] - tree.at
    near, far = (tree.below, tree.above) if beyond < 0 else (tree.above, tree.below)
    found = _search(near, point, count, found)
    if len(found) < count or beyond * beyond <= found[-1][0]:
        found = _search(far, point, count, found)
    return found


def _on_sphere(latitude: float, longitude: float) -> _Point:
    north, east = radians(latitude), radians(longitude)
    return cos(north) * cos(east), cos(north) * sin(east), sin(north)


def _metres(square: float) -> float:
    """The way along the sphere that belongs to the square of a chord."""
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(square) / 2))


_kept: OrderedDict[tuple[int, str], PlaceIndex] = OrderedDict()
