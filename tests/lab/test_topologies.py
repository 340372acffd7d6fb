"""The built-in worlds at work: the way that mail takes, and that DNS alone decides it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mailbed import Lab, SentMessage
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until
from topologies.addressing import assign
from topologies.zonedata import reverse_name

pytestmark = pytest.mark.topology("two-companies")

ALICE, BOB, CAROL = "alice@example.com", "bob@example.org", "carol@example.com"
OUT = "corp-msa corp-hub corp-mta1 isp-a[12]"
TRANSIT = "(isp-b[12]|isp-c1)"
IN = "rcpt-mx1 rcpt-filt rcpt-mda"
BACK = "rcpt-mda rcpt-filt rcpt-mx1"


def carried(lab: Lab, sender: str, to: str) -> str:
    """The hosts that had a message on its way to the mailbox, first to last."""
    text = f"From: {sender}\nTo: {to}\nSubject: which way?\n\nThis one.\n"
    outcome = lab.send(text, sender=sender, to=to).wait()[to]
    assert outcome.state == "delivered", outcome
    assert (lab.maildir(to) / "new" / Path(outcome.file).name).is_file()
    return " ".join(outcome.path)


@pytest.mark.parametrize(
    ("sender", "to", "path"),
    [
        pytest.param(ALICE, BOB, f"{OUT} {TRANSIT} {IN}", id="alice to bob"),
        pytest.param(BOB, ALICE, f"{BACK} corp-mta1 corp-hub corp-msa", id="bob to alice"),
        pytest.param(ALICE, CAROL, "corp-msa", id="a colleague"),
        pytest.param(ALICE, "frank@lab.example.org", f"{OUT} {TRANSIT} lab-mx", id="a delegated subdomain"),
        pytest.param(BOB, "frank@lab-mx.lab.example.org", f"{BACK} lab-mx", id="an implicit MX"),
        # The transit host may be the one that has the mailboxes.
        pytest.param(ALICE, "erin@example.edu", f"{OUT} ((isp-b2|isp-c1) )?isp-b1", id="a hosted domain"),
        pytest.param(BOB, "grace@example.gov", f"{BACK} isp-b1", id="another one"),
        pytest.param(BOB, "friends@lists.example.net", f"{BACK} lists", id="a list"),
        pytest.param("mallory@mallory.example.net", BOB, f"mallory {IN}", id="a spammer"),
    ],
)
def test_the_way_of_a_message(shared_lab: Lab, sender: str, to: str, path: str) -> None:
    """Mail is handed from host to host as the mail-flow table of the design says."""
    assert re.fullmatch(path, carried(shared_lab, sender, to))


def test_two_messages_may_take_different_ways(shared_lab: Lab) -> None:
    """Which of several providers, and which of its equal hosts, is a choice anew for each message."""
    paths = {carried(shared_lab, ALICE, BOB) for _ in range(8)}
    assert len(paths) > 1
    assert all(re.fullmatch(f"{OUT} {TRANSIT} {IN}", path) for path in paths)


@pytest.mark.parametrize("domain", ["out.example.com", "isp-b.example.net", "nowhere.example.org"])
def test_a_next_hop_is_no_address(shared_lab: Lab, domain: str) -> None:
    """Mail to somebody at a domain that is only routed through bounces; it does not go round in circles."""
    to = f"eve@{domain}"
    outcome = shared_lab.send("Subject: round and round\n\n", sender=ALICE, to=to).wait()[to]
    assert outcome.state == "bounced"
    assert len(set(outcome.path)) == len(outcome.path)


def test_every_host_knows_its_own_name(shared_lab: Lab) -> None:
    """Who has a resolver finds its own PTR record; through one of them those of all addresses are found."""
    made = assign(shared_lab.plan)
    names = {host.name: f"{host.fqdn}." for host in shared_lab.plan.hosts}
    for host in shared_lab.plan.hosts:
        if host.resolver is not None:
            asked = shared_lab.exec(host.name, "dig", "+short", "-x", str(made.primary()[host.name]))
            assert asked.stdout.split() == [names[host.name]]
    questions = [word for interface in made.interfaces for word in ("-x", str(interface.address.ip))]
    answers = shared_lab.exec("alice", "dig", "+noall", "+answer", *questions).stdout.splitlines()
    found = {line.split()[0]: line.split()[-1] for line in answers}
    assert found == {f"{reverse_name(end.address.ip)}.": names[end.host] for end in made.interfaces}


def test_the_block_list_answers(shared_lab: Lab) -> None:
    """Open relays and the spammer are on it, the company is not (RFC 5782 §2.1)."""
    addresses = assign(shared_lab.plan).primary()

    def listed(address: object) -> bool:
        name = ".".join(reversed(str(address).split("."))) + ".bl.example.net"
        return shared_lab.exec("rcpt-filt", "dig", "+short", name).stdout == "127.0.0.2\n"

    assert all(listed(addresses[host]) for host in ("mallory", "open-1", "open-2"))
    assert not any(listed(addresses[host]) for host in ("corp-mta1", "isp-a1", "lists"))
    assert listed("127.0.0.2")
    assert not listed("127.0.0.1")


def test_dns_alone_decides_the_way(lab_factory: LabFactory) -> None:
    """Where the MX records of a domain change, mail goes another way, with nothing else touched."""
    lab = lab_factory("two-companies")
    change(lab, "example.org", lambda text: text.replace("\nexample.org. MX 10 ", "\nexample.org. MX 30 "))

    def through_an_open_relay(text: str) -> str:
        return re.sub(r"(isp-[bc]\.example\.net\.) MX 10 \S+", r"\1 MX 10 open-1.example.net.", text)

    change(lab, "example.net", through_an_open_relay)
    path = carried(lab, ALICE, BOB)
    assert re.fullmatch(f"{OUT} open-1 rcpt-mx2 rcpt-filt rcpt-mda", path)


def waits(sent: SentMessage, to: str) -> bool | None:
    outcome = sent.wait(0)[to]
    return (outcome.state, outcome.host) == ("deferred", "corp-mta2") or None


def change(lab: Lab, origin: str, edit: Callable[[str], str]) -> None:
    """Edit a zone at each of its servers, and have them read it again."""
    zone = lab.zone(origin)
    before = zone.text
    after = edit(before)
    assert after != before
    assert zone.replace(after, source="the test").behind == ()


def test_a_secondary_waits_for_the_primary(lab_factory: LabFactory) -> None:
    """While corp-mta1 is down corp-mta2 takes the mail of both directions; then corp-mta1 carries it on."""
    lab = lab_factory("two-companies", time_scale=600)
    text = "Subject: waiting\n\nfor the primary\n"
    with lab.fault("service-down", "corp-mta1", "mail-server"):
        outward = lab.send(text, sender=ALICE, to=BOB)
        inward = lab.send(text, sender=BOB, to=ALICE)
        for sent, to in ((outward, BOB), (inward, ALICE)):
            until(partial(waits, sent, to), 60)
    there, back = outward.wait()[BOB], inward.wait()[ALICE]
    assert there.state == back.state == "delivered"
    assert re.fullmatch(
        f"corp-msa corp-hub corp-mta2 corp-mta1 isp-a[12] {TRANSIT} {IN}", " ".join(there.path)
    )
    assert " ".join(back.path) == f"{BACK} corp-mta2 corp-mta1 corp-hub corp-msa"


@pytest.mark.parametrize(
    ("reference", "sender", "to", "path"),
    [
        ("company", ALICE, BOB, "corp-msa corp-hub corp-mta1 isp-a1"),
        ("internet:DOMAINS=2", "user@d1.com", "user@d2.org", "mx1 mx2"),
    ],
)
def test_the_smaller_ones_deliver(
    lab_factory: LabFactory, reference: str, sender: str, to: str, path: str
) -> None:
    """A message crosses each topology that has mail."""
    assert carried(lab_factory(reference), sender, to) == path


def test_the_hierarchy_alone_resolves(lab_factory: LabFactory) -> None:
    """In `dns` an alias is followed from one top-level domain into another, from the roots down."""
    lab = lab_factory("dns")
    asked = lab.exec("client", "dig", "+short", "www.example.com")
    assert asked.stdout.split() == ["www.example.org.", "org-auth1.example.org.", "198.19.0.34"]
    assert "status: NXDOMAIN" in lab.exec("client", "dig", "nobody.example.gov").stdout
