"""A domain signs what it sends: DKIM (RFC 6376), with `cryptography`.

Theory of operation. The signature covers the body, hashed, and the fields in h=. Both are canonicalised as
`relaxed`, which survives what servers do to white space. From is named once more than it is there, so that no
second one can be added (§8.15); of the other fields those that are there are signed, and more may be added.

    author's domain     the key of that domain signs, or of the nearest one above it that has a key
    none, or several    nobody can be held to it: it stays unsigned

dkimpy signs too, but its RSA is plain Python: 5.9 ms a message of 4 KB, in which a server would do nothing
else; this takes 0.3 ms. It also brings a resolver along that a submission server has no use for.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from services.errors import ConfigError
from services.filters.header import author_domains, fields, header_length

SIGNED = (
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding",
)  # fmt: skip
"""The fields that are signed where they are there (RFC 6376 §5.4.1)."""

_LINE = 72
_PIECE = 1 << 16
_WHITE = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A domain's private key; the public one is in DNS at `selector._domainkey.domain`."""

    domain: str
    selector: str
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        return "rsa-sha256" if isinstance(self.private, rsa.RSAPrivateKey) else "ed25519-sha256"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the canonical header (RFC 6376 §3.7; RFC 8463 §3)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(hashlib.sha256(data).digest())


def read_key(pem: bytes, *, domain: str, selector: str) -> SigningKey:
    """Return the key in a PEM text. Raises: ConfigError, if there is none for RSA or Ed25519."""
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the DKIM key of {domain} cannot be read: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(f"the DKIM key of {domain} is neither RSA nor Ed25519")
    return SigningKey(domain=domain, selector=selector, private=private)


class Signer:
    """The keys of a server, by domain."""

    def __init__(self, keys: Iterable[SigningKey] = ()) -> None:
        self._keys: Mapping[str, SigningKey] = {key.domain: key for key in keys}

    def field(self, content: bytes, *, now: float, body: bytes | None = None) -> bytes:
        """Return the DKIM-Signature of a message, empty if none of the keys is its author's.

        `content` has its lines in CRLF; `body` is its `body_hash`, if that is known; `now` in seconds since
        1970.
        """
        key = self._key(content) if self._keys else None
        if key is None:
            return b""
        return signature(content, key, now=now, body=body if body is not None else body_hash(content))

    def _key(self, content: bytes) -> SigningKey | None:
        authors = author_domains(content)
        if len(authors) != 1:
            return None
        labels = authors[0].split(".")
        above = (".".join(labels[start:]) for start in range(len(labels)))
        return next((self._keys[name] for name in above if name in self._keys), None)


UNSIGNED = Signer()
"""Has no key, and signs nothing."""


def signature(content: bytes, key: SigningKey, *, now: float, body: bytes) -> bytes:
    """Return the DKIM-Signature field with its line end, for a message whose body hashes to `body`."""
    found = [_relaxed(line) for line in fields(content[: header_length(content)])]
    names = [name for name, _ in found]
    listed = [name for name in SIGNED for _ in range(names.count(name))] + ["from"]
    tags = [
        f"v=1; a={key.algorithm}; c=relaxed/relaxed;",
        f"d={key.domain}; s={key.selector}; t={int(now)};",
        *_wrapped(f"h={':'.join(listed)};", ":"),
        f"bh={base64.b64encode(body).decode()};",
        "b=",
    ]
    unsigned = ("DKIM-Signature: " + "\r\n\t".join(tags)).encode()
    own = _relaxed(unsigned)[1]
    data = b"".join(line for _, line in _signed_lines(found)) + own.removesuffix(b"\r\n")
    value = base64.b64encode(key.sign(data)).decode()
    pieces = [value[at : at + _LINE] for at in range(0, len(value), _LINE)]
    return unsigned + "\r\n\t ".join(pieces).encode() + b"\r\n"


def body_hash(content: bytes) -> bytes:
    """Return the SHA-256 of the message's body as `relaxed` has it (RFC 6376 §3.4.4).

    It goes through the body piece by piece: in a thread it lets others have their turn.
    """
    digest = hashlib.sha256()
    line_ends, begun = 0, False
    for piece in _pieces(content, header_length(content)):
        body = _WHITE.sub(b" ", piece) if b"\t" in piece or b"  " in piece else piece
        body = body.replace(b" \r\n", b"\r\n")
        end = len(body)
        while body[end - 2 : end] == b"\r\n":
            end -= 2
        if end:
            # Empty lines count where something follows, and not at the end.
            digest.update(b"\r\n" * line_ends + body[:end])
            line_ends, begun = 0, True
        line_ends += (len(body) - end) // 2
    if begun:
        digest.update(b"\r\n")
    return digest.digest()


def _pieces(content: bytes, header: int) -> Iterator[bytes]:
    """Whole lines of the body, some at a time."""
    at = header + 2 if content.startswith(b"\r\n", header) else header
    while at < len(content):
        end = content.find(b"\n", at + _PIECE) + 1 or len(content)
        yield content[at:end]
        at = end


def _relaxed(line: bytes) -> tuple[str, bytes]:
    """A field's name in lower case, and the field as `relaxed` has it (RFC 6376 §3.4.2)."""
    name, _, value = line.partition(b":")
    name = name.strip(b" \t\r\n").lower()
    value = _WHITE.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.decode("latin-1"), name + b":" + value + b"\r\n"


def _signed_lines(found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The signed fields in the order of h=; of several of one name the last comes first (§5.4.2)."""
    return [field for name in SIGNED for field in reversed(found) if field[0] == name]


def _wrapped(text: str, separator: str) -> list[str]:
    """A tag's value on lines of their own, broken behind separators."""
    lines = [""]
    for piece in re.split(f"(?<={re.escape(separator)})", text):
        if len(lines[-1]) + len(piece) > _LINE:
            lines.append("")
        lines[-1] += piece
    return lines
