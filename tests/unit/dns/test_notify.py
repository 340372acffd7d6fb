"""NOTIFY on the wire, and who is told when: on a clock that the test moves."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dns import names, notify
from services.dns.message import Malformed
from services.dns.notify import Notifier
from services.dns.transfer import Peer
from tests.unit.dns.conversation import EXAMPLE, make_zone

ZONE = make_zone(EXAMPLE.replace("hostmaster 1 ", "hostmaster 42 "))
ORIGIN = names.from_text("example.org")
ONE, TWO = Peer(address="198.18.0.2"), Peer(address="198.18.0.3")


def test_dnspython_reads_ours() -> None:
    """A NOTIFY asks for the SOA with its own opcode, has AA set, and holds the new SOA."""
    found = dns.message.from_wire(notify.write(77, ZONE))
    assert (found.id, found.opcode(), found.flags & dns.flags.AA) == (77, dns.opcode.NOTIFY, dns.flags.AA)
    assert [str(question) for question in found.question] == ["example.org. IN SOA"]
    assert [rdata.serial for rdata in found.answer[0]] == [42]


def theirs(*, hint: bool, name: str = "Example.org") -> bytes:
    """A NOTIFY as dnspython makes it."""
    made = dns.message.make_query(name, "SOA", id=78)
    made.set_opcode(dns.opcode.NOTIFY)
    if hint:
        made.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", "SOA", "n. h. 9 1 2 3 4"))
    return made.to_wire()


@pytest.mark.parametrize(("hint", "serial"), [(True, 9), (False, None)])
def test_reading(hint: bool, serial: int | None) -> None:
    """The zone is read without case, and the serial if there is one."""
    found = notify.read(theirs(hint=hint))
    assert (found.ident, found.origin, found.serial) == (78, ORIGIN, serial)


def test_our_own() -> None:
    """What one of our servers writes, another reads."""
    assert notify.read(notify.write(77, ZONE)).serial == 42


@given(st.integers(0, 200), st.data())
def test_garbage(length: int, data: st.DataObject) -> None:
    """What is no NOTIFY is malformed, and nothing else happens."""
    packet = bytearray(theirs(hint=True)[:length])
    for _ in range(data.draw(st.integers(0, 3)) if packet else 0):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    try:
        notify.read(bytes(packet))
    except Malformed:
        return


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.REFUSED])
def test_the_reply(rcode: dns.rcode.Rcode) -> None:
    """The reply repeats the question in its own spelling; dnspython knows it as one to this NOTIFY."""
    asked = dns.message.from_wire(theirs(hint=False))
    reply = dns.message.from_wire(notify.reply(notify.read(theirs(hint=False)), rcode))
    assert asked.is_response(reply)
    assert str(reply.question[0].name) == "Example.org."
    assert (reply.opcode(), reply.rcode()) == (dns.opcode.NOTIFY, rcode)
    assert notify.reply_code(reply.to_wire(), 78) == rcode


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(theirs(hint=False), id="a NOTIFY, not the reply to one"),
        pytest.param(
            dns.message.make_response(dns.message.make_query("example.org", "SOA", id=78)).to_wire(),
            id="the reply to something else",
        ),
    ],
)
def test_no_reply(packet: bytes) -> None:
    """Only a reply to a NOTIFY of that id counts."""
    assert notify.reply_code(packet, 78) is None


def send(notifier: Notifier, now: float) -> list[str]:
    """Who is told now."""
    return [peer.address for peer, _ in notifier.due(now)]


def test_every_secondary_is_told_again_until_it_replies() -> None:
    """Each gets its NOTIFY at once; one that replied gets no more, the others after growing pauses."""
    notifier = Notifier(random.Random(1))
    notifier.changed(ZONE, (ONE, TWO), 100.0)
    assert notifier.next_due() == 100.0
    sent = dict(notifier.due(100.0))
    assert list(sent) == [ONE, TWO]
    reply = notify.reply(notify.read(sent[ONE]), names.NOERROR)
    assert notifier.heard(reply, TWO.address) is None, "from somebody else"
    assert notifier.heard(reply, ONE.address) == (ORIGIN, names.NOERROR)
    times = []
    while (due := notifier.next_due()) is not None:
        times.append(due)
        assert send(notifier, due) in ([TWO.address], [])
    assert times == [101.0, 103.0, 107.0, 115.0, 131.0, 163.0]


def test_nothing_is_sent_before_it_is_due() -> None:
    """Between two NOTIFYs there is silence."""
    notifier = Notifier(random.Random(1))
    notifier.changed(ZONE, (ONE,), 100.0)
    assert send(notifier, 100.0) == [ONE.address]
    assert send(notifier, 100.9) == []
    assert send(notifier, 101.0) == [ONE.address]


def test_a_newer_change_takes_the_place_of_an_older_one() -> None:
    """A secondary that has not replied yet is told of what holds now, and at once."""
    notifier = Notifier(random.Random(1))
    notifier.changed(ZONE, (ONE,), 100.0)
    old = dict(notifier.due(100.0))[ONE]
    notifier.changed(make_zone(EXAMPLE.replace("hostmaster 1 ", "hostmaster 43 ")), (ONE,), 100.5)
    ((_, packet),) = notifier.due(100.5)
    assert notify.read(packet).serial == 43
    assert notifier.heard(notify.reply(notify.read(old), names.NOERROR), ONE.address) is None


def test_without_secondaries_nobody_is_told() -> None:
    """There is nothing to wait for either."""
    notifier = Notifier(random.Random(1))
    notifier.changed(ZONE, (), 100.0)
    assert (notifier.due(200.0), notifier.next_due()) == ([], None)
