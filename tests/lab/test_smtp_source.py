"""Postfix's own test programs in a lab: smtp-source as load on a server of ours, smtp-sink as a server."""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections import Counter
from dataclasses import replace
from email.message import EmailMessage

import pytest

from mailbed import Lab
from tests.lab.residue import until
from topologies import minimal
from topologies.plan import Command, Domain, Exchanger, Host, Link, Plan

ALICE, BOB, SUNK = "alice@example.com", "bob@example.org", "anybody@sink.example.org"
LOAD = 200
SENT = 40
# It will not run as root, which everybody is in a lab: so it runs as somebody else, who may have port 25.
_AS_SOMEBODY = 'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && exec unshare --map-user 1000 "$@"'
SINK = Command(
    name="sink",
    command=(
        *("sh", "-c", _AS_SOMEBODY.replace("$", "$$"), "sh"),
        *("/usr/sbin/smtp-sink", "-D", "${DIR}/messages", "-h", "${FQDN}", "0.0.0.0:25", "100"),
    ),
    ready="tcp:25",
)


def plan() -> Plan:
    """`minimal`, with a host whose server is smtp-sink; a domain has it as its exchanger."""
    built = minimal.build()
    sink = Host(name="sink", fqdn="mx.sink.example.org", roles=(SINK,), resolver="rcpt-dns")
    return replace(
        built,
        hosts=(*built.hosts, sink),
        links=(*built.links, Link(a="sink", b="rcpt-lan")),
        domains=(*built.domains, Domain(name="sink.example.org", exchangers=(Exchanger(host="sink"),))),
    )


pytestmark = pytest.mark.topology(plan())


def events(lab: Lab, host: str, kind: str) -> list[dict[str, object]]:
    lines = (lab.run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if (event["host"], event["kind"]) == (host, kind)]


@pytest.mark.parametrize(
    "reuse", [pytest.param((), id="a connection each"), pytest.param(("-d",), id="reuse")]
)
def test_load(shared_lab: Lab, reuse: tuple[str, ...]) -> None:
    """Each message that smtp-source was told of as taken lies in the mailbox, once; events tell of each."""
    folder = shared_lab.maildir(BOB) / "new"
    before = {file.name for file in folder.glob("*")}
    known = len(events(shared_lab, "rcpt-mx", "delivered"))
    options = ("-s", "10", "-m", str(LOAD), "-l", "4096", "-f", ALICE, "-t", BOB, *reuse)
    done = shared_lab.exec("corp-mta", "/usr/sbin/smtp-source", *options, "rcpt-mx.example.org:25")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: len(events(shared_lab, "rcpt-mx", "delivered")) - known >= LOAD or None, 60)
    found = [file for file in folder.glob("*") if file.name not in before]
    ids = Counter(re.findall(rb"(?mi)^message-id: (.*)\r$", b"".join(file.read_bytes() for file in found)))
    assert (len(found), len(ids), set(ids.values())) == (LOAD, LOAD, {1})
    assert all(len(file.read_bytes()) > 4096 for file in found)


def test_sink(shared_lab: Lab) -> None:
    """Every message for the domain arrives at its exchanger, whole, with the envelope, and once."""
    for number in range(SENT):
        text = f"Subject: number {number}\n\nHello {number}\n"
        assert not shared_lab.send(text, sender=ALICE, to=SUNK).refused
    until(lambda: len(events(shared_lab, "corp-mta", "relayed")) == SENT or None, 60)
    messages = sunk((shared_lab.run / "hosts/sink/messages").read_text())
    assert Counter(message["Subject"] for message in messages) == {f"number {n}": 1 for n in range(SENT)}
    for message in messages:
        assert message.get_content().strip() == f"Hello {message['Subject'].split()[1]}"
        assert (message["X-Mail-Args"], message["X-Rcpt-Args"]) == (f"<{ALICE}>", f"<{SUNK}>")


def sunk(text: str) -> list[EmailMessage]:
    """The messages in smtp-sink's file, each below what it says of the session."""
    each = re.split(r"(?m)^(?=X-Client-Addr: )", text)[1:]
    return [email.message_from_string(one, policy=email.policy.default) for one in each]
