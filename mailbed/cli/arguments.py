"""Arguments read without pydantic.

Theory of operation. typer has pydantic check every argument that is no flag, and importing pydantic takes as
long as importing the lab does (50 ms). Ours are texts, numbers, paths and lists of texts. So our commands
give their parameters a reader of their own, through two names that typer does not promise: with a
version that lacks them, arguments are read in typer's own way, only later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import typer
from typer import core

try:
    from typer._coercion import RuntimeParam
except ImportError:  # pragma: no cover - another version of typer
    RuntimeParam = object  # type: ignore[assignment, misc]  # then `_lighten` finds nothing to replace

if TYPE_CHECKING:
    from typer._click import Context


@dataclass(frozen=True)
class _Plain(RuntimeParam):
    """Reads one parameter: its annotation is a type that takes a text, or a list of one."""

    def _coerce_value(self, value: Any, param: core._TyperParameter, ctx: Context) -> Any:
        if isinstance(value, list | tuple):
            (kind,) = get_args(self.annotation)
            return [self._read(kind, item, param, ctx) for item in value]
        return self._read(self.annotation, value, param, ctx)

    def _read(self, kind: Any, value: Any, param: core._TyperParameter, ctx: Context) -> Any:
        try:
            found = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(f"{value!r} is not {what}", ctx=ctx, param=param) from None
        least = self.parameter_info.min
        # `not >=`, since what is no number (nan) is not less than anything.
        if least is not None and not found >= least:
            raise typer.BadParameter(f"{value} is not at least {least}", ctx=ctx, param=param)
        return found


class Verb(core.TyperCommand):
    """A command whose parameters are read without pydantic."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Return the parameters, that of `--help` too."""
        return [_lightened(param) for param in super().get_params(ctx)]


class Group(core.TyperGroup):
    """A command with verbs, likewise."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Return the parameters, that of `--help` too."""
        return [_lightened(param) for param in super().get_params(ctx)]


def _lightened(param: Any) -> Any:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is not None and getattr(param, "_runtime_param", descriptor) is None:
        param._runtime_param = _Plain(
            parameter_info=descriptor.parameter_info, annotation=descriptor.annotation
        )
    return param
