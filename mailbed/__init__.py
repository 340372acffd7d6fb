"""The lab: the handle that people program against, its control socket, faults, and the command line.

    from mailbed import Lab

The names below are loaded when they are first used: the processes inside a lab import this package too, and
need none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailbed.lab import Fault, Lab, SentMessage
    from mailbed.tracking import Outcome

__all__ = ["Lab", "SentMessage", "Fault", "Outcome"]


def __getattr__(name: str) -> object:
    import importlib

    if name in __all__:
        module = "mailbed.tracking" if name == "Outcome" else "mailbed.lab"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
