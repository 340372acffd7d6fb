"""IMAP sessions, read from captured connections: who logged in, and which messages were fetched.

    read_session    a Session, from a connection's bytes; with the TLS secrets also from within STARTTLS
    Session         user, mailbox, every command with its reply, and what was Fetched
    Fetched         the octets of a message, as the server sent them, with the packets that they were in

    session     what a session is               dialogue    commands paired with replies
    wording     what lines mean

Sources: RFC 3501; RFC 7888 (LITERAL+), RFC 4959 (SASL-IR), RFC 2177 (IDLE).
"""

from captures.imap.dialogue import IMAP_PORTS, read_session
from captures.imap.session import Exchange, Fetched, Reply, Session

__all__ = ["read_session", "IMAP_PORTS", "Session", "Fetched", "Exchange", "Reply"]
