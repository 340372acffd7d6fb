"""The DKIM keys of a lab's domains, made anew for every run (RFC 6376; RSA of 2048 bits, RFC 8301 §3.2)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from topologies.plan import Plan

_BITS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """A domain's key: `private` is PEM, `record` what DNS holds of it."""

    private: str = field(repr=False)
    record: str


def make(plan: Plan) -> dict[str, DkimKey]:
    """Return a key for each domain that signs, by its name."""
    return {domain.name: _make() for domain in plan.domains if domain.dkim}


def _make() -> DkimKey:
    # Imported when needed: a lab without such domains need not wait for it.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        # The form that dkimpy reads, which seals with it.
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    return DkimKey(private=private.decode(), record=record)
