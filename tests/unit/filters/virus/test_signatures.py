"""What signature files say, and what they match."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import ConfigError
from services.filters.virus.signatures import Signatures, read, read_all


def found(line: str, data: bytes) -> bool:
    """Whether a .ndb line matches."""
    return Signatures(read(line, file="x.ndb")).find(data) is not None


@pytest.mark.parametrize(
    ("offset", "signature", "data", "there"),
    [
        ("*", "61626364", b"xxabcdxx", True),
        ("*", "61626364", b"xxabcxd", False),
        ("0", "6162", b"abc", True),
        ("0", "6162", b" abc", False),
        ("2", "6162", b"xxab", True),
        ("2", "6162", b"x", False),
        ("1,2", "6162", b"xxxab", True),
        ("1,2", "6162", b"xxxxab", False),
        ("EOF-2", "6162", b"xxxab", True),
        ("EOF-2", "6162", b"abx", False),
        ("EOF-9", "6162", b"ab", False),
        ("*", "6162??64", b"abzd", True),
        ("*", "6162??64", b"ab\nd", True),
        ("*", "61626?64", b"abod", True),
        ("*", "61626?64", b"abzd", False),
        ("*", "6162?364", b"abDd", False),
        ("*", "6162?364", b"ab\x03d", True),
        ("*", "6162*6364", b"ab" + b"\n" * 5000 + b"cd", True),
        ("*", "6162*6364", b"cd ab", False),
        ("*", "6162{2}6364", b"abxxcd", True),
        ("*", "6162{2}6364", b"abxcd", False),
        ("*", "6162{1-3}6364", b"abxxxcd", True),
        ("*", "6162{1-3}6364", b"abcd", False),
        ("*", "6162{-2}6364", b"abcd", True),
        ("*", "6162{2-}6364", b"abxxxxcd", True),
        ("*", "6162{2-}6364", b"abxcd", False),
        ("*", "6162(6364|65)66", b"abef", True),
        ("*", "6162(6364|65)66", b"abcf", False),
        ("*", "2e2a2b5c", b".*+\\", True),
    ],
)
def test_patterns(offset: str, signature: str, data: bytes, there: bool) -> None:
    """Each wildcard and offset means what ClamAV's documentation says."""
    assert found(f"Test.Name:0:{offset}:{signature}", data) is there


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_hashes(algorithm: str) -> None:
    """A hash of a whole object counts with its size, or for any size."""
    data = b"a certain file"
    digest = hashlib.new(algorithm, data).hexdigest()
    file = "x.hdb" if algorithm == "md5" else "x.hsb"
    for size in (str(len(data)), "*"):
        signatures = Signatures(read(f"{digest.upper()}:{size}:Test.Name:73", file=file))
        assert signatures.find(data) == "Test.Name"
        assert signatures.find(data + b"!") is None
    assert Signatures(read(f"{digest}:3:Test.Name", file=file)).find(data) is None


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("x.ndb", "Name:0:*", "a line is NAME:0:OFFSET:HEXSIGNATURE"),
        ("x.ndb", "Name:1:*:61626364", "target type must be 0"),
        ("x.ndb", "Na me:0:*:61626364", "is no name"),
        ("x.ndb", "Name:0:EP+0:61626364", "the offset 'EP+0'"),
        ("x.ndb", "Name:0:*:6162636", "cannot read '6'"),
        ("x.ndb", "Name:0:*:61??62", "needs 2 fixed octets"),
        ("x.ndb", "Name:0:*:6162{9999}63", "4096 octets at most"),
        ("x.ndb", "Name:0:*:6162{-99}63{-99}64", "too many ways"),
        ("x.ndb", "Name:0:*:6162{5-2}63", "ends before it begins"),
        ("x.ndb", "Name:0:*:6162{}63", "say no number"),
        ("x.hdb", "61:3:Name", "is no MD5"),
        ("x.hsb", "0" * 32 + ":3:Name", "is no SHA1 or SHA256"),
        ("x.hdb", "0" * 32 + ":x:Name", "the size 'x'"),
        ("x.hdb", "0" * 32, "HASH:SIZE:NAME"),
        ("x.yara", "rule", "a signature file ends in .hdb, .hsb, .ndb"),
    ],
)
def test_mistakes(file: str, line: str, reason: str) -> None:
    """A line that cannot be taken is named, with what is wrong."""
    with pytest.raises(ConfigError) as caught:
        read_all({file: f"# first\n\n{line}\n"})
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{file} line 3" if file != "x.yara" else file)


def many() -> Iterator[str]:
    """So many patterns that they are looked up by words: of several lengths, some with wildcards."""
    rng = random.Random(6)
    for number in range(200):
        literal = rng.randbytes(rng.choice((4, 15, 16, 40))).hex()
        yield f"Many.{number}:0:*:{literal}" + ("*6162" if number % 5 == 0 else "")


MANY = list(many())
TOGETHER = Signatures(read("\n".join(MANY), file="x.ndb"))


@given(st.integers(0, len(MANY) - 1), st.binary(max_size=40), st.binary(max_size=40))
def test_many_signatures(number: int, before: bytes, after: bytes) -> None:
    """However many there are, each is found at any place, under its name."""
    literal = bytes.fromhex(MANY[number].rpartition(":")[2].partition("*")[0])
    assert TOGETHER.find(before + literal + after + b"ab") == f"Many.{number}"


@given(st.binary(max_size=200))
def test_many_find_what_each_finds(data: bytes) -> None:
    """Together they find nothing that none of them finds by itself."""
    assert (TOGETHER.find(data) is not None) == any(found(line, data) for line in MANY)
