from collections.abc import Callable
from pathlib import Path

import pytest

from domain.programme.definition import read_definition
from domain.programme.programme import Programme, compile_programme
from tests.ledger.conftest import member, shop, shop_with

__all__ = ("member", "shop", "shop_with")

EXAMPLE = Path(__file__).parents[2] / "programme.yaml"

HEAD = """
programme: test
name: {en: Test}
currency: EUR
time_zone: Europe/Ljubljana
locales: {default: en, supported: [en, sl]}
"""


@pytest.fixture(scope="session")
def example_source() -> str:
    """The example programme as its makers wrote it."""
    return EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def example(example_source: str) -> Programme:
    return compile_programme(read_definition(example_source), 1)


@pytest.fixture(scope="session")
def programme_with() -> Callable[[str], Programme]:
    """A small programme in euros and Slovenia's days, with those sections added."""

    def build(sections: str) -> Programme:
        return compile_programme(read_definition(HEAD + sections), 1)

    return build
