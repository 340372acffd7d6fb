"""The keys of TLS 1.3, from the secrets that endpoints log.

Theory of operation. The key log has a line for each secret of a session: its label, the client's random,
which names the session, and the secret. From a secret come a key and a nonce (RFC 8446 §7.3); the nonce of a
record is mixed with the number of records before it (§5.3). After a KeyUpdate the next secret is made from
the last (§7.2), so that the log need not hold it.

Source: RFC 8446 §5.2, §7; RFC 5869; the NSS key log format (draft-ietf-tls-keylogfile).
"""

from __future__ import annotations

import hmac
import re
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

_LINE: Final = re.compile(rb"^([A-Z0-9_]+) ([0-9A-Fa-f]{64}) ((?:[0-9A-Fa-f]{2})+)[ \t\r]*$", re.MULTILINE)


class Suite(NamedTuple):
    """A cipher suite: the cipher and the hash of the key schedule, sizes in octets."""

    cipher: type[AESGCM | ChaCha20Poly1305]
    key_size: int
    digest: str
    digest_size: int


SUITES: Final = {
    0x1301: Suite(AESGCM, 16, "sha256", 32),
    0x1302: Suite(AESGCM, 32, "sha384", 48),
    0x1303: Suite(ChaCha20Poly1305, 32, "sha256", 32),
}
"""The suites of RFC 8446 §B.4, by their numbers there; without those of CCM, which mail does not use."""


class Secrets:
    """The secrets of a key log, by session; to be made once for all sessions of a capture."""

    def __init__(self, key_log: bytes) -> None:
        """Take the lines of `key_log`; what is not in the NSS key log format is passed over."""
        self._sessions: dict[bytes, dict[bytes, bytes]] = {}
        for label, random, secret in _LINE.findall(key_log):
            self._sessions.setdefault(random.lower(), {})[label] = secret

    def session(self, client_random: bytes) -> dict[str, bytes]:
        """Return the secrets of the session of this client random, by label; empty when there are none."""
        found = self._sessions.get(client_random.hex().encode(), {})
        return {label.decode(): bytes.fromhex(secret.decode()) for label, secret in found.items()}


class Keys:
    """What opens the records of one side, in order, for as long as one secret is in use."""

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self._suite = suite
        self._secret = secret
        self._cipher = suite.cipher(_expand(suite.digest, secret, b"key", suite.key_size))
        self._nonce = int.from_bytes(_expand(suite.digest, secret, b"iv", 12), "big")
        self._count = 0

    def open(self, header: bytes, body: bytes) -> bytes:
        """Return the next record's content with its type and padding.

        Raises: cryptography.exceptions.InvalidTag, if these keys do not open it.
        """
        opened = self._cipher.decrypt((self._nonce ^ self._count).to_bytes(12, "big"), body, header)
        self._count += 1
        return opened

    def updated(self) -> Keys:
        """Return the keys that follow a KeyUpdate (RFC 8446 §7.2)."""
        suite = self._suite
        return Keys(suite, _expand(suite.digest, self._secret, b"traffic upd", suite.digest_size))


def _expand(digest: str, secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label without context (§7.1), for at most one block of the hash (RFC 5869 §2.3)."""
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\x01", digest)[:size]
