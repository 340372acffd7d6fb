"""What `tc` is told about a link."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from topologies.plan import Link
from topologies.shaping import commands


def link(rate: float | None = None, delay: float | None = None, loss: float | None = None) -> Link:
    """A link of that quality."""
    return Link(a="a", b="b", rate_mbit=rate, delay_ms=delay, loss_percent=loss)


HTB = ["qdisc add dev x root handle 5: htb default 1", "class add dev x parent 5: classid 5:1 htb rate"]
NETEM = "handle 10: netem limit 10000"


@pytest.mark.parametrize(
    ("quality", "missing", "expected"),
    [
        pytest.param(link(), (), [], id="nothing asked for"),
        pytest.param(link(0, 0, 0), (), [], id="zeros"),
        pytest.param(link(100), (), [HTB[0], f"{HTB[1]} 100mbit burst 15k"], id="a rate"),
        pytest.param(link(0.5), (), [HTB[0], f"{HTB[1]} 0.5mbit burst 15k"], id="a small rate"),
        pytest.param(link(delay=10), (), [f"qdisc add dev x root {NETEM} delay 10ms"], id="a delay"),
        pytest.param(link(loss=1.5), (), [f"qdisc add dev x root {NETEM} loss 1.5%"], id="a loss"),
        pytest.param(
            link(10, 5, 1),
            (),
            [
                HTB[0],
                f"{HTB[1]} 10mbit burst 15k",
                f"qdisc add dev x parent 5:1 {NETEM} delay 5ms loss 1%",
            ],
            id="all: netem stands below the rate's class",
        ),
        pytest.param(
            link(10, 5),
            ("netem",),
            [HTB[0], f"{HTB[1]} 10mbit burst 15k"],
            id="netem is missing: the rate stays",
        ),
        pytest.param(
            link(10, 5),
            ("htb",),
            [f"qdisc add dev x root {NETEM} delay 5ms"],
            id="htb is missing: netem is the root",
        ),
        pytest.param(link(10, 5, 1), ("htb", "netem"), [], id="both are missing"),
    ],
)
def test_commands(quality: Link, missing: Collection[str], expected: list[str]) -> None:
    """A rate is an HTB class, delay and loss are netem below it; what the kernel lacks is left out."""
    assert commands(quality, "x", missing=missing) == expected
