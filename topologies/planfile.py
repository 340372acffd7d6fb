"""Plans as TOML: `dumps` and `loads` are inverse.

Theory of operation. The keys are the dataclasses' fields. A role is a table with its `kind`; what equals
its default is left out. Reading finds every mistake (a key that does not exist, a value of the wrong type,
a missing key) and names the place: `hosts[2].roles[0].primary`.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from topologies.errors import PlanError
from topologies.plan import ROLES, Plan, Role


def dumps(plan: Plan) -> str:
    """Return the plan as TOML text."""
    # Imported here: Mininet's own launcher loads this package with the system's Python.
    import tomli_w

    return tomli_w.dumps(_encode(plan))


def loads(text: str, *, name: str = "plan.toml") -> Plan:
    """Return the plan that a TOML text describes; `name` is what errors call it. Raises: PlanError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(name, [f"not TOML: {error}"]) from None
    mistakes: list[str] = []
    plan = _decode_table(Plan, data, "", mistakes)
    if mistakes or not isinstance(plan, Plan):
        raise PlanError(name, mistakes)
    return plan


def _encode(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    table: dict[str, Any] = {"kind": value.kind} if isinstance(value, Role) else {}
    for entry in dataclasses.fields(value):
        item = getattr(value, entry.name)
        if item != _default(entry):
            table[entry.name] = _encode(item)
    return table


def _default(entry: dataclasses.Field[Any]) -> Any:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return entry.default


@cache
def _types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}


def _decode_table(cls: type, data: Mapping[str, Any], where: str, mistakes: list[str]) -> object:
    hints = _types(cls)
    prefix = f"{where}." if where else ""
    values: dict[str, Any] = {}
    for key, item in data.items():
        if key not in hints:
            mistakes.append(f"{prefix}{key}: there is no such key; there are {', '.join(hints)}")
        else:
            values[key] = _decode(hints[key], item, prefix + key, mistakes)
    missing = [
        entry.name
        for entry in dataclasses.fields(cls)
        if _default(entry) is dataclasses.MISSING and entry.name not in data
    ]
    mistakes += [f"{prefix}{key} is missing" for key in missing]
    return None if missing else cls(**values)


def _decode(hint: Any, item: Any, where: str, mistakes: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(item, list):
            return _wrong(where, "a list", item, mistakes)
        decoded = [_decode(arguments[0], one, f"{where}[{n}]", mistakes) for n, one in enumerate(item)]
        return tuple(decoded)
    if origin is types.UnionType:
        return _decode(arguments[0], item, where, mistakes)
    if origin is dict:
        kind = arguments[1]
        if not isinstance(item, dict) or not all(type(value) is kind for value in item.values()):
            what = "a table of texts" if kind is str else "a table of whole numbers"
            return _wrong(where, what, item, mistakes)
        return item
    if hint is Role:
        return _decode_role(item, where, mistakes)
    if dataclasses.is_dataclass(hint):
        if not isinstance(item, dict):
            return _wrong(where, "a table", item, mistakes)
        return _decode_table(typing.cast("type", hint), item, where, mistakes)
    return _decode_scalar(hint, item, where, mistakes)


def _decode_role(item: Any, where: str, mistakes: list[str]) -> Any:
    if not isinstance(item, dict):
        return _wrong(where, "a table with a kind", item, mistakes)
    kind = item.get("kind")
    cls = ROLES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        mistakes.append(f"{where}.kind: {kind!r} is no role; there are {', '.join(ROLES)}")
        return None
    rest = {key: value for key, value in item.items() if key != "kind"}
    return _decode_table(cls, rest, where, mistakes)


def _decode_scalar(hint: type, item: Any, where: str, mistakes: list[str]) -> Any:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return item
    if isinstance(item, bool) != (hint is bool) or not isinstance(item, hint):
        return _wrong(where, names[hint], item, mistakes)
    return item


def _wrong(where: str, wanted: str, item: Any, mistakes: list[str]) -> None:
    mistakes.append(f"{where}: expected {wanted}, got {item!r}")
