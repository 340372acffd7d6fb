"""Malware that does no harm, and ways to wrap it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from email.message import EmailMessage

from services.filters.virus.limits import Limits
from services.filters.virus.scanner import Report, Scanner
from services.filters.virus.signatures import BUILT_IN, read_all

EICAR = bytes.fromhex(BUILT_IN.rpartition(":")[2].strip())
NAME = "Eicar-Test-Signature"


def scan(
    data: bytes, *, signatures: str = "", limits: Limits | None = None, block_encrypted: bool = True
) -> Report:
    """Scan with the built-in signatures and those of a .ndb text, without a clock."""
    files = {"lab.ndb": signatures} if signatures else {}
    return Scanner(read_all(files), limits or Limits(), block_encrypted=block_encrypted).scan(data)


def mail(content: bytes, *, encoding: str = "base64", filename: str = "file.bin") -> bytes:
    """A message with an attachment."""
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.com", "a file"
    message.set_content("Here it is.\n")
    message.add_attachment(
        content, maintype="application", subtype="octet-stream", filename=filename, cte=encoding
    )
    return message.as_bytes()


def zipped(content: bytes, *, name: str = "file.com", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content: bytes, *, name: str = "file.com", mode: str = "w") -> bytes:
    """A tar archive with one member; mode `w:gz` and so on packs it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]  # a mode as text
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def contradictory(archive: bytes, *, method: int | None = None, flags: int | None = None) -> bytes:
    """The archive, with a local header that says something else than the directory."""
    data = bytearray(archive)
    if method is not None:
        data[8:10] = method.to_bytes(2, "little")
    if flags is not None:
        # The directory says that it is encrypted, and the local header that it is not.
        place = data.index(b"PK\x01\x02")
        data[place + 8] |= 1
        data[6:8] = flags.to_bytes(2, "little")
    return bytes(data)


PACKED = {
    "zip": zipped(EICAR),
    "zip, stored": zipped(EICAR, method=zipfile.ZIP_STORED),
    "zip, bzip2": zipped(EICAR, method=zipfile.ZIP_BZIP2),
    "gzip": gzip.compress(EICAR),
    "bzip2": bz2.compress(EICAR),
    "xz": lzma.compress(EICAR),
    "tar": tarred(EICAR),
    "tar, gzip": tarred(EICAR, mode="w:gz"),
    "tar, xz": tarred(EICAR, mode="w:xz"),
    "zip in zip in tar": tarred(zipped(zipped(EICAR))),
    "a message in zip": zipped(mail(EICAR), name="mail.eml"),
    "the second gzip stream": gzip.compress(b"") + gzip.compress(EICAR),
    "a self-extracting zip": b"MZ a program in front" * 50 + zipped(EICAR),
    "zip that calls it stored": contradictory(zipped(EICAR), method=0),
    "zip that calls it encrypted": contradictory(zipped(EICAR), flags=0),
    "zip without its end": zipped(EICAR).partition(b"PK\x01\x02")[0],
    "gzip without its end": gzip.compress(EICAR)[:-8],
    "an absolute path": zipped(EICAR, name="/etc/passwd"),
    "a path upwards": tarred(EICAR, name="../../../etc/passwd"),
}
"""EICAR in each way that is opened."""
