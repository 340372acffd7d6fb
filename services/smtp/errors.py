"""The errors of the mail service.

SmtpError
├── SpoolUnavailable      the spool cannot take the message now: full or unwritable; temporary
├── CorruptContent        a message in the spool is not as it was accepted; permanent
├── BadAddress            text that is no mailbox (RFC 5321 §4.1.2)
├── SubmissionFailed      the MSA did not take the message; says whether trying again may help
├── LookupFailed          DNS gave no answer; temporary
└── RoutingError          no host may be tried; permanent (see mx and routing for its kinds)
"""

from __future__ import annotations

from services.errors import ServiceError


class SmtpError(ServiceError):
    """The mail service cannot do what was asked; the message is one line."""


class SpoolUnavailable(SmtpError):
    """The spool cannot take the message now; the message says why (`452 4.3.1` to the client)."""


class CorruptContent(SmtpError):
    """The content of a message is not what was accepted; it must not be sent."""


class BadAddress(SmtpError):
    """The text is no mailbox or path (RFC 5321 §4.1.2)."""


class LookupFailed(SmtpError):
    """DNS gave neither an answer nor a denial: time-out, SERVFAIL, REFUSED. Trying later may help."""

    enhanced_code = "4.4.3"


class SubmissionFailed(SmtpError):
    """The MSA did not take the message; `reply` is what it said, `temporary` whether a retry may help."""

    def __init__(self, message: str, *, reply: str = "", temporary: bool = False) -> None:
        super().__init__(message)
        self.reply = reply
        self.temporary = temporary
