"""The delivery agent of mailing lists: what is delivered to a list's addresses goes through here.

Theory of operation. A list's addresses are mailboxes of this server, and what comes to them is filed like all
mail: that is the archive. Before the message is done with, the list is told of it:

    decided (services.lists) ─ a post is sealed, if the list does that ─ all that goes out is in the queue
        ─ the journal has it ─ the event `list`

One message of a list at a time: each sees what the one before it has changed. If queue or journal cannot be
written, the message waits like any other and is decided anew; who got a copy by then may get a second one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.errors import ConfigError, ServiceError
from services.filters.header import fields, header_length
from services.filters.signing import Signer
from services.lists.decisions import Decision, Incoming, Outgoing, decide
from services.lists.journal import Journal
from services.lists.roster import Roster
from services.lists.settings import PURPOSES, MailingList, Purpose
from services.notices import Notices
from services.smtp.address import parse_address
from services.smtp.config import MtaConfig, Signing
from services.smtp.envelope import Envelope
from services.smtp.message import QueuedMessage, Recipient
from services.smtp.policy import Mailbox
from services.smtp.queue import Queue
from services.smtp.streams import Streams

if TYPE_CHECKING:
    from services.filters.authentication import Resolver

log = logging.getLogger(__name__)

_ARRIVAL = re.compile(rb"Received: from (\S+) \(\[(?:IPv6:)?([^\]\s]+)\]\)\r\n\tby ")


@dataclass(slots=True, kw_only=True)
class _Running:
    """A list, its state, and whose turn it is."""

    settings: MailingList
    roster: Roster
    journal: Journal
    turn: asyncio.Lock


class ListAgent:
    """The lists of one mail server; `open` comes first."""

    def __init__(
        self,
        config: MtaConfig,
        *,
        queue: Queue,
        notices: Notices,
        signer: Signer,
        streams: Streams,
        clock: Callable[[], float],
        resolver: Resolver | None = None,
    ) -> None:
        """`resolver` stands in for the name servers of the configuration. Raises: ConfigError."""
        self._config = config
        self._queue = queue
        self._notices = notices
        self._signer = signer
        self._streams = streams
        self._clock = clock
        self._resolver = resolver
        self._lists: dict[Mailbox, tuple[_Running, Purpose]] = {}
        for settings in config.lists:
            if settings.seal:
                _sealing_key(config, settings)

    async def open(self) -> None:
        """Read the journals. Raises: ServiceError."""
        for settings in self._config.lists:
            journal = Journal(self._config.list_journals / f"{settings.address}.journal")
            try:
                roster = await asyncio.to_thread(journal.open, settings, self._clock())
            except OSError as error:
                raise ServiceError(f"lists: {error.filename}: {error.strerror}") from error
            running = _Running(settings=settings, roster=roster, journal=journal, turn=asyncio.Lock())
            for purpose in PURPOSES:
                name = parse_address(settings.at(purpose)).canonical
                self._lists[Mailbox(domain=name.domain, user=name.local)] = running, purpose

    async def heed(
        self, message: QueuedMessage, content: bytes, recipient: Recipient, mailbox: Mailbox
    ) -> None:
        """Let a list do what a message to the mailbox asks of it; any other mailbox is no list's.

        Raises: OSError, SpoolUnavailable: then it has to come again.
        """
        found = self._lists.get(mailbox)
        if found is None:
            return
        running, purpose = found
        detail = parse_address(recipient.address).canonical.local.removeprefix(mailbox.user).removeprefix("+")
        # Mail to two of a list's addresses is two pieces of mail.
        mail = Incoming(
            id=message.id if recipient.number == 0 else f"{message.id}.{recipient.number}",
            sender=message.sender,
            content=content,
            purpose=purpose,
            detail=detail,
            now=self._clock(),
        )
        async with running.turn:
            decision = decide(running.settings, running.roster, mail, cookie=lambda: secrets.token_hex(10))
            copies = await self._send(running.settings, mail, decision)
            if decision.entries:
                await asyncio.to_thread(running.journal.append, decision.entries)
            for entry in decision.entries:
                running.roster.apply(entry)
        self._notices.event(
            "list",
            id=message.id,
            list=running.settings.address,
            action=decision.action,
            address=decision.address,
            copies=copies,
        )

    async def _send(self, settings: MailingList, mail: Incoming, decision: Decision) -> dict[str, str]:
        """Put everything into the queue, together; return the queue ids by recipient."""
        outgoing = decision.outgoing
        if settings.seal and any(each.copy for each in outgoing):
            sealed = await self._sealed(settings, mail, outgoing[0].content)
            outgoing = tuple(replace(each, content=sealed) for each in outgoing)
        queued = await asyncio.gather(*(self._commit(each) for each in outgoing))
        return {each.recipient: one.id for each, one in zip(outgoing, queued, strict=True)}

    async def _commit(self, going: Outgoing) -> QueuedMessage:
        def compose(_: str, now: float) -> bytes:
            return self._signer.field(going.content, now=now) + going.content

        recipient = parse_address(going.recipient)
        envelope = Envelope(
            sender=parse_address(going.sender) if going.sender else None,
            recipients=(recipient,),
            body="7BIT" if going.content.isascii() else "8BITMIME",
            smtputf8=not going.content[: header_length(going.content)].isascii(),
        )
        return await self._queue.commit(envelope, compose)

    async def _sealed(self, settings: MailingList, mail: Incoming, content: bytes) -> bytes:
        """Return the post with the list's ARC set on top; without one if it cannot be sealed."""
        # To import it takes a tenth of a second, which servers without such lists do not need.
        from services.filters.authentication import HostResolver, SealingFailed, authenticate, seal

        original, helo, client = _as_it_came(mail.content, self._config.hostname)
        resolver = self._resolver or HostResolver(
            self._config.nameservers,
            port=self._config.nameserver_port,
            rng=self._streams.stream("authentication", mail.id),
        )
        found = await authenticate(
            original,
            client=client,
            helo=helo,
            sender=mail.sender,
            resolver=resolver,
            authserv_id=self._config.hostname,
            now=mail.now,
        )
        signing = _sealing_key(self._config, settings)
        try:
            fields = await asyncio.to_thread(
                seal,
                content,
                found,
                domain=signing.domain,
                selector=signing.selector,
                key=await asyncio.to_thread(signing.key.read_bytes),
                now=mail.now,
            )
        except SealingFailed as error:
            log.warning("%s: not sealed: %s", mail.id, error)
            return content
        return fields + content


def _sealing_key(config: MtaConfig, settings: MailingList) -> Signing:
    found = next((each for each in config.signing if each.domain == settings.domain.lower()), None)
    if found is None:
        raise ConfigError(f"lists: {settings.address}: seal needs a key of {settings.domain} in [[signing]]")
    return found


def _as_it_came(content: bytes, hostname: str) -> tuple[bytes, str, str]:
    """Return a message without this server's own Received field, and the HELO name and address in that.

    Without such a field it is from this server itself: a copy of another list's post.
    """
    first = next(fields(content[: header_length(content)]), b"")
    found = _ARRIVAL.match(first)
    if not found:
        return content, hostname, "127.0.0.1"
    return content[len(first) :], found[1].decode("utf-8", "replace"), found[2].decode("ascii", "replace")
