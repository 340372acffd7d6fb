"""What comes of a message that came to one of a list's addresses.

Theory of operation. A decision is what is to be written down and what is to be sent, in this order of doing:
mail is put into the queue, then the entries into the journal, then the message is done with. A crash between
two of them repeats the whole; what has its queue id in the journal is not done again.

    post        from a machine's answer: ignored. It has been here before: a loop. Not by a member: refused.
                Otherwise every member gets a copy, with a reverse-path of their own
    bounces     the member is counted against, and left out at the limit
    subscribe, unsubscribe, confirm, request    commands; machines get no answer
    owner       goes on to the owner
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.filters.header import values
from services.lists import notices
from services.lists.automatic import author, is_by_machine, is_reply_by_machine, says_failed
from services.lists.notices import Notice
from services.lists.posts import distributed, identifiers
from services.lists.roster import Entry, Roster, Wish
from services.lists.settings import MailingList, Purpose, may_be_member, returned_for

# A stranger who asks in somebody's name may bother them this often.
_COOKIE_SENT_AT_MOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message to one of the list's addresses: `sender` is the reverse-path, empty if null."""

    id: str
    sender: str
    content: bytes
    purpose: Purpose
    detail: str
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to send, from the reverse-path `sender` (empty: null); `copy`: of a post."""

    sender: str
    recipient: str
    content: bytes
    copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was done, in a word that events tell; about whom; and what is to be written and sent."""

    action: str
    address: str = ""
    entries: tuple[Entry, ...] = ()
    outgoing: tuple[Outgoing, ...] = ()


def decide(settings: MailingList, roster: Roster, mail: Incoming, *, cookie: Callable[[], str]) -> Decision:
    """Return what comes of a message; `cookie` gives one that nobody can guess."""
    if roster.knows(mail.id):
        return Decision(action="repeated")
    if mail.purpose == "post":
        return _post(settings, roster, mail)
    if mail.purpose == "bounces":
        return _returned(settings, roster, mail)
    if mail.purpose == "owner":
        return _forwarded(settings, mail)
    if is_by_machine(mail.content, mail.sender):
        return Decision(action="ignored", address=mail.sender)
    return _commanded(settings, roster, mail, cookie)


def _post(settings: MailingList, roster: Roster, mail: Incoming) -> Decision:
    by = author(mail.content, mail.sender)
    if is_reply_by_machine(mail.content, mail.sender):
        return Decision(action="ignored", address=by)
    if {settings.address.lower(), settings.identifier.lower()} & identifiers(mail.content):
        return Decision(action="looped", address=by)
    if settings.posting == "members" and by not in roster and mail.sender not in roster:
        if is_by_machine(mail.content, mail.sender):
            return Decision(action="refused", address=by)
        return _answer(settings, mail, notices.members_only(settings, mail.sender), "refused")
    content = distributed(settings, mail.content)
    copies = tuple(
        Outgoing(sender=settings.return_path(member), recipient=member, content=content, copy=True)
        for member in roster.reached()
    )
    done = Entry(did="posted", at=mail.now, id=mail.id)
    return Decision(action="posted", address=by, entries=(done,), outgoing=copies)


def _returned(settings: MailingList, roster: Roster, mail: Incoming) -> Decision:
    if not mail.detail:
        # Of no copy: what the list forwarded to its owner, and what people sent here by mistake.
        return _forwarded(settings, mail) if mail.sender else Decision(action="ignored")
    member = roster.member(returned_for(mail.detail))
    # What has a sender is an answer by a machine, such as "I am on holiday" (RFC 3834 §4).
    if member is None or mail.sender or not says_failed(mail.content):
        return Decision(action="ignored", address=returned_for(mail.detail))
    count = roster.bounces_with(member.address, mail.now)
    entry = Entry(did="bounced", at=mail.now, address=member.address, id=mail.id, count=count)
    if member.disabled or count < settings.bounce_limit:
        return Decision(action="bounced", address=member.address, entries=(entry,))
    out = Entry(did="disabled", at=mail.now, address=member.address)
    notice = notices.member_disabled(settings, member.address, count)
    return Decision(
        action="disabled",
        address=member.address,
        entries=(entry, out),
        outgoing=(_sent(settings, mail, notice),),
    )


def _forwarded(settings: MailingList, mail: Incoming) -> Decision:
    owner = settings.owner_address
    sender = settings.at("bounces") if mail.sender else ""
    going = Outgoing(sender=sender, recipient=owner, content=mail.content)
    return Decision(action="forwarded", address=owner, outgoing=(going,))


def _commanded(settings: MailingList, roster: Roster, mail: Incoming, cookie: Callable[[], str]) -> Decision:
    by = author(mail.content, mail.sender)
    if not may_be_member(by):
        return Decision(action="ignored", address=by)
    if mail.purpose == "confirm":
        return _confirmed(settings, roster, mail, by)
    subject = b" ".join(values(mail.content, "Subject")).decode("utf-8", "replace").lower().split()
    said = subject[0] if mail.purpose == "request" and subject else mail.purpose
    if said in ("subscribe", "join"):
        return _asked(settings, roster, mail, by, "subscribe", cookie)
    if said in ("unsubscribe", "leave"):
        return _asked(settings, roster, mail, by, "unsubscribe", cookie)
    return _answer(settings, mail, notices.commands(settings, by), "helped")


def _asked(
    settings: MailingList, roster: Roster, mail: Incoming, by: str, wish: Wish, cookie: Callable[[], str]
) -> Decision:
    member = roster.member(by)
    is_on = member is not None and not member.disabled
    if is_on if wish == "subscribe" else member is None:
        return _answer(settings, mail, notices.already(settings, by, wish), "unchanged")
    open_request = roster.requested(by, wish, mail.now)
    if open_request and open_request.times >= _COOKIE_SENT_AT_MOST:
        return Decision(action="ignored", address=by)
    entry = Entry(
        did="asked",
        at=mail.now,
        address=by,
        id=mail.id,
        wish=wish,
        cookie=open_request.cookie if open_request else cookie(),
        count=open_request.times + 1 if open_request else 1,
    )
    notice = notices.to_confirm(settings, by, wish, entry.cookie)
    return _answer(settings, mail, notice, "asked", entry)


def _confirmed(settings: MailingList, roster: Roster, mail: Incoming, by: str) -> Decision:
    request = roster.request(mail.detail, mail.now)
    if request is None:
        return _answer(settings, mail, notices.unknown_cookie(settings, by), "unknown-cookie")
    joins = request.wish == "subscribe"
    entry = Entry(
        did="subscribed" if joins else "unsubscribed",
        at=mail.now,
        address=request.address,
        id=mail.id,
        cookie=request.cookie,
    )
    notice = (notices.welcome if joins else notices.farewell)(settings, request.address)
    return _answer(settings, mail, notice, entry.did, entry)


def _answer(settings: MailingList, mail: Incoming, notice: Notice, action: str, *entries: Entry) -> Decision:
    outgoing = (_sent(settings, mail, notice),) if notice.to else ()
    return Decision(action=action, address=notice.to, entries=entries, outgoing=outgoing)


def _sent(settings: MailingList, mail: Incoming, notice: Notice) -> Outgoing:
    content = notices.written(settings, notice, answered=mail.id, now=mail.now)
    return Outgoing(sender="", recipient=notice.to, content=content)
