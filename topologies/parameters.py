"""What a built-in topology takes: `internet:DOMAINS=30` is `internet` with its parameter DOMAINS set to 30.

A module that takes parameters has a table PARAMETERS, and a function `build` with an argument for each, in
lower case. All of them are whole numbers, so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from topologies.errors import UnknownTopology


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A whole number from `least` to `most`; `meaning` is what it counts, as a phrase."""

    default: int
    least: int
    most: int
    meaning: str

    @property
    def range(self) -> str:
        """What it counts, and from what to what."""
        return f"{self.meaning}, {self.least} to {self.most}"


def split(reference: str) -> tuple[str, str | None]:
    """Return the topology's name and the text of its parameters, None if there is no colon."""
    name, colon, text = reference.partition(":")
    return name, text if colon else None


def read(name: str, text: str, known: Mapping[str, Parameter]) -> dict[str, int]:
    """Return the values that `KEY=VALUE,KEY=VALUE` sets, by key in upper case.

    Raises: UnknownTopology, in one line that says what the topology `name` takes.
    """
    if not known:
        raise UnknownTopology(f"{name} takes no parameters: write {name} without {':' + text!r}")
    values: dict[str, int] = {}
    for setting in text.split(","):
        key, equals, value = setting.partition("=")
        key = key.strip().upper()
        if key not in known or not equals:
            takes = "; ".join(f"{key}=N, {parameter.range}" for key, parameter in known.items())
            raise UnknownTopology(f"{name} has no parameter {setting!r}; it takes {takes}")
        if key in values:
            raise UnknownTopology(f"{name}: {key} is given twice")
        values[key] = _number(f"{name}: {key}", value.strip(), known[key])
    return values


def _number(where: str, text: str, parameter: Parameter) -> int:
    # isdecimal() alone takes the digits of every script, and int() any number of them.
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not parameter.least <= value <= parameter.most:
        raise UnknownTopology(
            f"{where} is {text!r}: it is a whole number from {parameter.least} to {parameter.most}"
        )
    return value
