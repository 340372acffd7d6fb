"""The values of a configuration: taken from the tables of a TOML file, and of the types that they should be.

A mistake is one line: where it is, the key, and what is wrong with its value.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from services.errors import ConfigError
from services.smtp.address import Address, canonical_domain, parse_address
from services.smtp.errors import BadAddress

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NETWORKS: Final = (ipaddress.IPv4Network, ipaddress.IPv6Network)
_Value = TypeVar("_Value")


class Table:
    """A table of the file: each take removes a key, so that a misspelt one is left over and found."""

    def __init__(self, where: str, values: Mapping[str, object], base: Path) -> None:
        self._where = where
        self._values = dict(values)
        self.base = base

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._where}: {key} {problem}")

    def holds(self, key: str, kind: type) -> bool:
        return isinstance(self._values.get(key), kind)

    def take(self, key: str, kind: type[_Value], *, default: _Value | None = None) -> _Value:
        value = self._values.pop(key, default)
        if value is None:
            raise self.error(key, "is missing")
        # In Python a bool is an int; in a configuration it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"is {value!r}, which is no {_KINDS[kind]}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, str, default=default)
        if not value and default is None:
            raise self.error(key, "is empty")
        return value

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        values = self.take(key, list, default=None if default is None else list(default))
        if not all(isinstance(value, str) and value for value in values):
            raise self.error(key, f"is {values!r}, which is no list of strings")
        return tuple(values)

    def whole(self, key: str, default: int, least: int | None = None, most: int | None = None) -> int:
        value = self.take(key, int, default=default)
        if (least is not None and value < least) or (most is not None and value > most):
            raise self.error(key, f"is {value}, not between {least} and {'any' if most is None else most}")
        return value

    def positive(self, key: str, default: float) -> float:
        value = self._values.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self.error(key, f"is {value!r}, which is no number above 0")
        return float(value)

    def not_negative(self, key: str, default: float) -> float:
        value = self._values.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.error(key, f"is {value!r}, which is no number from 0 on")
        return float(value)

    def path(self, key: str, default: str | None = None) -> Path:
        return self.base / self.text(key, default)

    def address(self, key: str, text: str) -> Address:
        try:
            return parse_address(text)
        except BadAddress as error:
            raise self.error(key, f"is wrong: {error}") from error

    def network(self, text: str, key: str = "relay_from") -> Network:
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise self.error(key, f"is wrong: {error}") from error

    def weights(self, key: str) -> tuple[tuple[str, int], ...]:
        values = self.take(key, dict, default={})
        for host, weight in values.items():
            if isinstance(weight, bool) or not isinstance(weight, int) or weight < 1:
                raise self.error(f"{key}.{host}", f"is {weight!r}, which is no whole number above 0")
        return tuple((canonical_domain(host), weight) for host, weight in values.items())

    def tables(self, key: str, *, single: bool = False) -> list[Table]:
        value = self._values.pop(key, None)
        entries = [] if value is None else [value] if single else value
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(key, f"is no {'table' if single else 'list of tables'}")
        place = f"{self._where}: {key}"
        return [
            Table(place if single else f"{place}[{number}]", entry, self.base)
            for number, entry in enumerate(entries)
        ]

    def no_more_keys(self) -> None:
        if self._values:
            raise self.error(", ".join(sorted(self._values)), "is not a key that is known here")


_KINDS: dict[type, str] = {str: "string", int: "whole number", bool: "boolean", list: "list", dict: "table"}
_PLAIN: Final[dict[str, type | tuple[type, ...]]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "Path": Path,
}
_TUPLE: Final = re.compile(r"tuple\[(\w+), \.\.\.\]")


def check_types(config: DataclassInstance, members: Mapping[str, type | tuple[type, ...]]) -> None:
    """Return if the values of a configuration that was made in Python are of the types that it names.

    Its annotations are taken by their text; `members` are the types that its tuples have in them, by name.
    Raises: ConfigError.
    """
    for each in dataclasses.fields(config):
        value: Any = getattr(config, each.name)
        found = _TUPLE.fullmatch(str(each.type))
        if not found:
            kind = _PLAIN.get(str(each.type))
            if kind is not None and not _is(value, kind):
                raise ConfigError(f"{each.name} is {value!r}, which is no {each.type}")
            continue
        kind, name = members[found[1]], found[1]
        if not isinstance(value, tuple):
            raise ConfigError(f"{each.name} is {value!r}, which is no tuple of {name}")
        for one in value:
            if not _is(one, kind):
                raise ConfigError(f"{each.name} has {one!r} in it, which is no {name}")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    # In Python a bool is an int; in a configuration it is not.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
