"""What is known to be malware: hashes of objects and patterns of octets, from files that ClamAV reads too.

    NAME.hdb    MD5:SIZE:NAME                 an object of that size (octets) with that MD5
    NAME.hsb    SHA1 or SHA256:SIZE:NAME      likewise; SIZE may be `*`, as in `…:*:NAME:73`
    NAME.ndb    NAME:0:OFFSET:HEXSIGNATURE    octets (see `patterns`) at an offset: `*`, 7, `7,3` or `EOF-7`

One a line; an empty line or one with `#` in front says nothing. Of ClamAV's format only what stands here is
taken, and anything else refused, so that one directory serves both engines alike.

Theory of operation. An object is hashed only if a signature has its size. Patterns at an offset are compared
there. Patterns anywhere: a few are searched one after the other. Many would cost 0.3 ms a megabyte each, so
the longer of them are put into a table of eight-octet words: wherever 15 octets lie, they cover an aligned
word. The object is read as a row of words once (8 ms a megabyte, however many patterns), and only those are
searched of which a word is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.errors import ConfigError
from services.filters.virus.patterns import Pattern, pattern

# The EICAR test file (eicar.org), in hexadecimal so that no scanner takes offence at this module.
_EICAR = (
    "58354f2150254041505b345c505a58353428505e2937434329377d24454943"
    "41522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a"
)
BUILT_IN = f"# What every engine of a lab knows\nEicar-Test-Signature:0:0:{_EICAR}\n"
"""The signatures that are always there, as a .ndb file."""

SUFFIXES = (".hdb", ".hsb", ".ndb")
_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
_NAME = re.compile(r"[!-9;-~]{1,200}")
_WORD = 8
_FOR_TABLE = 2 * _WORD - 1
_FEW = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class HashSignature:
    """An object whose `algorithm` gives `digest` (hexadecimal); `size` None: whatever its size."""

    name: str
    algorithm: str
    digest: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternSignature:
    """An object that holds a pattern."""

    name: str
    pattern: Pattern


Signature = HashSignature | PatternSignature


def read(text: str, *, file: str) -> list[Signature]:
    """Return the signatures in a file's text. Raises: ConfigError, naming the file and the line."""
    suffix = file[file.rfind(".") :]
    if suffix not in SUFFIXES:
        raise ConfigError(f"{file}: a signature file ends in {', '.join(SUFFIXES)}")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            found.append(_pattern(line) if suffix == ".ndb" else _hash(line, md5=suffix == ".hdb"))
        except ValueError as error:
            raise ConfigError(f"{file} line {number}: {error}") from None
    return found


def _pattern(line: str) -> Signature:
    name, *rest = line.split(":")
    if len(rest) != 3:
        raise ValueError("a line is NAME:0:OFFSET:HEXSIGNATURE")
    target, offset, hexadecimal = rest
    if target != "0":
        raise ValueError(f"the target type must be 0 (any object), not {target!r}")
    return PatternSignature(name=_name(name), pattern=pattern(offset, hexadecimal))


def _hash(line: str, *, md5: bool) -> Signature:
    digest, *rest = line.lower().split(":", 2)
    if len(rest) != 2:
        raise ValueError("a line is HASH:SIZE:NAME")
    size, name = rest[0], line.split(":")[2]
    algorithm = _ALGORITHMS.get(len(digest), "")
    if not re.fullmatch("[0-9a-f]+", digest) or not algorithm or (algorithm == "md5") != md5:
        raise ValueError(f"{digest!r} is no {'MD5' if md5 else 'SHA1 or SHA256'} in hexadecimal")
    if size != "*" and not re.fullmatch(r"\d{1,12}", size):
        raise ValueError(f"the size {size!r} is neither a number nor *")
    wanted = None if size == "*" else int(size)
    return HashSignature(name=_name(name), algorithm=algorithm, digest=digest, size=wanted)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name: printable ASCII without spaces and colons")
    return text


class Signatures:
    """Signatures, ready to be found; `len` tells how many."""

    def __init__(self, signatures: Iterable[Signature]) -> None:
        listed = list(signatures)
        self._count = len(listed)
        self._hashes: dict[int | None, dict[tuple[str, str], str]] = {}
        for signature in listed:
            if isinstance(signature, HashSignature):
                key = (signature.algorithm, signature.digest)
                self._hashes.setdefault(signature.size, {}).setdefault(key, signature.name)
        patterns = [signature for signature in listed if isinstance(signature, PatternSignature)]
        self._placed = [signature for signature in patterns if not signature.pattern.floats]
        floating = [signature for signature in patterns if signature.pattern.floats]
        long = [signature for signature in floating if len(signature.pattern.literal) >= _FOR_TABLE]
        self._table = _Table(long) if len(long) > _FEW else None
        in_table = set(map(id, long)) if self._table else set()
        self._floating = [signature for signature in floating if id(signature) not in in_table]

    def __len__(self) -> int:
        return self._count

    def find(self, data: bytes) -> str | None:
        """Return the name of the first signature that an object holds, None if it holds none."""
        return self._by_hash(data) or self._by_pattern(data)

    def _by_hash(self, data: bytes) -> str | None:
        for size in (len(data), None):
            known = self._hashes.get(size)
            if known:
                for algorithm in dict.fromkeys(algorithm for algorithm, _ in known):
                    digest = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
                    if name := known.get((algorithm, digest)):
                        return name
        return None

    def _by_pattern(self, data: bytes) -> str | None:
        candidates = [*self._placed, *self._floating]
        for signature in candidates:
            if signature.pattern.matches(data):
                return signature.name
        if self._table is not None:
            for signature in self._table.candidates(data):
                if signature.pattern.matches(data):
                    return signature.name
        return None


class _Table:
    """Finds out which of many patterns an object may hold by reading it as a row of words, once."""

    def __init__(self, signatures: Iterable[PatternSignature]) -> None:
        self._by_word: dict[int, list[PatternSignature]] = {}
        for signature in signatures:
            literal = signature.pattern.literal[:_FOR_TABLE]
            for start in range(_WORD):
                word = memoryview(literal[start : start + _WORD]).cast("Q")[0]
                self._by_word.setdefault(word, []).append(signature)
        self._words = frozenset(self._by_word)

    def candidates(self, data: bytes) -> list[PatternSignature]:
        """Return the signatures of which a word is there."""
        end = len(data) - len(data) % _WORD
        hits = self._words.intersection(memoryview(data)[:end].cast("Q"))
        found: Mapping[int, PatternSignature] = {
            id(signature): signature for word in hits for signature in self._by_word[word]
        }
        return list(found.values())


def read_all(files: Mapping[str, str]) -> Signatures:
    """Return the built-in signatures and those in files, by name. Raises: ConfigError."""
    found = read(BUILT_IN, file="built-in.ndb")
    for file, text in files.items():
        found += read(text, file=file)
    return Signatures(found)
