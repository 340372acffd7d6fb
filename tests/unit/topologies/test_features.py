"""What a kernel can do, asked of a make-believe one: `enter` runs a shell that answers for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.topologies.plans import small
from topologies.errors import MissingFeature
from topologies.features import FEATURES, INSIDE, left_out, wanted, why_missing
from topologies.plan import Link, Plan

HAS_ALL = ("true",)
HAS_NONE = ("false",)


def lacks(*words: str, said: str = "qdisc kind is unknown.") -> tuple[str, ...]:
    """A kernel that refuses every command with one of these words in it."""
    cases = " | ".join(f"*{word}*" for word in words)
    return ("sh", "-c", f'case "$*" in {cases}) printf "\\nError: {said}\\n" >&2; exit 2;; esac', "-")


def shaped(**changes: Any) -> Plan:
    """A plan with a link that has a rate, a delay and a loss."""
    links = (*small().links, Link(a="mx", b="core", rate_mbit=1, delay_ms=1, loss_percent=1))
    return small(links=links, **changes)


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        pytest.param(small(), [], id="a plain plan"),
        pytest.param(shaped(), ["netem", "htb"], id="rates and delays"),
        pytest.param(small(links=(Link(a="mx", b="lan", loss_percent=1),)), ["netem"], id="losses"),
        pytest.param(small(links=(Link(a="mx", b="lan", delay_ms=0),)), [], id="a delay of nothing"),
        pytest.param(small(switch="openvswitch"), ["openvswitch"], id="Open vSwitch"),
    ],
)
def test_a_plan_wants_what_it_uses(plan: Plan, names: list[str]) -> None:
    """Features are wanted for what the plan says, and each comes with what for."""
    assert list(wanted(plan)) == names
    assert all(wanted(plan).values())


def test_nothing_is_left_out_where_all_is_there() -> None:
    """A kernel with every feature leaves nothing out."""
    assert left_out(shaped(require=("nftables",)), enter=HAS_ALL) == {}


def test_what_is_wanted_is_left_out_with_a_sentence() -> None:
    """A wanted feature that is missing is left out, and a sentence says what goes with it."""
    assert left_out(shaped(), enter=lacks("netem")) == {
        "netem": "this kernel has no netem: the delays and losses of its links are left out"
    }
    assert list(left_out(shaped(), enter=HAS_NONE)) == ["netem", "htb"]


def test_what_is_not_wanted_is_not_missed() -> None:
    """A plan without shaping does not hear of what the kernel lacks."""
    assert left_out(small(), enter=HAS_NONE) == {}


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        pytest.param(small(require=("netem",)), "netem", id="required, not used"),
        pytest.param(shaped(require=("htb",)), "htb", id="required and used"),
        pytest.param(small(switch="openvswitch"), "openvswitch", id="a switch cannot be left out"),
    ],
)
def test_what_is_required_is_refused_in_a_line(plan: Plan, name: str) -> None:
    """A plan that requires what is missing does not start: one line with the reason and the remedy."""
    with pytest.raises(MissingFeature) as caught:
        left_out(plan, enter=lacks(FEATURES[name].command[0], said="not here"))
    assert str(caught.value) == (
        f"small requires {name}, which is missing here (Error: not here): {FEATURES[name].remedy}"
    )


@pytest.mark.parametrize(
    ("enter", "reason"),
    [
        pytest.param(HAS_ALL, None, id="it works"),
        pytest.param(HAS_NONE, "tc failed", id="it fails and says nothing"),
        pytest.param(lacks("netem"), "Error: qdisc kind is unknown.", id="it fails and says why"),
        pytest.param(("no-such-tool",), "no-such-tool is not installed", id="there is no such tool"),
    ],
)
def test_why_a_feature_is_missing(enter: tuple[str, ...], reason: str | None) -> None:
    """The reason is what the kernel or the tool said, in a line."""
    assert why_missing(FEATURES["netem"], enter=enter) == reason


def test_every_feature_says_what_to_do() -> None:
    """Each feature names its purpose, how it is tried and a command that mends it."""
    for name, feature in FEATURES.items():
        assert feature.name == name
        assert feature.purpose
        assert feature.command
        assert any(tool in feature.remedy for tool in ("modprobe", "apt-get"))
    assert INSIDE == ("unshare", "--net")
