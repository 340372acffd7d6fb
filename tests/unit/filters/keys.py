"""Keys for signing, and the records that publish them."""

from __future__ import annotations

import base64
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from services.filters.signing import SigningKey


@cache
def private_key(kind: str = "rsa", owner: str = "") -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    """A key, the same one each time it is asked for with the same words."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ed25519.Ed25519PrivateKey.generate()


def signing_key(domain: str = "example.com", kind: str = "rsa", selector: str = "lab") -> SigningKey:
    return SigningKey(domain=domain, selector=selector, private=private_key(kind, domain))


def published(key: SigningKey) -> tuple[tuple[str, str], list[str]]:
    """The key's name and type in DNS, and its record."""
    public = key.private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind = "rsa"
        data = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        kind, data = "ed25519", public.public_bytes_raw()
    record = f"v=DKIM1; k={kind}; p={base64.b64encode(data).decode()}"
    return (f"{key.selector}._domainkey.{key.domain}", "TXT"), [record]


def pem(key: SigningKey) -> bytes:
    rsa_form = serialization.PrivateFormat.TraditionalOpenSSL
    form = rsa_form if key.algorithm == "rsa-sha256" else serialization.PrivateFormat.PKCS8
    return key.private.private_bytes(
        serialization.Encoding.PEM,
        form,
        serialization.NoEncryption(),
    )
