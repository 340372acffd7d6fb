"""Whose host is whose: what the letters of the journey are told by.

A host's *organisation* is the last two labels of its name: between two hosts of the sender's it is C,
between two of the recipient's F, else E. The submission is A.
"""

from __future__ import annotations

from captures.conversations import Endpoint
from captures.journeys.linking import Transfer
from captures.journeys.model import Place, Step

_SUBMISSION_PORTS = (465, 587)


def organisation(name: str) -> str:
    """Return the last two labels of a domain name: near enough where there is no list of public suffixes."""
    return ".".join(name.lower().rstrip(".").split(".")[-2:])


def name_of(endpoint: Endpoint, said: str) -> str:
    """Return the host's name in DNS; where the capture has none, the one that it gave itself in SMTP."""
    return endpoint.name or said


def place(endpoint: Endpoint, said: str) -> Place:
    """Return where a host is; `said` is the name it gave itself in SMTP."""
    return Place(host=endpoint.host, name=name_of(endpoint, said), address=endpoint.address)


class Places:
    """The sender's organisation and the recipient's, for one journey."""

    def __init__(self, root: Transfer, recipient: str) -> None:
        sender = root.transaction.sender if root.transaction else ""
        self._root = root
        # A notice has no sender: its author is the host that it starts from.
        self._sender = organisation(sender.rpartition("@")[2] or name_of(root.client, root.session.helo))
        self._recipient = organisation(recipient.rpartition("@")[2])

    def step(self, transfer: Transfer) -> Step:
        """Return the letter of a transfer."""
        session = transfer.session
        if transfer is self._root and (transfer.server.port in _SUBMISSION_PORTS or session.user):
            return "A"
        return self.between(
            name_of(transfer.client, session.helo), name_of(transfer.server, session.server_name)
        )

    def between(self, client: str, server: str) -> Step:
        """Return the letter of the way between two names; of one that leads nowhere, of where it starts."""
        one, other = organisation(client), organisation(server or client)
        if one == other == self._sender:
            return "C"
        if one == other == self._recipient:
            return "F"
        return "E"

    def is_recipients(self, found: Place) -> bool:
        """Return whether a host is the recipient's own organisation's."""
        return organisation(found.name) == self._recipient
