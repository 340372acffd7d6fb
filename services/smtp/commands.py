"""The arguments of MAIL and RCPT: the path, and the parameters of the extensions that are offered.

RFC 5321 §4.1.1.2, §4.1.1.3 and §4.1.1.11; SIZE from RFC 1870 §4, BODY from RFC 6152 §2, SMTPUTF8 from
RFC 6531 §3.4, AUTH from RFC 4954 §5. What does not read is refused with the reply that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.smtp.address import Address, parse_path, printable
from services.smtp.envelope import Body
from services.smtp.errors import BadAddress
from services.smtp.replies import Reply


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a session may say: `extended` after EHLO, `submission` on an MSA."""

    hostname: str
    extended: bool
    submission: bool
    size_limit: int


def read_mail(arg: str, dialect: Dialect) -> MailArguments:
    """Return the arguments of MAIL. Raises: Refused."""
    sender, parameters = _path(arg, "FROM:", "5.1.7", dialect.hostname)
    arguments = MailArguments(sender=sender)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        arguments = _with_parameter(arguments, name.upper(), value, dialect)
    if sender:
        _check_ascii(sender, arguments.smtputf8)
    return arguments


def read_rcpt(arg: str, dialect: Dialect, *, smtputf8: bool) -> Address:
    """Return the recipient that RCPT names; `smtputf8` is what MAIL said. Raises: Refused."""
    recipient, parameters = _path(arg, "TO:", "5.1.3", dialect.hostname)
    if recipient is None:
        raise Refused(Reply(501, "5.1.3", "a recipient cannot be the null path"))
    if parameters:
        raise Refused(Reply(555, "5.5.4", f"parameter not known: {printable(parameters[0])}"))
    _check_ascii(recipient, smtputf8)
    return recipient


def too_large(limit: int) -> Reply:
    """Return the reply to a message of more than `limit` bytes (RFC 1870 §6.1)."""
    return Reply(552, "5.3.4", f"message exceeds {limit} bytes")


def _with_parameter(arguments: MailArguments, name: str, value: str, dialect: Dialect) -> MailArguments:
    if not dialect.extended:
        raise Refused(Reply(555, "5.5.4", "parameters need EHLO"))
    if name == "SIZE" and value.isdecimal() and value.isascii() and len(value) <= 20:
        if int(value) > dialect.size_limit:
            raise Refused(too_large(dialect.size_limit))
        return arguments
    if name == "BODY" and value.upper() in ("7BIT", "8BITMIME"):
        return replace(arguments, body="8BITMIME" if value.upper() == "8BITMIME" else "7BIT")
    if name == "SMTPUTF8" and not value:
        return replace(arguments, smtputf8=True)
    if name == "AUTH" and value and dialect.submission:
        return arguments  # On whose behalf a client says it speaks is not passed on.
    if name in ("SIZE", "BODY", "SMTPUTF8"):
        raise Refused(Reply(501, "5.5.4", f"bad value of {name}"))
    raise Refused(Reply(555, "5.5.4", f"parameter not known: {printable(name)}"))


def _path(arg: str, keyword: str, enhanced: str, hostname: str) -> tuple[Address | None, list[str]]:
    if arg[: len(keyword)].upper() != keyword:
        raise Refused(Reply(501, "5.5.4", f"{keyword}<address> is needed"))
    try:
        address, rest = parse_path(arg[len(keyword) :].strip(), postmaster_at=hostname)
    except BadAddress as error:
        raise Refused(Reply(501, enhanced, str(error))) from error
    return address, rest.split()


def _check_ascii(address: Address, smtputf8: bool) -> None:
    if not address.is_ascii and not smtputf8:
        raise Refused(Reply(553, "5.6.7", "an address beyond ASCII needs the SMTPUTF8 parameter"))
