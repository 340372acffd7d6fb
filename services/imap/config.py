"""The configuration of an IMAP server, read from TOML.

    hostname = "mda.example.org"         # its name in greetings
    host = "rcpt-mda"                    # the lab's name of the host (default: hostname)
    listen = ["0.0.0.0"]
    port = 143                           # STARTTLS; 0: none
    tls_port = 993                       # TLS from the start; 0: none
    mailboxes = "mail"                   # Maildirs: mail/DOMAIN/USER/
    size_limit = 52428800                # bytes, of a message that is added
    idle_limit_s = 1800.0                # a client who says nothing is sent away (RFC 3501 §5.4)
    session_limit = 400
    [tls]                                # PEM files; the key log is appended to in NSS format
    cert = "cert.pem"
    key = "key.pem"
    keylog = "keys.log"
    [[users]]
    address = "bob@example.org"
    password = "secret"

Relative paths are relative to the file's directory. A key that is not named here is a mistake.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.errors import ConfigError
from services.smtp.address import Address, parse_address
from services.smtp.config import TlsConfig
from services.smtp.errors import BadAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Someone who may read the mailbox of an address."""

    address: Address
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapConfig:
    """What one IMAP server does; see the module for the meaning of each value."""

    hostname: str
    host: str
    mailboxes: Path
    tls: TlsConfig
    listen: tuple[str, ...] = ("0.0.0.0",)
    port: int = 143
    tls_port: int = 993
    size_limit: int = 50 * 1024 * 1024
    idle_limit_s: float = 1800.0
    session_limit: int = 400
    users: tuple[Account, ...] = ()


_KINDS: dict[str, tuple[type, ...]] = {
    "hostname": (str,),
    "host": (str,),
    "listen": (list,),
    "port": (int,),
    "tls_port": (int,),
    "mailboxes": (str,),
    "size_limit": (int,),
    "idle_limit_s": (int, float),
    "session_limit": (int,),
    "tls": (dict,),
    "users": (list,),
}


def load(path: Path) -> ImapConfig:
    """Return the configuration in the TOML file `path`.

    Raises: ConfigError, which names the file and the key.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    _check(str(path), values)
    return ImapConfig(
        hostname=values["hostname"],
        host=values.get("host", values["hostname"]),
        mailboxes=path.parent / values["mailboxes"],
        tls=_tls(path, values["tls"]),
        users=tuple(_account(path, entry) for entry in values.get("users", [])),
        listen=tuple(map(str, values.get("listen", ["0.0.0.0"]))),
        **{key: values[key] for key in _PLAIN if key in values},
    )


_PLAIN = ("port", "tls_port", "size_limit", "idle_limit_s", "session_limit")


def _check(where: str, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key not in _KINDS:
            raise ConfigError(f"{where}: {key} is not a key that is known here")
        if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
            raise ConfigError(f"{where}: {key} is {value!r}, which is no {_KINDS[key][0].__name__}")
        if key in _PLAIN and not 0 <= values[key] <= (65535 if key.endswith("port") else 1 << 40):
            raise ConfigError(f"{where}: {key} is {value}, which is out of range")
    for key in ("hostname", "mailboxes", "tls"):
        if key not in values:
            raise ConfigError(f"{where}: {key} is missing")


def _tls(path: Path, table: dict[str, Any]) -> TlsConfig:
    try:
        keylog = table.get("keylog")
        return TlsConfig(
            cert=path.parent / table["cert"],
            key=path.parent / table["key"],
            keylog=path.parent / keylog if keylog else None,
        )
    except (KeyError, TypeError):
        raise ConfigError(f"{path}: tls needs cert and key, which are paths") from None


def _account(path: Path, table: object) -> Account:
    if not isinstance(table, dict) or not all(
        isinstance(table.get(key), str) for key in ("address", "password")
    ):
        raise ConfigError(f"{path}: users are tables with address and password")
    try:
        return Account(address=parse_address(table["address"]), password=table["password"])
    except BadAddress as error:
        raise ConfigError(f"{path}: users: {error}") from None
