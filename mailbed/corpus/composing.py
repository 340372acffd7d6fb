"""How a text becomes a message, as some mail program would make it.

Theory of operation. A program has its way of writing Message-ID, Date, MIME parts and its own name. Senders
of each kind prefer some. Lines end in CRLF; all that is random comes from the generator that is passed in.
"""

from __future__ import annotations

import html
import io
import random
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

# In two pieces: virus scanners on developers' machines look at this file, too.
_EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A mail program: its name in the header (empty: it keeps it to itself), and how careful it is."""

    name: str = ""
    field: str = "User-Agent"
    html: float = 0.0
    only_html: bool = False
    message_id: bool = True
    zone: bool = True
    base64: bool = False


PEOPLE = (
    Program(name="Mozilla Thunderbird", html=0.3),
    Program(name="Mutt/2.2.9 (2022-11-12)"),
    Program(name="Apple Mail (2.3774.300.61)", field="X-Mailer", html=0.5),
    Program(html=0.9),
    Program(name="K-9 Mail for Android"),
    # Some good people's programs do what spammers' do.
    Program(html=1.0, only_html=True, base64=True),
)
SENDERS_TO_MANY = (
    Program(name="MailKit 4.1", field="X-Mailer", html=1.0),
    Program(html=1.0),
    Program(name="PHPMailer 6.8.0", field="X-Mailer", html=1.0, only_html=True),
    Program(html=0.4),
)
SPAMMERS = (
    Program(html=1.0, only_html=True, message_id=False),
    Program(name="PHPMailer 5.2.9", field="X-Mailer", html=1.0, only_html=True),
    Program(name="Microsoft Outlook Express 6.00.2600.0000", field="X-Mailer", html=0.5, zone=False),
    Program(html=1.0, base64=True, only_html=True),
    *PEOPLE[:4],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What a message says; `link` is the text of the link to `url` that stands where `{link}` is."""

    subject: str
    body: str
    link: str = ""
    url: str = ""


def composed(
    text: Text, author: Address, reader: str, program: Program, *, rng: random.Random, now: float
) -> EmailMessage:
    """Return a message as the program makes it, written in the hours before `now` (seconds since 1970)."""
    message = EmailMessage(policy=SMTP)
    zone = timezone(timedelta(hours=rng.choice((-5, 0, 1, 1, 2, 8)))) if program.zone else UTC
    when = datetime.fromtimestamp(now - rng.randrange(30, 7200), zone)
    message["Date"] = format_datetime(when)
    message["From"] = author
    message["To"] = reader
    message["Subject"] = text.subject
    if program.message_id:
        message["Message-ID"] = f"<{_identifier(rng)}@{author.domain}>"
    if program.name:
        message[program.field] = program.name
    encoding = "base64" if program.base64 else "quoted-printable" if not text.body.isascii() else "7bit"
    as_html = rng.random() < program.html
    if not (as_html and program.only_html):
        message.set_content(_plain(text), cte=encoding)
    if as_html and program.only_html:
        message.set_content(
            _html(text, rng), subtype="html", cte="base64" if program.base64 else "quoted-printable"
        )
    elif as_html:
        message.add_alternative(_html(text, rng), subtype="html", cte="quoted-printable")
    return message


def attach_document(message: EmailMessage, name: str, rng: random.Random) -> None:
    """Attach something harmless, as people do."""
    kind, data = rng.choice(
        (
            ("csv", "".join(f"{row};{rng.randrange(1000)}\r\n" for row in range(20)).encode()),
            ("pdf", b"%PDF-1.4\n" + rng.randbytes(1500)),
            ("zip", _zipped("notes.txt", b"nothing of importance\n" * 9)),
        )
    )
    maintype, subtype = {"csv": ("text", "csv"), "pdf": ("application", "pdf")}.get(
        kind, ("application", "zip")
    )
    message.add_attachment(data, maintype=maintype, subtype=subtype, filename=f"{name}.{kind}")


def attach_malware(message: EmailMessage, name: str, rng: random.Random) -> None:
    """Attach the test file that every scanner takes for a virus, in one of the usual wrappings."""
    wrapped = rng.choice(
        (
            (f"{name}.com", _EICAR),
            (f"{name}.pdf.exe", _EICAR),
            (f"{name}.zip", _zipped(f"{name}.scr", _EICAR)),
            (f"{name}.zip", _zipped("inner.zip", _zipped(f"{name}.exe", _EICAR))),
        )
    )
    subtype = "zip" if wrapped[0].endswith("zip") else "octet-stream"
    message.add_attachment(wrapped[1], maintype="application", subtype=subtype, filename=wrapped[0])


def finished(message: EmailMessage, rng: random.Random) -> bytes:
    """Return the message's octets; boundaries follow from the generator."""
    for part in message.walk():
        if part.is_multipart():
            part.set_boundary(f"=_{rng.getrandbits(96):024x}")
    return message.as_bytes()


def _identifier(rng: random.Random) -> str:
    number = rng.getrandbits(80)
    return rng.choice((f"{number:020x}", f"{number % 10**12}.{rng.randrange(10**6)}", f"{number:X}"[:16]))


def _plain(text: Text) -> str:
    return (
        text.body.replace("{link}", f"{text.link}: {text.url}" if text.url not in text.link else text.link)
        + "\n"
    )


def _html(text: Text, rng: random.Random) -> str:
    anchor = f'<a href="{html.escape(text.url)}">{html.escape(text.link)}</a>'
    paragraphs = [
        html.escape(paragraph).replace("\n", "<br>\n").replace("{link}", anchor)
        for paragraph in text.body.split("\n\n")
        if paragraph
    ]
    style = rng.choice(("", ' style="font-family:sans-serif"', ' bgcolor="#ffffff"'))
    inner = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
    return f"<html><body{style}>\n{inner}</body></html>\n"


def _zipped(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2024, 5, 17, 9, 30, 0)), data)
    return file.getvalue()
