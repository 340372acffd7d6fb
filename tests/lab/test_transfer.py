"""Mail finds another way when hosts are down, and waits in order where there is none: as the packets tell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from captures.journeys import Journey
from mailbed import Lab, SentMessage
from mailbed.cli.telling import of_message
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until
from topologies import company, minimal, parts
from topologies.plan import MailRoute, MailServer, Plan

pytestmark = pytest.mark.topology("two-companies", time_scale=600)

ALICE, BOB = "alice@example.com", "bob@example.org"


def send(lab: Lab, name: str, count: int, *, sender: str = ALICE, to: str = BOB) -> list[SentMessage]:
    """Send messages whose Message-IDs begin with `name` and are numbered."""
    return [
        lab.send(f"Subject: {name}\nMessage-ID: <{name}-{number}@test>\n\n{number}\n", sender=sender, to=to)
        for number in range(count)
    ]


def events(lab: Lab, host: str, kind: str) -> list[dict[str, object]]:
    lines = (lab.run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if (event["host"], event["kind"]) == (host, kind)]


def taken(lab: Lab, host: str, name: str) -> list[object]:
    """The messages of that name which a host has accepted, in order."""
    found = (str(event["message_id"]) for event in events(lab, host, "accepted"))
    return [one for one in found if one.startswith(f"<{name}-")]


def journeys(lab: Lab, sent: Sequence[SentMessage]) -> list[Journey]:
    """The journeys of these messages, as the packets tell them, once they are delivered."""
    for one in sent:
        (outcome,) = one.wait().values()
        assert outcome.state == "delivered", outcome
    found = lab.journeys()
    return [of_message(found, one.host, one.queue_id)[0] for one in sent]


def providers(journey: Journey) -> str:
    """The providers that have had the message after the company's own."""
    return " ".join(host for host in journey.path if host.startswith(("isp-b", "isp-c")))


def test_two_messages_may_take_different_ways(shared_lab: Lab) -> None:
    """With all of them up, mail between the same two people goes by several providers and hosts."""
    ways = {journey.path for journey in journeys(shared_lab, send(shared_lab, "ways", 8))}
    assert len(ways) > 1


@pytest.mark.parametrize(
    ("down", "ways"),
    [
        pytest.param(("isp-c1",), {"isp-b1", "isp-b2"}, id="one transit domain"),
        pytest.param(("isp-b1", "isp-b2"), {"isp-c1"}, id="the other"),
        pytest.param(("isp-b1", "isp-c1"), {"isp-b2"}, id="all but one host"),
    ],
)
def test_a_provider_that_is_down(shared_lab: Lab, down: Sequence[str], ways: set[str]) -> None:
    """Mail goes by whoever is left: the next host of the same domain, or another transit domain."""
    faults = [shared_lab.fault("service-down", host, "mail-server") for host in down]
    try:
        sent = send(shared_lab, f"without-{'-'.join(down)}", 6)
        found = {providers(journey) for journey in journeys(shared_lab, sent)}
    finally:
        for fault in faults:
            fault.clear()
    assert found
    assert found <= ways


def test_a_smarthost_that_is_down(shared_lab: Lab) -> None:
    """The company's mail goes by the other one of its two equal smarthosts."""
    with shared_lab.fault("service-down", "isp-a1", "mail-server"):
        found = journeys(shared_lab, send(shared_lab, "smarthost", 6))
    assert {host for journey in found for host in journey.path if host.startswith("isp-a")} == {"isp-a2"}


@pytest.mark.parametrize(
    ("primary", "secondary", "sender", "to"),
    [
        pytest.param("corp-mta1", "corp-mta2", ALICE, BOB, id="the company's, outward"),
        pytest.param("corp-mta1", "corp-mta2", BOB, ALICE, id="the company's, inward"),
        pytest.param("rcpt-mx1", "rcpt-mx2", ALICE, BOB, id="the recipient's"),
    ],
)
def test_mail_waits_for_the_primary(
    shared_lab: Lab, primary: str, secondary: str, sender: str, to: str
) -> None:
    """The secondary holds it, and hands it over once the primary is back: in order, each message once."""
    lab = shared_lab
    name = f"waits-{primary}-{to.partition('@')[0]}"
    count = 8
    with lab.fault("service-down", primary, "mail-server"):
        sent = send(lab, name, count, sender=sender, to=to)
        until(lambda: len(taken(lab, secondary, name)) == count or None, 60)
        assert not taken(lab, primary, name)
    found = journeys(lab, sent)
    assert {journey.path.index(primary) - journey.path.index(secondary) for journey in found} == {1}
    order = taken(lab, secondary, name)
    assert Counter(order).most_common(1)[0][1] == 1
    assert taken(lab, primary, name) == order


@pytest.mark.topology("company", time_scale=20)
def test_a_host_that_is_known_to_be_down(lab: Lab) -> None:
    """The hub learns from one attempt in vain, and hands the next messages to the secondary at once."""
    with lab.fault("service-down", "corp-mta1", "mail-server"):
        sent = send(lab, "known", 6)
        until(lambda: len(taken(lab, "corp-mta2", "known")) == 6 or None, 60)
    found = journeys(lab, sent)
    vain = [
        hop
        for journey in found
        for hop in journey.hops
        if hop.client.host == "corp-hub" and hop.reached == "unreachable"
    ]
    assert 1 <= len(vain) < len(sent)


def with_roles(plan: Plan, change: Callable[[str, MailServer], MailServer]) -> Plan:
    """The plan with each mail server changed, which is given with its host's name."""
    hosts = tuple(
        replace(
            host,
            roles=tuple(
                change(host.name, role) if isinstance(role, MailServer) else role for role in host.roles
            ),
        )
        for host in plan.hosts
    )
    return replace(plan, hosts=hosts)


def test_equal_ones_by_weight(lab_factory: LabFactory) -> None:
    """Of two equal MTAs the hub gives one of weight 5 the larger part, and both have some."""
    via = ("out.example.com",)
    routes = {
        "corp-hub": MailRoute(domain="*", via=via, weights={"corp-mta1": 5}),
        "corp-mta2": MailRoute(domain="*", via=via, as_primary="isp-a.example.net"),
    }

    def change(host: str, role: MailServer) -> MailServer:
        kept = tuple(route for route in role.routes if host not in routes or route.domain != "*")
        return replace(role, routes=(*kept, routes[host]) if host in routes else kept)

    plan = with_roles(company.build(), change)
    domains = tuple(
        replace(domain, exchangers=parts.equal("corp-mta1", "corp-mta2")) if domain.name in via else domain
        for domain in plan.domains
    )
    lab = lab_factory(replace(plan, domains=domains))
    count = Counter(journey.path[3] for journey in journeys(lab, send(lab, "weight", 24)))
    assert set(count) == {"corp-mta1", "corp-mta2"}
    assert count["corp-mta1"] > 2 * count["corp-mta2"]


def test_tls_between_servers(lab_factory: LabFactory) -> None:
    """Where the plan says so servers take up TLS with each other, and the journey looks into it."""
    plan = with_roles(minimal.build(), lambda _, role: replace(role, opportunistic_tls=True))
    lab = lab_factory(plan)
    (journey,) = journeys(lab, send(lab, "tls", 1))
    (hop,) = (hop for hop in journey.hops if hop.server and hop.server.host == "rcpt-mx")
    assert hop.attempt
    assert (hop.step, hop.reached, hop.attempt.tls) == ("E", "accepted", "opened")
