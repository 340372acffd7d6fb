"""Where plans come from: built-in ones by name, people's own from files.

A reference is what people type:

    minimal                 built in
    internet:DOMAINS=30     built in, with a parameter
    my-world.toml           a file that `planfile` reads
    my_world.py             a Python file with a function `build()` that returns a Plan
"""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from topologies import parameters, planfile
from topologies.check import check
from topologies.errors import PlanError, UnknownTopology
from topologies.parameters import Parameter
from topologies.plan import Plan

BUILT_IN = ("minimal", "two-companies", "company", "dns", "internet")
"""The built-in topologies: each is a module of this package with a TITLE and a function build().

One that takes parameters has a table PARAMETERS too, by key (topologies.parameters).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What `mailbed list` shows of a built-in topology; `hosts` are those it has without parameters."""

    name: str
    title: str
    hosts: int
    parameters: Mapping[str, Parameter]


def entries() -> list[Entry]:
    """Return the built-in topologies, in the order in which one meets them."""
    found = []
    for name in BUILT_IN:
        plan = load(name)
        known = _parameters(_module(name))
        found.append(Entry(name=name, title=plan.title, hosts=len(plan.hosts), parameters=known))
    return found


def load(reference: str) -> Plan:
    """Return the plan that a reference names, checked. Raises: UnknownTopology, PlanError."""
    name, settings = parameters.split(reference)
    if name in BUILT_IN:
        plan = _built_in(name, settings)
    elif reference.endswith(".toml"):
        plan = planfile.loads(_read(reference), name=reference)
    elif reference.endswith(".py"):
        plan = _run(reference)
    else:
        raise UnknownTopology(
            f"there is no topology {reference!r}; there are {', '.join(BUILT_IN)}, "
            "and files that end in .toml or .py"
        )
    check(plan)
    return plan


def _built_in(name: str, settings: str | None) -> Plan:
    module = _module(name)
    known = _parameters(module)
    given = {} if settings is None else parameters.read(name, settings, known)
    values = {key.lower(): given.get(key, parameter.default) for key, parameter in known.items()}
    plan: Plan = module.build(**values)
    return plan


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"topologies.{name.replace('-', '_')}")


def _parameters(module: ModuleType) -> Mapping[str, Parameter]:
    found: Mapping[str, Parameter] = getattr(module, "PARAMETERS", {})
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UnknownTopology(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlanError(path, ["not UTF-8 text"]) from None


def _run(path: str) -> Plan:
    _read(path)
    try:
        build = runpy.run_path(path).get("build")
        plan = build() if callable(build) else None
        # Python does not ask what a field holds; the plan file does, and says where it is wrong.
        return planfile.loads(planfile.dumps(plan), name=path) if isinstance(plan, Plan) else _no_plan(path)
    except PlanError:
        raise
    except (Exception, SystemExit) as error:
        # The file is the user's: whatever goes wrong in it is a mistake in it, told in a line.
        raise PlanError(path, [f"{type(error).__name__}: {error}"]) from error


def _no_plan(path: str) -> NoReturn:
    raise PlanError(path, ["it has no function build() that returns a topologies.plan.Plan"])
