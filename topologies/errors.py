"""The errors of topologies.

TopologyError
├── PlanError          mistakes in a plan, all of them
├── UnknownTopology    no built-in plan and no file of that name
├── MissingFeature     the plan requires what this kernel or machine lacks
└── NetworkError       the kernel refused to build what the plan says
"""

from __future__ import annotations

from collections.abc import Sequence


class TopologyError(Exception):
    """A topology cannot be used; the message is for the person who asked for it."""


class PlanError(TopologyError):
    """A plan has mistakes: `mistakes` holds one sentence for each, in the order of the plan."""

    def __init__(self, plan: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(f"{plan}: {count}: " + "; ".join(self.mistakes))


class UnknownTopology(TopologyError):
    """Nothing of that name is built in, and it is no file."""


class MissingFeature(TopologyError):
    """The plan requires a feature that is missing here; the message names the remedy."""


class NetworkError(TopologyError):
    """The kernel refused a part of the network; the message names the interface or the address."""
