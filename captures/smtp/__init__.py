"""SMTP sessions, read from captured connections: who said what, what was carried, what came of it.

    read_session    a Session, from a connection's bytes; with the TLS secrets also from within STARTTLS
    Session         greeting, extensions, user, every command with its reply, and the Transactions
    Transaction     MAIL, the Recipients, the content as the server took it, the reply to it
    header_field, received_ids      what a content says of itself

    session     what a session is               replies     the server's side
    dialogue    commands paired with replies    streams     bytes, lines, and when they were seen
    content     header fields of a message      wording     what lines mean

Sources: RFC 5321; RFC 2920 (PIPELINING), RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531
(SMTPUTF8).
"""

from captures.smtp.content import header_field, received_ids
from captures.smtp.dialogue import read_session
from captures.smtp.session import Exchange, Recipient, Reply, Session, Transaction

__all__ = [
    "read_session",
    "Session",
    "Transaction",
    "Recipient",
    "Exchange",
    "Reply",
    "header_field",
    "received_ids",
]
