"""What a programme's check says a push message measures is never less than what the sender sends."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.programme.template import Rendered
from domain.programme.template_checks import push_bytes
from notifications.channel import Endpoint, EndpointKind, Message, MessageCategory, Platform
from notifications.firebase.admin import wire_body

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("platform", [*Platform, None])
def test_the_check_measures_at_least_what_is_sent(platform: Platform | None) -> None:
    text = Rendered(
        locale="ru",
        title="Добро пожаловать, «Ана»!",
        body='Добро пожаловать: "подарок" 🎁\n' * 20,
        link="https://corner.example/place/" + "a" * 100,
        image_url="https://corner.example/" + "b" * 100 + ".png",
    )
    message = Message(
        delivery_id="d" * 64,
        category=MessageCategory.TRANSACTIONAL,
        title=text.title,
        body=text.body,
        link=text.link,
        image_url=text.image_url,
        label="l" * 50,
        expires_at=NOW + timedelta(days=28),
    )
    endpoint = Endpoint(id="phone", kind=EndpointKind.TOKEN, value="x", platform=platform)

    assert len(wire_body(message, endpoint, now=NOW)) <= push_bytes(text) + len('{"message":,"token":"x"}')
