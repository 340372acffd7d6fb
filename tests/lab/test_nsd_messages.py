"""Ours and NSD, side by side: odd messages, EDNS, and many questions on one connection."""

from __future__ import annotations

from collections.abc import Iterator

import dns.exception
import dns.message
import pytest

from tests.lab import beside
from tests.lab.beside import Servers
from tests.unit.dns.conversation import EXAMPLE
from tests.unit.dns.messages import Odd, corpus

ODD = corpus()
SHORT_S = 0.3
SHORTEST = 17
"""Over a message by TCP that is shorter than a question, NSD closes the connection."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both servers with a small zone."""
    directory = tmp_path_factory.mktemp("nsd")
    path = directory / "example.org.zone"
    path.write_text(EXAMPLE)
    with beside.both({"example.org": path}, directory) as both:
        yield both


@pytest.mark.parametrize("odd", ODD, ids=[odd.name for odd in ODD])
def test_odd_messages(servers: Servers, odd: Odd) -> None:
    """Both say the same, but where the corpus tells how NSD differs; and there it still does."""
    for stream in (False, True) if odd.packet else (False,):
        ours, nsd = (
            beside.ask(port, [odd.packet], stream=stream, wait_s=SHORT_S)[0]
            for port in (servers.ours, servers.nsd)
        )
        if odd.expect == "*":
            assert ours is not None
        elif stream and nsd is None and len(odd.packet) < SHORTEST:
            assert odd.expect in _told(ours)
        else:
            assert (_told(ours) == _told(nsd)) is not bool(odd.nsd), f"{_told(ours)}\n-- NSD:\n{_told(nsd)}"


def _told(packet: bytes | None) -> str:
    """What a reply says; of one that only says what is wrong, not how much of the query it repeats."""
    try:
        told = beside.told(packet)
    except dns.exception.DNSException as error:
        return f"malformed: {error}"
    lines = told.splitlines()
    opcode, code, *_ = (*lines[0].split(), "")
    if code in ("FORMERR", "NOTIMP", "REFUSED"):
        return f"{opcode} {code} " + "".join(line for line in lines if line.startswith("edns"))
    return told


def test_many_questions_on_one_connection(servers: Servers) -> None:
    """A thousand questions on one TCP connection are all answered (RFC 7766 §6.2.1.1)."""
    asked = [dns.message.make_query(f"h{n}.example.org", "A").to_wire() for n in range(1000)]
    for port in (servers.ours, servers.nsd):
        assert None not in beside.ask(port, asked, stream=True)
