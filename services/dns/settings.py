"""Configurations of the name servers, as TOML tables: typed values, and errors that name file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from services.errors import ConfigError


class Settings:
    """One TOML file, read key by key; `done` refuses what nobody asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._left: dict[str, Any] = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._take(key, str, "a string", default))

    def integer(self, key: str, default: int | None = None) -> int:
        return int(self._take(key, int, "a whole number", default))

    def seconds(self, key: str, default: float) -> float:
        value = float(self._take(key, (int, float), "a number of seconds", default))
        if value <= 0:
            raise self.error(key, "a number of seconds above 0")
        return value

    def file(self, key: str) -> Path:
        """Return a path; a relative one starts at the configuration's directory."""
        return self.path.parent / self.text(key)

    def port(self, key: str = "port", default: int = 53) -> int:
        port = self.integer(key, default)
        if not 0 <= port <= 65535:
            raise self.error(key, "a port from 0 to 65535")
        return port

    def listen(self) -> tuple[str, ...]:
        """Return the IPv4 addresses to listen on; by default every one the host has."""
        listed = self._take("listen", list, "a list of IPv4 addresses", ["0.0.0.0"])
        try:
            return check_listen(tuple(str(address) for address in listed))
        except ValueError as error:
            raise ConfigError(f"{self.path}: listen: {error}") from error

    def paths(self, key: str) -> dict[str, Path]:
        """Return a table of paths by name."""
        table = self._take(key, dict, "a table of paths", None)
        if not all(isinstance(path, str) for path in table.values()):
            raise self.error(key, "a table of paths")
        return {name: self.path.parent / path for name, path in table.items()}

    def lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """Return a table of lists of texts by name; without one, nothing."""
        table = self._take(key, dict, "a table of lists of texts", {})
        for texts in table.values():
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise self.error(key, "a table of lists of texts")
        return {name: tuple(texts) for name, texts in table.items()}

    def numbers(self, key: str) -> dict[str, int]:
        """Return a table of whole numbers by name; without one, nothing."""
        table: dict[str, int] = self._take(key, dict, "a table of whole numbers", {})
        if not all(type(number) is int for number in table.values()):
            raise self.error(key, "a table of whole numbers")
        return dict(table)

    def networks(self, key: str, default: Sequence[str]) -> tuple[IPv4Network, ...]:
        """Return a list of IPv4 networks, written as prefixes (`198.18.0.0/15`)."""
        listed = self._take(key, list, "a list of IPv4 networks", list(default))
        try:
            return tuple(IPv4Network(network) for network in listed)
        except ValueError:
            raise self.error(key, "a list of IPv4 networks, such as 198.18.0.0/15") from None

    def done(self) -> None:
        """Refuse keys that were not read: a misspelt one would change nothing in silence."""
        if self._left:
            raise ConfigError(f"{self.path}: unknown key {min(self._left)!r}")

    def error(self, key: str, right: str) -> ConfigError:
        return ConfigError(f"{self.path}: {key} must be {right}")

    def _take(self, key: str, kind: type | tuple[type, ...], right: str, default: object) -> Any:
        value = self._left.pop(key, default)
        if value is None:
            raise ConfigError(f"{self.path}: {key} is missing: {right}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, right)
        return value


def check_listen(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses unless there are none or one is not IPv4.

    Raises: ValueError.
    """
    if not addresses:
        raise ValueError("at least one address is needed")
    for address in addresses:
        try:
            IPv4Address(address)
        except AddressValueError:
            raise ValueError(f"{address!r} is no IPv4 address") from None
    return addresses
