"""The arguments of MAIL, RCPT and BDAT: paths, and the parameters of the extensions that are offered.

RFC 5321 §4.1.1.2, §4.1.1.3 and §4.1.1.11; SIZE from RFC 1870 §4, BODY from RFC 6152 §2, SMTPUTF8 from
RFC 6531 §3.4, AUTH from RFC 4954 §5, RET, ENVID, NOTIFY and ORCPT from RFC 3461 §4, BDAT from RFC 3030 §2.
What does not read is refused with the reply that says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from services.smtp.address import Address, parse_path, printable
from services.smtp.envelope import Body, Returned, Wishes
from services.smtp.errors import BadAddress
from services.smtp.replies import Reply
from services.smtp.xtext import is_original_recipient, is_xtext

_DSN_WORDS = ("SUCCESS", "FAILURE", "DELAY")
_LONGEST_KNOWN = 320  # of what is remembered: strangers may send arguments of any length
_LONGEST_ENVID = 100  # RFC 3461 §4.4
_LONGEST_ORCPT = 500  # RFC 3461 §4.2
_BDAT = re.compile(r"([0-9]{1,20})(?:[ ]+(LAST))?", re.IGNORECASE)


class Refused(Exception):
    """The command gets `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True, kw_only=True)
class MailArguments:
    """What MAIL says: the sender, None for the null reverse-path, and how the message travels."""

    sender: Address | None
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Returned = ""
    envid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RcptArguments:
    """What RCPT says: the recipient, and what the sender wishes to be told about them."""

    recipient: Address
    wishes: Wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a session may say: `extended` after EHLO, `submission` on an MSA."""

    hostname: str
    extended: bool
    submission: bool
    size_limit: int


def read_mail(arg: str, dialect: Dialect) -> MailArguments:
    """Return the arguments of MAIL. Raises: Refused."""
    return (_known_mail if len(arg) <= _LONGEST_KNOWN else _read_mail)(arg, dialect)


def _read_mail(arg: str, dialect: Dialect) -> MailArguments:
    sender, parameters = _path(arg, "FROM:", "5.1.7", dialect)
    # A reverse-path's source route says nothing that bounces could rely on (RFC 5321 appendix C).
    arguments = MailArguments(sender=replace(sender, route=()) if sender and sender.route else sender)
    for name, value in parameters:
        arguments = _with_parameter(arguments, name, value, dialect)
    if sender:
        _check_ascii(sender, arguments.smtputf8)
    return arguments


def read_rcpt(arg: str, dialect: Dialect, *, smtputf8: bool) -> RcptArguments:
    """Return the arguments of RCPT; `smtputf8` is what MAIL said. Raises: Refused."""
    return (_known_rcpt if len(arg) <= _LONGEST_KNOWN else _read_rcpt)(arg, dialect, smtputf8)


def _read_rcpt(arg: str, dialect: Dialect, smtputf8: bool) -> RcptArguments:
    recipient, parameters = _path(arg, "TO:", "5.1.3", dialect)
    if recipient is None:
        raise Refused(Reply(501, "5.1.3", "a recipient cannot be the null path"))
    wishes = Wishes()
    for name, value in parameters:
        wishes = _with_wish(wishes, name, value, smtputf8)
    _check_ascii(recipient, smtputf8)
    return RcptArguments(recipient=recipient, wishes=wishes)


# The same few people write to the same few: what they are called by is read once.
_known_mail = lru_cache(maxsize=1024)(_read_mail)
_known_rcpt = lru_cache(maxsize=1024)(_read_rcpt)


def read_bdat(arg: str) -> tuple[int, bool] | None:
    """Return the number of octets that follow BDAT and whether they are the last; None if it does not say."""
    found = _BDAT.fullmatch(arg)
    return (int(found[1]), bool(found[2])) if found else None


def too_large(limit: int) -> Reply:
    """Return the reply to a message of more than `limit` bytes (RFC 1870 §6.1)."""
    return Reply(552, "5.3.4", f"message exceeds {limit} bytes")


def _with_parameter(arguments: MailArguments, name: str, value: str, dialect: Dialect) -> MailArguments:
    match name:
        case "SIZE" if value.isdecimal() and value.isascii() and len(value) <= 20:
            if int(value) > dialect.size_limit:
                raise Refused(too_large(dialect.size_limit))
            return arguments
        case "BODY" if value.upper() in ("7BIT", "8BITMIME"):
            return replace(arguments, body="8BITMIME" if value.upper() == "8BITMIME" else "7BIT")
        case "SMTPUTF8" if not value:
            return replace(arguments, smtputf8=True)
        case "RET" if value.upper() in ("FULL", "HDRS"):
            return replace(arguments, ret="FULL" if value.upper() == "FULL" else "HDRS")
        case "ENVID" if value and len(value) <= _LONGEST_ENVID and is_xtext(value):
            return replace(arguments, envid=value)
        case "AUTH" if value and dialect.submission:
            return arguments  # On whose behalf a client says it speaks is not passed on.
        case "SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID":
            raise _bad_value(name)
    raise _not_known(name)


def _with_wish(wishes: Wishes, name: str, value: str, smtputf8: bool) -> Wishes:
    match name:
        case "NOTIFY":
            words = value.upper().split(",")
            if words != ["NEVER"] and not set(words) <= set(_DSN_WORDS):
                raise _bad_value(name)
            return replace(wishes, notify=tuple(dict.fromkeys(words)))
        case "ORCPT":
            good = len(value) <= _LONGEST_ORCPT and is_original_recipient(value) and value.isprintable()
            # In letters beyond ASCII it may stand only where these may travel (RFC 6533 §3).
            if not good or not (value.isascii() or smtputf8):
                raise _bad_value(name)
            return replace(wishes, orcpt=value)
    raise _not_known(name)


def _bad_value(name: str) -> Refused:
    return Refused(Reply(501, "5.5.4", f"bad value of {name}"))


def _not_known(name: str) -> Refused:
    return Refused(Reply(555, "5.5.4", f"parameter not known: {printable(name)}"))


def _path(
    arg: str, keyword: str, enhanced: str, dialect: Dialect
) -> tuple[Address | None, list[tuple[str, str]]]:
    if arg[: len(keyword)].upper() != keyword:
        raise Refused(Reply(501, "5.5.4", f"{keyword}<address> is needed"))
    try:
        address, rest = parse_path(arg[len(keyword) :].strip(), postmaster_at=dialect.hostname)
    except BadAddress as error:
        raise Refused(Reply(501, enhanced, str(error))) from error
    return address, _parameters(rest, dialect) if rest else []


def _parameters(text: str, dialect: Dialect) -> list[tuple[str, str]]:
    if not dialect.extended:
        raise Refused(Reply(555, "5.5.4", "parameters need EHLO"))
    found: dict[str, str] = {}
    for parameter in text.split():
        name, _, value = parameter.partition("=")
        if name.upper() in found:
            raise Refused(Reply(501, "5.5.4", f"{printable(name.upper())} is there twice"))
        found[name.upper()] = value
    return list(found.items())


def _check_ascii(address: Address, smtputf8: bool) -> None:
    if not address.is_ascii and not smtputf8:
        raise Refused(Reply(553, "5.6.7", "an address beyond ASCII needs the SMTPUTF8 parameter"))
