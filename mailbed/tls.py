"""The lab's certificates: one CA and a certificate for each server that speaks TLS, made anew for every run.

    tls/ca.pem              the certificate that clients trust
    tls/FQDN.pem, .key      a server's certificate and private key
    tls/keys.log            the secrets of every TLS session, as endpoints append them (NSS key log format)

The CA's private key is never written: nobody needs it once the run's certificates are there.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

_LIFETIME = datetime.timedelta(days=30)


def make(directory: Path, fqdns: Iterable[str], *, now: datetime.datetime) -> None:
    """Write the CA's certificate, an empty key log, and a certificate and key for each name.

    Certificates hold from a day before `now` (an aware time) for thirty days.
    Raises: OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "keys.log").touch(mode=0o600)
    names = list(fqdns)
    if not names:
        return
    # Imported when needed: it takes longer than making the certificates.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Mailbed lab CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
        )

    ca_key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    ca_usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        certificate("Mailbed lab CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    for fqdn in names:
        key = ec.generate_private_key(ec.SECP256R1())
        server = (
            certificate(fqdn, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(fqdn)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(authority, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        (directory / f"{fqdn}.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (directory / f"{fqdn}.key").touch(mode=0o600)
        (directory / f"{fqdn}.key").write_bytes(private)
