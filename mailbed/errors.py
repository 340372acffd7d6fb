"""The errors of the lab. Each message is one line: what is wrong and what to do.

MailbedError
├── UsageError          what was asked for makes no sense (exit status 2)
└── LabError            it makes sense, but could not be done (exit status 1)
    ├── SandboxRefused      this machine forbids unprivileged namespaces
    ├── NameInUse           a lab of that name is running
    ├── NotRunning          no lab of that name is running
    ├── StartFailed         the lab did not come up; nothing of it is left
    ├── LabEnded            the lab ended while it was asked for something
    └── SendFailed          a message was not accepted by the submission server
"""

from __future__ import annotations


class MailbedError(Exception):
    """Base of all; `exit_status` is what the command line ends with."""

    exit_status = 1


class UsageError(MailbedError):
    """What was asked for makes no sense: an unknown host, a file that is no message, …"""

    exit_status = 2


class LabError(MailbedError):
    """The lab could not do what it was asked to do."""


class SandboxRefused(LabError):
    """The kernel refuses namespaces; the message names the setting and how to change it."""


class NameInUse(LabError):
    """A lab of that name is running already."""


class NotRunning(LabError):
    """No lab of that name is running."""


class StartFailed(LabError):
    """The lab did not come up."""


class LabEnded(LabError):
    """The lab ended, by whatever means, before it answered."""


class SendFailed(LabError):
    """The submission server did not accept a message; the message holds its reply."""
