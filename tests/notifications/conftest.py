from collections.abc import Iterator

import pytest

from tests.ledger.conftest import shop_with
from tests.notifications.phones import Phones, opened_phones

__all__ = ("shop_with",)


@pytest.fixture(scope="session")
def running_phones() -> Iterator[Phones]:
    with opened_phones() as opened:
        yield opened


@pytest.fixture
def phones(running_phones: Phones) -> Phones:
    """FCM's stand-in, with nothing scripted and nothing received."""
    running_phones.forget()
    return running_phones
