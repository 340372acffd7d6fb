"""Malware is found wherever it lies in a message, and what is clean is clean."""

from __future__ import annotations

import base64
import binascii
from email.message import EmailMessage

import pytest

from tests.unit.filters.virus.samples import EICAR, NAME, PACKED, mail, scan, zipped

B64 = base64.encodebytes(EICAR)
HEAD = b"From: a@example.com\r\nMIME-Version: 1.0\r\n"


@pytest.mark.parametrize("how", PACKED)
def test_archives(how: str) -> None:
    """What an archive holds is found, in an attachment as in a file by itself."""
    assert scan(PACKED[how]).virus == NAME
    assert scan(mail(PACKED[how])).virus == NAME


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "7bit"])
def test_encodings(encoding: str) -> None:
    """Each transfer encoding is undone, and the report tells which part it is."""
    report = scan(mail(EICAR, encoding=encoding, filename="invoice.com"))
    assert (report.virus, report.where) == (NAME, ("invoice.com",))


def uuencoded(data: bytes) -> bytes:
    return b"begin 644 file.com\n" + binascii.b2a_uu(data[:45]) + binascii.b2a_uu(data[45:]) + b"`\nend\n"


BROKEN = {
    "no MIME-Version": b"Content-Transfer-Encoding: base64\r\n\r\n" + B64,
    "line ends of LF": b"Content-Transfer-Encoding: base64\n\n" + B64,
    "line ends of CR": b"Content-Transfer-Encoding: base64\r\r" + B64.replace(b"\n", b"\r"),
    "folded in the middle": HEAD + b"Content-Transfer-Encoding:\r\n\tBASE64\r\n\r\n" + B64,
    "two encodings": HEAD
    + b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + B64,
    "two in one field": HEAD + b"Content-Transfer-Encoding: 8bit (base64)\r\n\r\n" + B64,
    "an unknown one": HEAD + b"Content-Transfer-Encoding: radix-64\r\n\r\n" + B64,
    "rubbish in base64": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + B64.replace(b"U", b"U!*\0-"),
    "base64 without its end": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + B64.rstrip(b"=\n") + b"A",
    "base64 in pieces": HEAD
    + b"Content-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode(EICAR[:4])
    + base64.b64encode(EICAR[4:]),
    "uuencoded in a text": HEAD + b"\r\nHi, here it is:\r\n\r\n" + uuencoded(EICAR),
    "uuencoded, second": HEAD + b"\r\n" + uuencoded(b"harmless") + uuencoded(EICAR),
    "uuencoded, first line": HEAD + b"Content-Transfer-Encoding: x-uuencode\r\n\r\n" + uuencoded(EICAR),
    "boundary that is not there": HEAD
    + b"Content-Type: multipart/mixed; boundary=other\r\n\r\n"
    + b"--this\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + B64
    + b"--this--\r\n",
    "no boundary": HEAD
    + b"Content-Type: multipart/mixed\r\n\r\n"
    + b"--this\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + B64,
    "two boundaries": HEAD
    + b'Content-Type: multipart/mixed; boundary="a"; boundary=b\r\n\r\n'
    + b"--a\r\n\r\nhello\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + B64
    + b"\r\n--b--\r\n",
    "a boundary that begins another": HEAD
    + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
    + b"--ab\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + B64
    + b"--a--\r\n",
    "after the last boundary": HEAD
    + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nhello\r\n--a--\r\n--a\r\n\r\n"
    + EICAR,
    "a multipart in base64": HEAD
    + b"Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"--a\r\n\r\n" + EICAR + b"\r\n--a--\r\n"),
    "two types": HEAD
    + b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n"
    + EICAR
    + b"\r\n--a--\r\n",
    "what ends like an archive": mail(EICAR) + b"\nPK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_messages(how: str) -> None:
    """A broken message is read in every way that a mail program might."""
    assert scan(BROKEN[how]).virus == NAME


def test_attached_messages() -> None:
    """message/rfc822 is looked into, plain or in base64, however deep."""
    inner = mail(EICAR, filename="deep.com")
    for _ in range(3):
        outer = EmailMessage()
        outer["Subject"] = "forwarded"
        outer.set_content("see below\n")
        outer.add_attachment(inner, maintype="application", subtype="octet-stream", filename="mail.eml")
        inner = outer.as_bytes()
    report = scan(inner)
    assert report.virus == NAME
    assert report.where[-1] == "deep.com"
    attached = b"Content-Type: message/rfc822\r\n\r\n" + mail(EICAR)
    assert scan(attached).virus == NAME


def test_clean() -> None:
    """A message that only speaks of it is clean, and so are its parts."""
    quoted = b"Subject: x\n\nThe test file is this: " + EICAR + b"\n"
    assert scan(quoted).virus == ""
    assert scan(mail(zipped(b"harmless" * 1000))).virus == ""
    assert scan(b"").virus == ""


def test_where() -> None:
    """A report names what the finding lies in, outermost first, in printable characters."""
    report = scan(mail(zipped(zipped(EICAR, name="a\x1b[31m.com"), name="inner.zip"), filename="outer.zip"))
    assert report.where == ("outer.zip", "inner.zip", "a?[31m.com")
