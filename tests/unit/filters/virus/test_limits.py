"""Whatever a message is, its scan ends within the limits, and says which it met."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.filters.virus.limits import MIB, Limits
from services.filters.virus.scanner import Scanner
from services.filters.virus.signatures import read_all
from tests.unit.filters.virus.samples import EICAR, NAME, PACKED, mail, scan, tarred, zipped

EXCEEDED = "Heuristics.Limits.Exceeded."
ZEROS = bytes(100 * MIB)


def nested(levels: int) -> bytes:
    """A multipart in a multipart in … ."""
    opening = (b'Content-Type: multipart/mixed; boundary="%07d"\n\n--%07d\n' % (n, n) for n in range(levels))
    return b"Subject: nested\n" + b"".join(opening) + b"\nhello\n"


def quine() -> bytes:
    """A chain of archives in one another."""
    data = b"x"
    for _ in range(60):
        data = zipped(data, method=zipfile.ZIP_STORED)
    return data


def overlapping(members: int) -> bytes:
    """A zip whose directory names one member again and again, and others that overlap with it."""
    packed = zlib.compress(bytes(4 * MIB), 9)[2:-4]
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(packed), 4 * MIB, 1, 0) + b"a"
    # Each header has the ones behind it as its extra field, and so do all of them end in the same data.
    heads = b"".join(
        struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, 0, 4 * MIB, 0, n * 30 + 1)
        for n in range(members, 0, -1)
    )
    entries = b"".join(
        struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30 * n
        )
        for n in range(members)
    )
    return heads + local + packed + entries + b"PK\x05\x06" + bytes(18)


BOMBS = {
    "gzip": (gzip.compress(ZEROS), "MaxRatio"),
    "bzip2": (bz2.compress(ZEROS), "MaxRatio"),
    "xz": (lzma.compress(ZEROS), "MaxRatio"),
    "zip": (zipped(ZEROS), "MaxRatio"),
    "zip in mail": (mail(zipped(ZEROS)), "MaxRatio"),
    "gzip in gzip": (gzip.compress(gzip.compress(ZEROS)), "MaxRatio"),
    "zip in zip in …": (quine(), "MaxRecursion"),
    "a million nested parts": (nested(1_000_000), "MaxRecursion"),
    "a million parts": (
        b'Content-Type: multipart/mixed; boundary="a"\n\n' + b"--a\n\n\n" * 1_000_000,
        "MaxFiles",
    ),
}


@pytest.mark.parametrize("how", BOMBS)
def test_bombs(how: str) -> None:
    """A bomb meets a limit, which is what is said of it."""
    data, limit = BOMBS[how]
    assert scan(data).virus == EXCEEDED + limit


def test_overlapping_members() -> None:
    """Members that share their data count each."""
    assert scan(overlapping(50), limits=Limits(octets=40 * MIB)).virus == EXCEEDED + "MaxScanSize"


def test_size_of_one_object() -> None:
    """What one object may expand to is a limit of its own."""
    limits = Limits(object_octets=1000)
    assert scan(gzip.compress(bytes(2000)), limits=limits).virus == EXCEEDED + "MaxFileSize"
    assert scan(gzip.compress(bytes(900)), limits=limits).virus == ""


def test_time() -> None:
    """The clock ends a scan that goes on for too long."""
    ticks = count()
    scanner = Scanner(read_all({}), Limits(time_s=100), clock=lambda: float(next(ticks)))
    assert scanner.scan(b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\n\n" * 500).virus == (
        EXCEEDED + "MaxScanTime"
    )


def test_what_comes_before_the_limit_is_found() -> None:
    """Malware in front of a bomb is called by its name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.com", EICAR)
        archive.writestr("zeros", ZEROS)
    assert scan(file.getvalue()).virus == NAME


def test_well_packed_is_no_bomb() -> None:
    """A log file that packs well is let through."""
    lines = b"".join(b"%d: nothing happened\n" % (number % 100) for number in range(200_000))
    assert scan(mail(gzip.compress(lines))).virus == ""


def encrypted_zip() -> bytes:
    """An archive whose member says that it is encrypted; of its data nothing can be known."""
    data = bytearray(zipped(EICAR, name="secret.com"))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    return bytes(data)


def test_passworded_archives() -> None:
    """Nobody can look into it, and that is told, unless it is allowed."""
    report = scan(mail(encrypted_zip(), filename="secret.zip"))
    assert (report.virus, report.where) == ("Heuristics.Encrypted.Zip", ("secret.zip", "secret.com"))
    assert scan(mail(encrypted_zip()), block_encrypted=False).virus == ""


HUGE = {
    "one field": b"Subject: " + b"x" * 5_000_000 + b"\n\nhello\n",
    "a million fields": b"X: y\n" * 1_000_000 + b"\nhello\n",
    "a million lines of one field": b"Content-Type: text/plain;\n" + b" x=y;\n" * 1_000_000 + b"\nhello\n",
    "a million boundaries": b"Content-Type: multipart/mixed"
    + b"; boundary=a" * 1_000_000
    + b"\n\n--a\n\nhello\n",
    "no header at all": b"\n" * 5_000_000,
    "no lines at all": b"x" * 5_000_000,
    "only CR": b"\r" * 5_000_000,
    "nothing but white space": b" " * 5_000_000,
    "half begun uuencode": b"Subject: x\n\n" + b"begin 644 \n" * 300_000,
    "boundaries that are none": b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--ab\n" * 1_000_000,
    "equals signs": b"Content-Transfer-Encoding: base64\n\n" + b"=" * 3_000_000 + b"AAAA",
    "base64 in a million pieces": b"Content-Transfer-Encoding: base64\n\n" + b"A=" * 1_000_000 + b"AAAA",
    "an open quote": b'Content-Type: multipart/mixed; boundary="' + b"\\" * 3_000_000 + b"\n\nhello\n",
    "empty local headers": b"PK\x03\x04" * 500_000,
    "a tar of nothing": tarred(b"x")[:512] * 9_000,
}


@pytest.mark.parametrize("how", HUGE)
def test_huge(how: str) -> None:
    """What is huge and means nothing is scanned to its end."""
    assert scan(HUGE[how]).virus in ("", EXCEEDED + "MaxFiles")


@given(st.binary(max_size=400))
def test_any_octets(data: bytes) -> None:
    """Whatever arrives is scanned."""
    assert scan(data).virus == ""


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"\r\n\r\n",
        b"\n",
        b"--a\r\n",
        b"--a--",
        b"begin 644 x\n",
        b"AAAA====",
        b"=3D=\r\n",
        *(archive[:80] for archive in PACKED.values() if NAME not in archive.decode("latin-1")),
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=30))
def test_any_pieces(pieces: list[bytes]) -> None:
    """Whatever messages and archives are made of, in any order, is scanned."""
    assert scan(b"".join(pieces)).virus in ("", NAME)


@pytest.mark.parametrize("how", PACKED)
@given(position=st.integers(0, 1 << 16), octet=st.integers(0, 255), end=st.integers(0, 1 << 16))
def test_damaged_archives(how: str, position: int, octet: int, end: int) -> None:
    """An archive with a wrong octet, or cut off, is read as far as it goes."""
    data = bytearray(PACKED[how])
    data[position % len(data)] = octet
    allowed = ("", NAME, "Heuristics.Encrypted.Zip", EXCEEDED + "MaxFileSize")
    assert scan(bytes(data)).virus in allowed
    assert scan(bytes(data[: end % len(data)])).virus in allowed


def python_messages() -> list[Path]:
    """The messages of CPython's own tests of its email package (Debian's libpython3.X-testsuite)."""
    found = Path("/usr/lib").glob("python3.*/test/test_email/data/*")
    return sorted(path for path in found if path.is_file())


def test_messages_of_python() -> None:
    """All messages of CPython's own tests are clean."""
    messages = python_messages()
    assert len(messages) > 50, "libpython3.X-testsuite is not installed: scripts/setup --test"
    assert [path.name for path in messages if scan(path.read_bytes()).virus] == []


def test_tar_sizes() -> None:
    """A tar member may claim any size: what is there counts."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("huge")
        member.size = 1 << 40
        archive.addfile(member)
    assert scan(file.getvalue() + EICAR).virus in ("", NAME)
