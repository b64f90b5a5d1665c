from collections.abc import AsyncIterator

import pytest

from tests.notifications.firebase.sender import Sender, opened_sender
from tests.notifications.phones import Phones


@pytest.fixture
async def sender(phones: Phones) -> AsyncIterator[Sender]:
    async with opened_sender(phones.url) as opened:
        yield opened
