"""What a list itself writes to people: requests to confirm, welcomes, refusals, word to the owner.

Each is from one of the list's addresses, says that a machine wrote it (RFC 3834 §5), and is sent from the
null reverse-path, so that nothing comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from services.lists.settings import MailingList, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Subject and lines of text for `to`, from the list's address for `purpose`."""

    to: str
    subject: str
    lines: tuple[str, ...]
    purpose: Purpose = "owner"
    detail: str = ""


def written(settings: MailingList, notice: Notice, *, answered: str, now: float) -> bytes:
    """Return the notice as a message; `answered` is the queue id of the mail that it answers."""
    sender = settings.at(notice.purpose, notice.detail)
    fields = [
        f'From: "{settings.local} list" <{sender}>',
        f"To: <{notice.to}>",
        f"Subject: {notice.subject}",
        f"Date: {format_datetime(datetime.fromtimestamp(now, UTC))}",
        f"Message-ID: <{answered}.{notice.purpose}@{settings.domain}>",
        "Auto-Submitted: auto-replied",
        f"List-Id: <{settings.identifier}>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {'7bit' if all(line.isascii() for line in notice.lines) else '8bit'}",
    ]
    return "".join(f"{line}\r\n" for line in (*fields, "", *notice.lines)).encode()


def to_confirm(settings: MailingList, to: str, wish: str, cookie: str) -> Notice:
    """Ask whether somebody really wants to be put on the list, or taken off it."""
    what = "put on" if wish == "subscribe" else "taken off"
    return Notice(
        to=to,
        subject=f"confirm {cookie}",
        lines=(
            f"Somebody, you we hope, wants {to} to be {what} the list {settings.address}.",
            "",
            "If that is so, just reply to this message. If it is not, do nothing.",
        ),
        purpose="confirm",
        detail=cookie,
    )


def welcome(settings: MailingList, to: str) -> Notice:
    """Tell somebody that they are on the list."""
    return Notice(
        to=to,
        subject=f"welcome to {settings.title}",
        lines=(
            f"{to} is on the list {settings.address} now.",
            "",
            f"To leave it, write to {settings.at('unsubscribe')}.",
            f"Who looks after it: {settings.at('owner')}.",
        ),
    )


def farewell(settings: MailingList, to: str) -> Notice:
    """Tell somebody that they are not on the list any more."""
    return Notice(
        to=to, subject=f"you have left {settings.title}", lines=(f"{to} gets no more mail from it.",)
    )


def already(settings: MailingList, to: str, wish: str) -> Notice:
    """Tell somebody that what they want is so already."""
    state = "is on it already" if wish == "subscribe" else "is not on it"
    return Notice(to=to, subject=f"about {settings.title}", lines=(f"{to} {state}: nothing was changed.",))


def unknown_cookie(settings: MailingList, to: str) -> Notice:
    """Tell somebody that there is nothing to confirm with this cookie."""
    return Notice(
        to=to,
        subject=f"nothing to confirm at {settings.title}",
        lines=(
            "What you have confirmed is not known, or was asked for too long ago.",
            f"Ask again: {settings.at('subscribe')} or {settings.at('unsubscribe')}.",
        ),
    )


def members_only(settings: MailingList, to: str) -> Notice:
    """Tell an author that the post was not distributed."""
    return Notice(
        to=to,
        subject=f"your message to {settings.title} was not distributed",
        lines=(
            f"Only members may write to {settings.address}, and {to} is none.",
            f"To become one, write to {settings.at('subscribe')}.",
        ),
    )


def commands(settings: MailingList, to: str) -> Notice:
    """Tell somebody what the list can be asked."""
    return Notice(
        to=to,
        subject=f"help for {settings.title}",
        lines=(
            f"{settings.address:<48} a message to all members",
            f"{settings.at('subscribe'):<48} put me on the list",
            f"{settings.at('unsubscribe'):<48} take me off it",
            f"{settings.at('owner'):<48} the person who looks after it",
        ),
    )


def member_disabled(settings: MailingList, member: str, count: int) -> Notice:
    """Tell the owner that a member gets no more copies."""
    return Notice(
        to=settings.owner_address,
        subject=f"{settings.title}: mail to a member comes back",
        lines=(
            f"{count} messages to {member} came back in a row. The member stays on the list and gets nothing",
            f"until {settings.at('subscribe')} hears from there, and it is confirmed.",
        ),
        purpose="bounces",
    )
