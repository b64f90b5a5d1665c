"""E-mail over SMTP: one message to one address, and the server's answer as an outcome.

The replies of RFC 5321 become fates: 4xx is tried again, 5xx about the address ends the address, every other 5xx is
about us. Until the message itself is on its way nothing was sent; from then to the server's answer nobody knows. No
text of a message can add a header: each is one line, and the library refuses what is not.
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_LINES
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import aiosmtplib
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from notifications.alarm import alarm
from notifications.channel import Channel, Endpoint, EndpointKind, Fate, Message, MessageCategory, Outcome
from notifications.unsubscribing import UnsubscribeLinks

TIMEOUT_SECONDS: Final = 10.0
RETRY_AFTER: Final = timedelta(minutes=1)
MAX_CONNECTIONS: Final = 10
MAX_SUBJECT: Final = 200
_PORTS: Final = {"smtp": 587, "smtps": 465}
_NO_MAILBOX: Final = frozenset({550, 551, 553})
"""RFC 5321 §4.2.2: unavailable, not local, or a name that is not allowed."""
_LINES: Final = SMTP_LINES.clone(cte_type="7bit", max_line_length=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where messages are handed in. `is_tls` from the first byte; else by STARTTLS, where `needs_tls` insists on it."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    is_tls: bool
    needs_tls: bool


def smtp_server(url: str, *, needs_tls: bool) -> SmtpServer:
    """The server of a checked ``smtp://user:password@host:587`` or ``smtps://…`` address."""
    parts = urlsplit(url)
    assert parts.hostname is not None, "checked by the settings"
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        is_tls=parts.scheme == "smtps",
        needs_tls=needs_tls,
    )


def composed(
    message: Message, *, sender: str, to: str, now: datetime, links: UnsubscribeLinks | None = None
) -> EmailMessage:
    """The e-mail. Its Message-ID is the delivery's, so that one sent twice is the same one to a mailbox.

    A MARKETING message says how to leave (RFC 2369): by mail, and where we are reached by HTTPS, with one click
    (RFC 8058). Raises ValueError for an address that is none.
    """
    name, own = parseaddr(sender)
    mail = EmailMessage(policy=_LINES)
    mail["From"] = Address(display_name=name, addr_spec=own)
    mail["To"] = Address(addr_spec=to)
    mail["Subject"] = " ".join((message.title or message.body).split())[:MAX_SUBJECT]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{quote(message.delivery_id, safe='')}@{own.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.category is MessageCategory.MARKETING:
        ways = [f"<mailto:{own}?subject=unsubscribe>"]
        if links is not None and links.url.startswith("https://"):
            ways.insert(0, f"<{links.of(message.delivery_id)}>")
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail["List-Unsubscribe"] = ", ".join(ways)
    mail.set_content(message.body if message.link is None else f"{message.body}\n\n{message.link}")
    return mail


class SmtpCarrier:
    """Hands messages in, each over a connection of its own, at most `MAX_CONNECTIONS` at once."""

    channel = Channel.EMAIL

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        links: UnsubscribeLinks | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._links = links
        self._sender = sender
        self._tls = tls
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)

    async def send(self, message: Message, endpoint: Endpoint, *, now: datetime) -> Outcome:
        """What became of the message; a silent one that takes another back is nothing that e-mail can do."""
        assert endpoint.kind is EndpointKind.EMAIL, endpoint.kind
        if message.recalls:
            return Outcome(fate=Fate.REFUSED, reason="NOT_RECALLABLE")
        try:
            mail = composed(message, sender=self._sender, to=endpoint.value, now=now, links=self._links)
            endpoint.value.encode("ascii")
        except ValueError:
            return Outcome(fate=Fate.GONE, reason="NO_ADDRESS")
        async with self._connections:
            return await self._handed_in(mail, endpoint.value, now)

    async def close(self) -> None:
        """No connection outlives its message."""

    async def _handed_in(self, mail: EmailMessage, to: str, now: datetime) -> Outcome:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.is_tls,
            start_tls=False if server.is_tls else server.needs_tls or None,
            tls_context=self._tls,
            timeout=TIMEOUT_SECONDS,
        )
        try:
            outcome = await self._said(client, mail, to, now)
        finally:
            client.close()
        return outcome

    async def _said(self, client: aiosmtplib.SMTP, mail: EmailMessage, to: str, now: datetime) -> Outcome:
        try:
            await client.connect()
            await client.mail(parseaddr(self._sender)[1])
            await client.rcpt(to)
        except SMTPAuthenticationError as error:
            alarm("smtp-credentials", code=error.code)
            return _again(f"SMTP_{error.code}", now)
        except SMTPRecipientRefused as error:
            return _refused(error.code, now, gone=error.code in _NO_MAILBOX)
        except SMTPResponseException as error:
            return _refused(error.code, now)
        except (SMTPException, OSError) as error:
            return _again(type(error).__name__, now)
        try:
            await client.data(mail.as_bytes())
        except SMTPDataError as error:
            return _refused(error.code, now)
        except (SMTPException, OSError) as error:
            return Outcome(fate=Fate.AMBIGUOUS, reason=type(error).__name__, retry_at=now + RETRY_AFTER)
        return Outcome(fate=Fate.ACCEPTED, reason="SMTP_250")


def _refused(code: int, now: datetime, *, gone: bool = False) -> Outcome:
    if 400 <= code < 500:  # noqa: PLR2004 -- RFC 5321 §4.2.1: not now
        return _again(f"SMTP_{code}", now)
    if code < 0:  # the library's own, where the connection broke
        return _again("SMTP_NO_REPLY", now)
    return Outcome(fate=Fate.GONE if gone else Fate.REFUSED, reason=f"SMTP_{code}")


def _again(reason: str, now: datetime) -> Outcome:
    return Outcome(fate=Fate.RETRY, reason=reason, retry_at=now + RETRY_AFTER)
