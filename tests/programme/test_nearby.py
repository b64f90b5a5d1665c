"""The nearest places, against looking at every one by another formula."""

from math import acos, cos, radians, sin
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.programme.definition import load_definition
from domain.programme.nearby import (
    EARTH_RADIUS_M,
    LEAST_REFRESH_M,
    MOST_REFRESH_M,
    PlaceIndex,
    place_index,
    refresh_radius_m,
)
from domain.programme.programme import Programme, compile_programme

SOURCE = (Path(__file__).parents[2] / "programme.yaml").read_text(encoding="utf-8")
SITES = st.lists(st.tuples(st.integers(-90, 90), st.integers(-180, 180)), max_size=150, unique=True)


def with_places(sites: list[tuple[float, float]]) -> Programme:
    head, _, _ = SOURCE.partition("\nplaces:\n")
    definition = load_definition(head.replace("pilot: {places: [store-330, store-424]}, ", ""))
    section = type(load_definition(SOURCE).places[0])
    places = [
        section.model_validate({"id": f"p{n}", "name": "P", "location": {"latitude": lat, "longitude": lon}})
        for n, (lat, lon) in enumerate(sites)
    ]
    return compile_programme(definition.model_copy(update={"places": places}), 1)


def metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The spherical law of cosines."""
    (lat, lon), (to_lat, to_lon) = one, other
    north, to_north = radians(lat), radians(to_lat)
    cosine = sin(north) * sin(to_north) + cos(north) * cos(to_north) * cos(radians(to_lon - lon))
    return EARTH_RADIUS_M * acos(max(-1.0, min(1.0, cosine)))


@given(sites=SITES, latitude=st.integers(-90, 90), longitude=st.integers(-180, 180), count=st.integers(1, 100))
def test_the_nearest_are_those_that_looking_at_every_one_finds(
    sites: list[tuple[float, float]], latitude: int, longitude: int, count: int
) -> None:
    found = PlaceIndex(with_places(sites)).nearest(latitude, longitude, count)

    away = [metres((latitude, longitude), sites[int(place[1:])]) for place in found.places]
    assert len(set(found.places)) == len(away) == min(count, len(sites))
    nearest = sorted(metres((latitude, longitude), site) for site in sites)[:count]
    assert away == pytest.approx(nearest, abs=1.0)


def test_the_date_line_and_the_poles_are_no_border() -> None:
    index = PlaceIndex(with_places([(0.0, 179.99), (0.0, 179.0), (89.9, 10.0), (80.0, -170.0)]))

    assert index.nearest(0.0, -179.99, 2).places == ("p0", "p1")
    assert index.nearest(89.9, -170.0, 2).places == ("p2", "p3")


def test_places_at_one_distance_come_by_id() -> None:
    index = PlaceIndex(with_places([(0.0, 1.0), (0.0, -1.0), (0.0, 1.0)]))

    assert index.nearest(0.0, 0.0, 3).places == ("p0", "p1", "p2")


def test_a_programme_without_places_has_none_near() -> None:
    assert PlaceIndex(with_places([])).nearest(46.05, 14.5, 19).places == ()


def test_the_radius_is_half_way_to_where_another_place_takes_over() -> None:
    assert refresh_radius_m([100.0, 2_000.0, 5_001.0], 2) == 1_500
    assert refresh_radius_m([100.0, 2_000.0, 2_001.0], 2) == LEAST_REFRESH_M
    assert refresh_radius_m([100.0, 2_000_000.0], 1) == MOST_REFRESH_M
    assert refresh_radius_m([100.0, 2_000.0], 2) == MOST_REFRESH_M


@given(bearing=st.integers(0, 359), part=st.floats(0, 1))
def test_within_the_radius_the_nearest_stay_the_nearest(bearing: int, part: float) -> None:
    sites = [(46.0, 14.5), (46.1, 14.5), (46.05, 14.7), (46.3, 14.2), (45.8, 14.9)]
    index, here = PlaceIndex(with_places(sites)), (46.06, 14.52)

    for count in (1, 2, 3, 4):
        found = index.nearest(*here, count)
        far = part * found.refresh_radius_m / EARTH_RADIUS_M
        north = here[0] + far * cos(radians(bearing)) * 57.29577
        east = here[1] + far * sin(radians(bearing)) * 57.29577 / cos(radians(here[0]))
        assert found.refresh_radius_m > LEAST_REFRESH_M
        assert set(index.nearest(north, east, count).places) == set(found.places)


def test_the_version_changes_with_the_places_and_with_nothing_else() -> None:
    lines = SOURCE.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  - {id: store-330"))
    swapped = [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]
    sources = [
        SOURCE,
        SOURCE.replace("late_days: 400", "late_days: 30"),
        "\n".join(swapped),
        SOURCE.replace("radius_m: 250", "radius_m: 300"),
        SOURCE.replace("closed: [2017-12-25]", "closed: [2017-12-26]"),
    ]

    versions = [PlaceIndex(compile_programme(load_definition(source), 1)).version for source in sources]

    assert versions[1] == versions[2] == versions[0]
    assert len({versions[0], *versions[3:]}) == 3


def test_an_index_is_made_once_for_a_version() -> None:
    programme = compile_programme(load_definition(SOURCE), 1, digest="one")

    assert place_index(programme) is place_index(programme)
