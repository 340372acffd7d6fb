"""Handing messages straight to a server on port 25, without an account: what spammers do, and tests.

    receipt = await inject(Injection(via=("open-1.example.net", …), …), message, sender, recipients)

The first host of `via` is connected to; the path of each recipient names the rest. A host that relays for
anybody honours that and takes itself off. There are two notations:

    source route    <@open-2.example.net:bob@example.org>                      RFC 821 §3.1
    percent hack    <bob%example.org%open-2.example.net@open-1.example.net>    RFC 1123 §5.2.16

The reverse-path and the content are whatever the caller says: nobody checks them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.smtp.address import Address, parse_address
from services.smtp.client import ClientSession, Timeouts, Unreachable
from services.smtp.connection import connect_over, reason
from services.smtp.envelope import Envelope
from services.smtp.errors import SubmissionFailed
from services.smtp.mua import Receipt, connected, receipt, with_crlf
from services.smtp.trace import header_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """By way of which hosts (names in DNS, one at least) messages go, and how that is written."""

    via: tuple[str, ...]
    hostname: str
    percent: bool = False
    port: int = 25
    timeout_s: float = 60.0


def path(recipient: Address, via: Sequence[str], *, percent: bool) -> Address:
    """Return the forward-path that the first host of `via` is given."""
    if not percent:
        return Address(local=recipient.local, domain=recipient.domain, route=tuple(via[1:]))
    hosts = [recipient.domain, *reversed(via[1:])]
    return Address(local="%".join((recipient.local, *hosts)), domain=via[0])


async def inject(injection: Injection, message: bytes, sender: str, recipients: Sequence[str]) -> Receipt:
    """Hand a message to the first host; return its receipt.

    Raises: SubmissionFailed if it takes no recipient or cannot be reached; BadAddress.
    """
    content = with_crlf(message)
    names = {
        path(parse_address(recipient), injection.via, percent=injection.percent): recipient
        for recipient in recipients
    }
    envelope = Envelope(
        sender=parse_address(sender) if sender else None,
        recipients=tuple(names),
        body="7BIT" if content.isascii() else "8BITMIME",
        smtputf8=not header_section(content).isascii(),
    )
    server = injection.via[0]
    try:
        sock = await connected(server, injection.port, injection.timeout_s)
        timeouts = Timeouts(connect_s=injection.timeout_s, command_s=injection.timeout_s)
        connection = await connect_over(sock)
        session = await ClientSession.greet(connection, server, helo=injection.hostname, timeouts=timeouts)
    except Unreachable as error:
        raise SubmissionFailed(
            f"{server} said: {error}", reply=str(error), temporary=not error.reply.permanent
        ) from error
    except OSError as error:
        raise SubmissionFailed(f"{server}:{injection.port}: {reason(error)}", temporary=True) from error
    async with session:
        replies = await session.send(envelope, content)
    return receipt(server, {names[address]: reply for address, reply in replies.items()})
