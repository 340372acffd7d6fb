"""What a picture of a journey consists of, each thing with its place in pixels; `ladder` puts them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captures.journeys.model import Step

Side = Literal["sender", "internet", "recipient"]
Kind = Literal["lookup", "hop", "queue", "accepted", "end", "fetch", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A host, or a level of DNS servers."""

    x: int
    label: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Columns that lie beside each other, from `x` to `end`."""

    x: int
    end: int
    label: str
    kind: Side | Literal["dns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Servers of one level that were asked for a lookup.

    `label` names the last one, `kind` is what came of it; `failed` if one before it was asked in vain.
    """

    x: int
    label: str
    kind: Literal["resolver", "cached", "referral", "answer", "silent"]
    failed: bool = False


@dataclass(slots=True, kw_only=True)
class Row:
    """One thing that happened, at `x` or from `x` to `end`; `href` is where the page tells it in full."""

    kind: Kind
    time_ns: int
    letter: Step
    x: int = 0
    end: int = 0
    y: int = 0
    label: str = ""
    note: str = ""
    title: str = ""
    href: str = ""
    good: bool = True
    long: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """The message at a host."""

    x: int
    y: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The whole picture, `width` by `height` pixels; `described` is the same in a sentence."""

    width: int
    height: int
    groups: tuple[Group, ...]
    columns: tuple[Column, ...]
    levels: tuple[Column, ...]
    rows: tuple[Row, ...]
    custody: tuple[Custody, ...]
    described: str
    top: int
