"""A message to send when one has none at hand: real RFC 5322, and hard enough to be worth sending.

Text and HTML alternatives, a subject and names beyond ASCII (encoded words, RFC 2047), an attachment of any
size. All of it follows from the seed, apart from the date, so that equal seeds give equal messages.

    python -m mailbed.sample --attachment 1048576 > sample.eml
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

_SURNAMES = ("Müller", "Peña", "Škvorecký", "Ångström", "Łukasiewicz", "Ní Bhraonáin", "Đặng", "Çelik")
_SUBJECTS = (
    "Grüße aus dem Labor",
    "Première lettre à travers les réseaux",
    "Привет из лаборатории",
    "実験室からのご挨拶",
)

_TEXT = """\
Hello {name},

this is sample message {seed} of Mailbed, from {sender}.
It was submitted with STARTTLS and AUTH, and carried from server to
server as DNS told them to.

.A line that begins with a dot must arrive as it is, and so must one
that consists of a dot alone:
.
Letters beyond ASCII: äöü ß, žluťoučký kůň, ελληνικά, русский, 日本語.

-- \n{sender_name}
"""

_HTML = """\
<!DOCTYPE html>
<html><body>
<p>Hello {name},</p>
<p>this is <b>sample message {seed}</b> of Mailbed. Letters beyond ASCII:
äöü ß, žluťoučký kůň, ελληνικά, русский, 日本語.</p>
<p>{sender_name}</p>
</body></html>
"""


def sample_message(
    sender: str, to: str, *, seed: int, attachment_bytes: int = 0, date: datetime | None = None
) -> bytes:
    """Return a message from one address to another, with CRLF line ends as on the wire.

    `attachment_bytes` is the size of the attachment before base64, 0 for none. Without `date` it is the
    present.
    """
    rng = random.Random(f"sample/{seed}")
    author, reader = _person(sender, rng), _person(to, rng)
    # An address beyond ASCII has no other form in a header field than itself (RFC 6532).
    message = EmailMessage(policy=SMTP if (sender + to).isascii() else SMTPUTF8)
    message["Date"] = format_datetime(date or datetime.now(UTC))
    message["From"] = author
    message["To"] = reader
    message["Subject"] = f"{rng.choice(_SUBJECTS)} № {seed}"
    message["Message-ID"] = f"<{rng.getrandbits(64):016x}.{seed}@{author.domain}>"
    words = {
        "name": reader.display_name.partition(" ")[0],
        "sender": sender,
        "sender_name": author.display_name,
        "seed": seed,
    }
    message.set_content(_TEXT.format(**words), cte="quoted-printable")
    message.add_alternative(_HTML.format(**words), subtype="html", cte="quoted-printable")
    message.set_boundary(_boundary(rng))
    if attachment_bytes:
        content = rng.randbytes(attachment_bytes)
        message.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=f"Anhängsel-{seed}.bin"
        )
        message.set_boundary(_boundary(rng))
    return message.as_bytes()


def _person(address: str, rng: random.Random) -> Address:
    user, _, domain = address.rpartition("@")
    user = user.strip('"')
    return Address(f"{user.capitalize()} {rng.choice(_SURNAMES)}", user, domain)


def _boundary(rng: random.Random) -> str:
    # `=_` occurs in no quoted-printable or base64 line (RFC 2045 §6.7).
    return f"=_{rng.getrandbits(96):024x}"


def main() -> None:
    """Write a sample message to standard output."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(prog="python -m mailbed.sample", description=main.__doc__)
    parser.add_argument("--from", dest="sender", default="alice@example.com", metavar="ADDRESS")
    parser.add_argument("--to", default="bob@example.org", metavar="ADDRESS")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--attachment", type=int, default=0, metavar="BYTES", help="default: none")
    given = parser.parse_args()
    message = sample_message(given.sender, given.to, seed=given.seed, attachment_bytes=given.attachment)
    sys.stdout.buffer.write(message)


if __name__ == "__main__":
    main()
