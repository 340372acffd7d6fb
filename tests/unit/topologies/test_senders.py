"""Who sends for a domain, and what the domain publishes about it."""

from __future__ import annotations

from dataclasses import replace

import dns.zone
import pytest

from tests.unit.topologies.plans import small
from topologies import company, minimal, two_companies
from topologies.addressing import assign
from topologies.check import check
from topologies.errors import PlanError
from topologies.plan import MailServer, Plan
from topologies.senders import quoted, senders, signs_for
from topologies.zonedata import zone_files

WORLD = two_companies.build()
KEYS = {"example.com": "v=DKIM1; k=rsa; p=" + "A" * 392}


def published(plan: Plan, zone: str, name: str, keys: dict[str, str] | None = None) -> list[str]:
    """The TXT records of a name, each with its strings joined, as dnspython reads the zone file."""
    text = zone_files(plan, assign(plan), keys)[zone]
    rdataset = dns.zone.from_text(text, origin=zone + ".", check_origin=False).get_rdataset(name + ".", "TXT")
    return ["".join(part.decode() for part in rdata.strings) for rdata in rdataset or ()]


@pytest.mark.parametrize(
    ("plan", "domain", "hosts"),
    [
        (minimal.build(), "example.com", ["corp-mta"]),
        (minimal.build(), "example.org", ["rcpt-mx"]),
        (company.build(), "example.com", ["corp-mta1", "isp-a1"]),
        (company.build(), "example.org", ["isp-a1"]),
        (WORLD, "example.com", ["corp-mta1", "isp-a1", "isp-a2", "isp-b1", "isp-b2", "isp-c1"]),
        (WORLD, "example.org", ["rcpt-mx1", "rcpt-mx2"]),
        (WORLD, "lists.example.net", ["lists"]),
        (WORLD, "example.edu", ["isp-b1"]),
        (WORLD, "isp-a.example.net", []),
    ],
)
def test_who_sends_follows_from_the_routes(plan: Plan, domain: str, hosts: list[str]) -> None:
    """Whoever may be the one that hands the domain's mail to somebody else, its providers too."""
    (wanted,) = (found for found in plan.domains if found.name == domain)
    assert senders(plan, wanted) == hosts


def test_records_of_a_domain() -> None:
    """SPF with the senders' addresses, the key, and the policy with who wants reports."""
    plan = minimal.build()
    assert published(plan, "example.com", "example.com") == ["v=spf1 ip4:198.18.1.11 -all"]
    assert published(plan, "example.com", "_dmarc.example.com") == [
        "v=DMARC1; p=reject; rua=mailto:postmaster@example.com"
    ]
    assert published(plan, "example.com", "lab._domainkey.example.com", KEYS) == [KEYS["example.com"]]
    assert published(plan, "example.com", "lab._domainkey.example.com") == []


def test_a_mail_server_s_own_name_has_a_record() -> None:
    """A notice has no reverse-path: SPF asks about the name in HELO."""
    assert published(minimal.build(), "example.com", "corp-mta.example.com") == [
        "v=spf1 ip4:198.18.1.11 -all"
    ]
    assert published(minimal.build(), "example.com", "alice.example.com") == []


@pytest.mark.parametrize(
    ("spf", "dmarc", "text", "policy"),
    [
        ("~all", "none", ["v=spf1 ip4:198.18.1.11 ~all"], "v=DMARC1; p=none; "),
        ("v=spf1 mx -all", "reject 50%", ["v=spf1 mx -all"], "v=DMARC1; p=reject; pct=50; "),
        ("", "quarantine", [], "v=DMARC1; p=quarantine; "),
    ],
)
def test_what_a_plan_may_say(spf: str, dmarc: str, text: list[str], policy: str) -> None:
    """How strict SPF is, or a record of one's own; a policy for all or some of the mail."""
    plan = minimal.build()
    first = replace(plan.domains[0], spf=spf, dmarc=dmarc)
    plan = replace(plan, domains=(first, *plan.domains[1:]))
    check(plan)
    assert published(plan, "example.com", "example.com") == text
    assert published(plan, "example.com", "_dmarc.example.com") == [
        policy + "rua=mailto:postmaster@example.com"
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spf", "all"),
        ("spf", "v=spf1\nexample.com. A 1.2.3.4"),
        ("spf", "v=spf2 -all"),
        ("dmarc", "rejct"),
        ("dmarc", "reject 101%"),
        ("dmarc", "reject 50"),
    ],
)
def test_what_it_may_not(field: str, value: str) -> None:
    """A misspelt word is told with its domain."""
    plan = small()
    first = plan.domains[0]
    domain = replace(first, spf=value) if field == "spf" else replace(first, dmarc=value)
    with pytest.raises(PlanError, match=f"domain {domain.name}: {field} "):
        check(replace(plan, domains=(domain, *plan.domains[1:])))


def test_who_has_a_key() -> None:
    """The MSA of a domain, and each mail server within it, for the notices it writes."""
    having = {
        host.name: [domain.name for domain in signs_for(WORLD, host, role)]
        for host, role in WORLD.roles()
        if isinstance(role, MailServer)
    }
    assert having["corp-msa"] == having["corp-mta1"] == ["example.com"]
    assert having["rcpt-mda"] == having["rcpt-filt"] == ["example.org"]
    assert having["lists"] == ["lists.example.net"]
    assert having["isp-a1"] == having["open-1"] == having["mallory"] == []


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a b", '"a b"'),
        ('a"b\\', r'"a\"b\\"'),
        ("x" * 256, f'"{"x" * 255}" "x"'),
    ],
)
def test_txt_data(text: str, data: str) -> None:
    """Strings of 255 octets, with quotes and backslashes escaped."""
    assert quoted(text) == data
