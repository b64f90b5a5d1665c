"""E-mail over a real SMTP server on loopback: what it got, and what became of what it refused."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from domain.members.member import Profile
from notifications.addresses import address_of
from notifications.channel import Channel, Endpoint, EndpointKind, Fate, Message, MessageCategory, Outcome
from notifications.logged import LoggedCarrier
from notifications.smtp import SmtpCarrier, SmtpServer, composed, smtp_server
from tests.notifications.mailbox import Mailbox, opened_mailbox

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)
ANA = Endpoint(id="email", kind=EndpointKind.EMAIL, value="ana@example.com")
SENDER = "Corner Club <hello@corner.example>"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with opened_mailbox() as opened:
        yield opened


def a_message(**changes: Any) -> Message:
    told: dict[str, Any] = {
        "delivery_id": "delivery-1",
        "category": MessageCategory.SERVICE,
        "title": "Dobrodošli, Ana!",
        "body": "Čakata vas 2 točki.",
        "link": "https://corner.example/wallet",
        "label": "welcome.4",
        "expires_at": NOW + timedelta(days=1),
        **changes,
    }
    return Message(**told)


async def send(port: int, message: Message, endpoint: Endpoint = ANA, *, needs_tls: bool = False) -> Outcome:
    carrier = SmtpCarrier(smtp_server(f"smtp://127.0.0.1:{port}", needs_tls=needs_tls), sender=SENDER)
    return await carrier.send(message, endpoint, now=NOW)


async def test_a_message_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    outcome = await send(mailbox.port, a_message())

    assert outcome == Outcome(fate=Fate.ACCEPTED, reason="SMTP_250")
    (mail,) = mailbox.taken
    assert (mail["From"], mail["To"]) == ("Corner Club <hello@corner.example>", "ana@example.com")
    assert (mail["Subject"], mail["Message-ID"]) == ("Dobrodošli, Ana!", "<delivery-1@corner.example>")
    assert mail["Date"] == "Mon, 06 Jul 2026 08:30:00 +0000"
    assert mail["List-Unsubscribe"] is None
    assert mail.get_content().replace("\r\n", "\n") == "Čakata vas 2 točki.\n\nhttps://corner.example/wallet\n"


async def test_marketing_says_how_to_leave(mailbox: Mailbox) -> None:
    await send(mailbox.port, a_message(category=MessageCategory.MARKETING))

    (mail,) = mailbox.taken
    assert mail["List-Unsubscribe"] == "<mailto:hello@corner.example?subject=unsubscribe>"


async def test_no_text_adds_a_header_or_a_recipient(mailbox: Mailbox) -> None:
    told = a_message(title="Hi\r\nBcc: eva@example.com", body="a\r\n.\r\nMAIL FROM:<x@example.com>\r\n", link=None)

    outcome = await send(mailbox.port, told)
    other = await send(mailbox.port, told, Endpoint(id="e", kind=EndpointKind.EMAIL, value="a@b.c\r\nBcc: e@f.g"))

    assert (outcome.fate, other) == (Fate.ACCEPTED, Outcome(fate=Fate.GONE, reason="NO_ADDRESS"))
    (mail,) = mailbox.taken
    assert (mail["Subject"], mail["Bcc"]) == ("Hi Bcc: eva@example.com", None)
    assert "MAIL FROM:<x@example.com>" in mail.get_content()


@pytest.mark.parametrize(
    ("rcpt", "data", "fate", "reason"),
    [
        ("550 No such user", "250 OK", Fate.GONE, "SMTP_550"),
        ("450 Busy", "250 OK", Fate.RETRY, "SMTP_450"),
        ("554 Not from you", "250 OK", Fate.REFUSED, "SMTP_554"),
        ("250 OK", "451 Later", Fate.RETRY, "SMTP_451"),
        ("250 OK", "554 Spam", Fate.REFUSED, "SMTP_554"),
    ],
)
async def test_a_refusal_is_told_by_its_class(mailbox: Mailbox, rcpt: str, data: str, fate: Fate, reason: str) -> None:
    mailbox.rcpt, mailbox.data = rcpt, data

    outcome = await send(mailbox.port, a_message())

    retry_at = NOW + timedelta(minutes=1) if fate is Fate.RETRY else None
    assert outcome == Outcome(fate=fate, reason=reason, retry_at=retry_at)
    assert mailbox.taken == []


async def test_a_connection_that_breaks_after_the_message_leaves_it_open_and_one_that_never_was_does_not(
    mailbox: Mailbox,
) -> None:
    mailbox.drops = True

    broken = await send(mailbox.port, a_message())
    nobody = await send(1, a_message())
    insecure = await send(mailbox.port, a_message(), needs_tls=True)

    assert (broken.fate, len(mailbox.taken)) == (Fate.AMBIGUOUS, 1)
    assert nobody.fate is Fate.RETRY
    assert insecure.fate is Fate.RETRY


async def test_a_message_goes_over_starttls_to_a_server_that_proves_who_it_is(tmp_path: Path) -> None:
    box = Mailbox()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    certificate = self_signed(tmp_path)
    theirs.load_cert_chain(certificate)
    ours.load_verify_locations(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, tls_context=theirs, require_starttls=True), "127.0.0.1", 0
    )
    where = smtp_server(f"smtp://localhost:{server.sockets[0].getsockname()[1]}", needs_tls=True)

    trusted = await SmtpCarrier(where, sender=SENDER, tls=ours).send(a_message(), ANA, now=NOW)
    stranger = await SmtpCarrier(where, sender=SENDER).send(a_message(), ANA, now=NOW)
    server.close()

    assert trusted.fate is Fate.ACCEPTED
    assert (stranger.fate, len(box.taken)) == (Fate.RETRY, 1)


async def test_a_sandbox_writes_down_what_it_would_have_sent_and_nothing_of_the_member() -> None:
    with capture_logs() as lines:
        outcome = await LoggedCarrier(Channel.EMAIL).send(a_message(), ANA, now=NOW)

    assert outcome == Outcome(fate=Fate.ACCEPTED, reason="LOGGED")
    assert lines == [
        {
            "event": "message.logged",
            "log_level": "info",
            "channel": "EMAIL",
            "delivery": "delivery-1",
            "category": "SERVICE",
            "label": "welcome.4",
            "kind": "EMAIL",
            "at": "2026-07-06T08:30:00+00:00",
        }
    ]


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate for localhost, valid now."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


async def test_nothing_is_taken_back_by_mail(mailbox: Mailbox) -> None:
    outcome = await send(mailbox.port, a_message(recalls=True))

    assert outcome == Outcome(fate=Fate.REFUSED, reason="NOT_RECALLABLE")
    assert mailbox.taken == []


def test_a_server_is_read_from_its_address() -> None:
    read = smtp_server("smtps://ana%40corner.example:p%3Ass@mail.example", needs_tls=True)

    assert read == SmtpServer(
        host="mail.example", port=465, username="ana@corner.example", password="p:ss", is_tls=True, needs_tls=True
    )
    assert "p:ss" not in repr(read)
    assert composed(a_message(title=None), sender="a@b.example", to="c@d.example", now=NOW)["Subject"] == (
        "Čakata vas 2 točki."
    )


def test_an_email_needs_an_address_and_an_sms_a_number() -> None:
    profile = Profile(email="ana@example.com", phone="+38640123456")

    assert address_of(profile, Channel.EMAIL) == ANA
    assert address_of(profile, Channel.SMS) == Endpoint(id="phone", kind=EndpointKind.PHONE, value="+38640123456")
    assert address_of(Profile(), Channel.EMAIL) is None
    assert address_of(profile, Channel.PUSH) is None
