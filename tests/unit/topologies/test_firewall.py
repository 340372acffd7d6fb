"""The rules that a plan's firewalls get, and the mistakes that are found before."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from topologies import filtering
from topologies.addressing import assign
from topologies.check import check
from topologies.errors import NetworkError, PlanError
from topologies.firewall import ruleset
from topologies.plan import Allow, Firewall, Host, Link, Network, Plan
from topologies.planfile import dumps, loads


def plan(*allow: Allow, router: bool = True) -> Plan:
    """A firewall between a DMZ, a LAN and a router that leads outside."""
    hosts = [Host(name=name, fqdn=f"{name}.example.org") for name in ("mx", "store", "far")]
    return Plan(
        name="walled",
        networks=(Network(name="dmz", subnet="198.18.2.0/24"), Network(name="lan", subnet="10.2.0.0/24")),
        hosts=(
            Host(name="fw", fqdn="fw.example.org", router=router, firewall=Firewall(allow=allow)),
            Host(name="core", fqdn="core.nic.net", router=True),
            *hosts,
        ),
        links=(
            Link(a="fw", b="core"),
            Link(a="fw", b="dmz"),
            Link(a="fw", b="lan"),
            Link(a="mx", b="dmz"),
            Link(a="store", b="lan"),
            Link(a="far", b="core"),
        ),
    )


def rules(*allow: Allow, log: bool = True) -> list[str]:
    """The rules of the forward chain, without counters and comments."""
    walled = plan(*allow)
    text = ruleset(walled, assign(walled), walled.host("fw"), log=log)
    forward = text.partition("chain forward {")[2].partition("}\n\n")[0]
    return [line.strip().partition(" counter")[0] for line in forward.splitlines()[3:-2]]


SMTP = "tcp dport 25"
DNS = "meta l4proto { tcp, udp } th dport 53"


@pytest.mark.parametrize(
    ("source", "to", "service", "expected"),
    [
        pytest.param(
            "outside",
            "mx",
            "smtp",
            f'iifname "fw-eth0" oifname "fw-eth1" ip daddr 198.18.2.10 {SMTP}',
            id="from outside to a host",
        ),
        pytest.param(
            "dmz",
            "outside",
            "dns",
            f'iifname "fw-eth1" ip saddr 198.18.2.0/24 oifname "fw-eth0" {DNS}',
            id="a network to the outside: by its own leg and in its own name",
        ),
        pytest.param(
            "mx",
            "store",
            "tcp/8080",
            'iifname "fw-eth1" ip saddr 198.18.2.10 oifname "fw-eth2" ip daddr 10.2.0.10 tcp dport 8080',
            id="a host to a host, a port",
        ),
        pytest.param(
            "far",
            "any",
            "ping",
            'iifname "fw-eth0" ip saddr 198.19.0.4 icmp type echo-request',
            id="anywhere",
        ),
    ],
)
def test_a_permission_is_a_rule(source: str, to: str, service: str, expected: str) -> None:
    """Interfaces and addresses of both sides are named, a host outside by the leg that leads there."""
    allow = Allow(source=(source,), to=(to,), services=(service,))
    assert rules(allow) == [expected]


def test_several_of_one_leg_share_a_rule() -> None:
    """Hosts of one network stand in one rule; each service has its own."""
    allow = Allow(source=("outside",), to=("mx", "dmz"), services=("smtp", "udp/123"))
    way = 'iifname "fw-eth0" oifname "fw-eth1" ip daddr { 198.18.2.10, 198.18.2.0/24 }'
    assert rules(allow) == [f"{way} {SMTP}", f"{way} udp dport 123"]


def test_a_limit_comes_before_its_rule() -> None:
    """Who begins too many connections a minute is refused; the rule that lets through follows."""
    over, accepted = rules(Allow(source=("outside",), to=("mx",), services=("smtp",), per_minute=30))
    way = f'iifname "fw-eth0" oifname "fw-eth1" ip daddr 198.18.2.10 {SMTP}'
    assert over.startswith(
        f"{way} update @begun_1 {{ ip saddr limit rate over 30/minute burst 30 packets }} jump refused"
    )
    assert accepted == way


@pytest.mark.parametrize("log", [True, False])
def test_what_is_refused_is_logged_where_that_can_be(log: bool) -> None:
    """The log goes to the group that the recorder reads; without it packets are dropped all the same."""
    walled = plan()
    text = ruleset(walled, assign(walled), walled.host("fw"), log=log)
    assert ('log prefix "fw" group 1' in text) == log
    assert 'counter drop comment "dropped"' in text


@pytest.mark.parametrize(
    ("allow", "router", "mistake"),
    [
        (Allow(source=("dmz",), to=("mars",), services=("dns",)), True, "mars is no host and no network"),
        (Allow(source=("dmz",), to=("lan",), services=("gopher",)), True, "'gopher' is no service"),
        (Allow(source=("dmz",), to=("lan",), services=("tcp/70000",)), True, "'tcp/70000' is no service"),
        (Allow(source=(), to=("lan",), services=("dns",)), True, "source names nothing"),
        (Allow(source=("dmz",), to=("lan",), services=("dns",), per_minute=0), True, "per_minute is 0"),
        (Allow(source=("dmz",), to=("lan",), services=("dns",)), False, "a firewall is a router"),
    ],
)
def test_mistakes_are_found(allow: Allow, router: bool, mistake: str) -> None:
    """What a firewall's plan gets wrong is told in a sentence, with the host."""
    with pytest.raises(PlanError, match=r"host fw: .*") as caught:
        check(plan(allow, router=router))
    assert mistake in str(caught.value)


def test_a_firewall_in_toml() -> None:
    """A plan with a firewall comes back from TOML as it was."""
    walled = plan(Allow(source=("outside",), to=("mx",), services=("smtp",), per_minute=30))
    assert loads(dumps(walled)) == walled


def test_what_nft_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the firewall and says what nft said first."""
    refused = subprocess.CompletedProcess([], 1, "", "Error: syntax error, unexpected x\nnonsense\n^^^\n")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: refused)
    walled = plan()
    hosts = {"fw": SimpleNamespace(net=0)}
    with pytest.raises(NetworkError) as caught:
        filtering.apply(walled, assign(walled), hosts)  # type: ignore[arg-type]  # all that is asked of it
    assert str(caught.value) == "nft refused the firewall of fw: Error: syntax error, unexpected x"
