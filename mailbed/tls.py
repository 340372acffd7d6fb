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
    if names:
        # Imported when needed: it takes longer than making the certificates.
        from mailbed.certificates import Authority

        authority = Authority(now - datetime.timedelta(days=1), now + _LIFETIME)
        (directory / "ca.pem").write_bytes(authority.certificate)
        for fqdn in names:
            certificate, key = authority.issue(fqdn)
            (directory / f"{fqdn}.pem").write_bytes(certificate)
            (directory / f"{fqdn}.key").touch(mode=0o600)
            (directory / f"{fqdn}.key").write_bytes(key)
