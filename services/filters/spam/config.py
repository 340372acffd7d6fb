"""The configuration of a spam engine, read from TOML.

    hostname = "filter.example.org"      # its name in reports, and in Authentication-Results that count
    listen = ["127.0.0.1"]
    port = 783
    required = 5.0                       # the score from which on a message is spam
    nameservers = ["198.18.2.13"]        # resolvers, by IPv4 address; none: DNS is not asked
    dns_timeout_s = 4.0                  # for all questions about a message together
    trusted = ["198.18.2.0/24"]          # networks whose servers are ours: their Received fields are true
    names = ["example.org"]              # names of hosts and domains that nobody outside may bear
    block_lists = ["bl.example.net"]     # of addresses (RFC 5782 §2)
    url_block_lists = ["dbl.example.net"]  # of domains (RFC 5782 §3)
    database = "spam/taught.sqlite3"     # what the classifier was taught
    size_limit = 52428800                # octets
    seed = 7                             # of the questions' ids and ports

Relative paths are relative to the file's directory. A key that is not named here is a mistake.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.errors import ConfigError
from services.filters.spam.examined import Site
from services.filters.spam.score import REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamConfig:
    """What one spam engine does; see the module for the meaning of each value."""

    site: Site
    listen: tuple[str, ...] = ("127.0.0.1",)
    port: int = 783
    required: float = REQUIRED
    nameservers: tuple[str, ...] = ()
    nameserver_port: int = 53
    dns_timeout_s: float = 4.0
    block_lists: tuple[str, ...] = ()
    url_block_lists: tuple[str, ...] = ()
    database: Path | None = None
    size_limit: int = 50 * 1024 * 1024
    seed: int = 0


_LISTS = ("listen", "nameservers", "trusted", "names", "block_lists", "url_block_lists")
_NUMBERS = ("required", "dns_timeout_s")
_WHOLE = ("port", "nameserver_port", "size_limit", "seed")
_TEXTS = ("hostname", "database")


def load(path: Path) -> SpamConfig:
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
    plain = {key: values[key] for key in (*_NUMBERS, *_WHOLE) if key in values}
    lists: dict[str, Any] = {key: tuple(values[key]) for key in _LISTS if key in values}
    trusted, names = lists.pop("trusted", ()), lists.pop("names", ())
    try:
        site = Site(
            authserv_id=values["hostname"],
            trusted=tuple(map(ipaddress.ip_network, trusted)),
            names=tuple(name.lower() for name in names),
        )
    except ValueError as error:
        raise ConfigError(f"{path}: trusted: {error}") from error
    database = path.parent / values["database"] if "database" in values else None
    return SpamConfig(site=site, database=database, **plain, **lists)


def _check(where: str, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key in _LISTS:
            right = isinstance(value, list) and all(isinstance(each, str) for each in value)
        elif key in _NUMBERS:
            right = isinstance(value, int | float) and not isinstance(value, bool)
        elif key in _WHOLE:
            right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif key in _TEXTS:
            right = isinstance(value, str)
        else:
            raise ConfigError(f"{where}: {key} is not a key that is known here")
        if not right:
            raise ConfigError(f"{where}: {key} is {value!r}, which makes no sense there")
    if "hostname" not in values:
        raise ConfigError(f"{where}: hostname is missing")
