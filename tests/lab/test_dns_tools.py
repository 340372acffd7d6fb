"""The programs of people who run name servers, on a host of the lab: they notice nothing."""

from __future__ import annotations

import re
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
import pytest

from mailbed import Lab
from mailbed.roles.built_in import zone_path
from tests.lab.asking import ask, read, run, world
from topologies.addressing import assign
from topologies.hierarchy import ROOTS

pytestmark = [pytest.mark.long, pytest.mark.topology("two-companies")]

WHO = "alice"
MX = {
    ("example.org.", "MX", "10 rcpt-mx1.example.org."),
    ("example.org.", "MX", "20 rcpt-mx2.example.org."),
}
ROOT_NAMES = {f"{letter}.root-servers.net." for letter in ROOTS}

ANCHOR = """trust-anchors { signed.test. static-key 257 3 8 "
    AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5
    xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUD
    K/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM
    8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU="; };
"""
"""A key that signs nothing here: `delv` wants one, and then finds that a name is not below it."""


def address(lab: Lab, host: str) -> str:
    return str(assign(lab.plan).primary()[host])


def hints(lab: Lab) -> str:
    """A hints file for `drill`, which by itself knows h.root-servers.net by its address of before 2015.

    It would start there now and then, as in the real world, and waits for 15 s.
    """
    return str(lab.run / "hosts" / "corp-dns" / "root.hints")


def records(text: str) -> list[tuple[str, str, str]]:
    """The records in lines as `dig`, `drill` and `delv` print them."""
    lines = [line.split(None, 4) for line in text.splitlines() if line and not line.startswith((";", "["))]
    return [(owner.lower(), rtype, data.lower()) for owner, _, _, rtype, data in lines]


@pytest.mark.parametrize(
    ("name", "rtype", "steps"),
    [
        ("example.org", "MX", ["a root", "org", "example.org"]),
        ("lab-mx.lab.example.org", "A", ["a root", "org", "example.org", "lab.example.org"]),
        ("10.0.2.10.in-addr.arpa", "PTR", ["a root", "in-addr.arpa", "10.in-addr.arpa"]),
        ("2.0.0.127.bl.example.net", "A", ["a root", "net", "example.net", "bl.example.net"]),
    ],
)
def test_dig_trace(shared_lab: Lab, name: str, rtype: str, steps: list[str]) -> None:
    """`dig +trace` goes from the root servers it was primed with to a server of the name's own zone."""
    plan = shared_lab.plan
    text = run(shared_lab, WHO, "dig", "+trace", "+nodnssec", name, rtype)
    found = records(text)
    assert {(owner, rtype, data) for owner, rtype, data in found if owner == "."} == {
        (".", "NS", name) for name in ROOT_NAMES
    }
    assert {record for record in found if record[:2] == (f"{name}.", rtype)} == world(plan)[name, rtype]
    primed, root, *others = re.findall(r"^;; Received \d+ bytes from \S+#53\((\S+)\) in", text, re.MULTILINE)
    assert primed == address(shared_lab, "corp-dns")
    assert f"{root}." in ROOT_NAMES
    assert len(others) == len(steps) - 1
    for zone, server in zip(steps[1:], others, strict=True):
        assert server in {host.fqdn for host in plan.servers_of(zone)}
    assert "BAD" not in text
    assert "error" not in text.lower()


@pytest.mark.parametrize(
    ("name", "rtype"), [("example.com", "MX"), ("lab.example.org", "MX"), ("10.0.2.10.in-addr.arpa", "PTR")]
)
def test_drill_trace(shared_lab: Lab, name: str, rtype: str) -> None:
    """`drill -T` comes to the same records through the same referrals."""
    found = records(run(shared_lab, WHO, "drill", "-T", "-r", hints(shared_lab), name, rtype))
    assert {data for owner, rtype, data in found if owner == "."} == ROOT_NAMES
    assert {record for record in found if record[:2] == (f"{name}.", rtype)} == world(shared_lab.plan)[
        name, rtype
    ]


def test_drill_trace_for_signatures(shared_lab: Lab) -> None:
    """`drill -TD`, which asks for DNSKEY and DS at every step, finds proof that there are none."""
    text = run(shared_lab, WHO, "drill", "-TD", "-r", hints(shared_lab), "lab.example.org", "MX")
    for zone in (".", "org.", "example.org.", "lab.example.org."):
        assert f"No DNSKEY record found for {zone}" in text
    for zone in ("org.", "example.org.", "lab.example.org."):
        assert f"No DS for {zone}" in text
    assert "[U] lab.example.org." in text
    assert "rror" not in text


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_delv(shared_lab: Lab, tmp_path: Path, transport: str) -> None:
    """`delv` validates what it can: here, that an answer is not signed; and it succeeds."""
    anchor = tmp_path / "anchor"
    anchor.write_text(ANCHOR, encoding="ascii")
    text = run(
        shared_lab, WHO, "delv", transport, "-a", str(anchor), "+root=signed.test", "example.org", "MX"
    )
    assert text.startswith("; unsigned answer\n")
    assert set(records(text)) == MX
    text = run(shared_lab, WHO, "delv", transport, "-i", "example.org", "MX")
    assert text.startswith("; answer not validated\n")
    assert set(records(text)) == MX


def test_delv_finds_the_root_unsigned(shared_lab: Lab) -> None:
    """With the real root's trust anchor, `delv` says what is amiss: the lab's root is not signed."""
    done = shared_lab.exec(WHO, "delv", "example.org", "MX")
    assert "got insecure response; parent indicates it should be secure" in done.stderr
    assert "broken trust chain" in done.stderr


@pytest.mark.parametrize("options", [(), ("-e", "-D"), ("-m", "tcp")], ids=["plain", "edns", "tcp"])
@pytest.mark.parametrize("role", ["resolver", "name server"])
def test_dnsperf(shared_lab: Lab, tmp_path: Path, role: str, options: tuple[str, ...]) -> None:
    """`dnsperf` gets an answer to each of 3,000 questions, and none of them is SERVFAIL."""
    server, zones = {
        "resolver": ("corp-dns", [zone.origin for zone in shared_lab.plan.zones]),
        "name server": ("org-auth1", ["example.org"]),
    }[role]
    there = [key for key in world(shared_lab.plan) if any(f".{key[0]}".endswith(f".{z}") for z in zones)]
    absent = [(f"{number}.nosuch.{zone}".rstrip("."), "A") for number in range(5) for zone in zones]
    questions = tmp_path / "questions"
    questions.write_text("".join(f"{name} {rtype}\n" for name, rtype in there + absent), encoding="ascii")
    # Once before: a resolver that knows nothing yet may take longer than a client waits.
    ask(shared_lab, WHO, address(shared_lab, server), there + absent)
    rounds = 3000 // len(there + absent) + 1
    command = ("dnsperf", *options, "-s", address(shared_lab, server), "-d", str(questions))
    text = run(shared_lab, WHO, *command, "-n", str(rounds), "-q", "20", "-Q", "1500")
    counts = {what: int(number) for what, number in re.findall(r"Queries (\w+): +(\d+)", text)}
    sent = rounds * len(there + absent)
    assert counts == {"sent": sent, "completed": sent, "lost": 0}
    codes = {code: int(number) for code, number in re.findall(r"([A-Z]+) (\d+) \(\d", text)}
    assert codes == {"NOERROR": rounds * len(there), "NXDOMAIN": rounds * len(absent)}


@pytest.mark.parametrize("letter", ROOTS)
def test_each_root_server_by_hand(shared_lab: Lab, letter: str) -> None:
    """Each of the 13 knows the root, refers for names below, and says which one it is (RFC 5001)."""
    questions = [(".", "NS"), ("example.org", "MX"), ("nosuch", "A")]
    reply, below, absent = ask(shared_lab, WHO, ROOTS[letter], questions, "+norec", "+nsid")
    for each in (reply, below, absent):
        assert [line for line in each.comments if f'("{letter}-root")' in line and "NSID" in line]
    assert (reply.rcode, reply.flags) == ("NOERROR", ("qr", "aa"))
    assert reply.answer == {(".", "NS", name) for name in ROOT_NAMES}
    assert {record[0] for record in reply.sections["ADDITIONAL"]} == ROOT_NAMES
    assert (below.rcode, below.flags, below.answer) == ("NOERROR", ("qr",), set())
    assert {record[:2] for record in below.authority} == {("org.", "NS")}
    assert (absent.rcode, absent.flags) == ("NXDOMAIN", ("qr", "aa"))
    assert {record[:2] for record in absent.authority} == {(".", "SOA")}


@pytest.mark.parametrize(
    "options",
    [
        ("+cookie",),
        ("+cookie=0123456789abcdef",),
        ("+subnet=198.18.1.0/24",),
        ("+ednsopt=65001:00ff",),
        ("+ednsflags=0x4000",),
        ("+padding=128",),
        ("+expire",),
        ("+noedns",),
        ("+dnssec", "+bufsize=4096"),
        ("+bufsize=512",),
        ("+tcp",),
        ("+tcp", "+keepalive"),
        ("+tcp", "+keepopen"),
        ("+adflag", "+cdflag"),
        ("+zflag",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("server", ["org-auth1", "corp-dns"])
def test_options_change_no_answer(shared_lab: Lab, server: str, options: tuple[str, ...]) -> None:
    """Whatever a client asks for besides, it gets the same records, without a complaint of `dig`'s."""
    (reply,) = ask(shared_lab, WHO, address(shared_lab, server), [("example.org", "MX")], *options)
    assert (reply.rcode, reply.answer) == ("NOERROR", MX)
    # That an authoritative server does not recurse is the one thing that `dig` is to remark upon.
    warnings = [line for line in reply.comments if "WARNING" in line]
    expected = [";; WARNING: recursion requested but not available"] if server == "org-auth1" else []
    assert warnings == expected


def test_a_later_version_of_edns(shared_lab: Lab) -> None:
    """Version 1 is answered with BADVERS and what version there is (RFC 6891 §6.1.3)."""
    for server in ("a-root", "corp-dns"):
        text = run(
            shared_lab, WHO, "dig", "+edns=1", "+noednsnegotiation", f"@{address(shared_lab, server)}", "."
        )
        (reply,) = read(text)
        assert reply.rcode == "BADVERS"
        assert any(line.startswith("; EDNS: version: 0,") for line in reply.comments)


@pytest.mark.parametrize(
    ("zone", "primary", "secondary"),
    [
        (".", "a-root", "m-root"),
        ("net", "net-ns1", "net-ns2"),
        ("example.org", "org-auth1", "org-auth2"),
        ("18.198.in-addr.arpa", "net-auth1", "net-auth2"),
    ],
)
def test_dig_transfers_a_zone(shared_lab: Lab, zone: str, primary: str, secondary: str) -> None:
    """`dig AXFR` on a secondary's host gets the whole zone from its primary; anybody else is refused."""
    command = ("dig", f"@{address(shared_lab, primary)}", "+onesoa", zone, "AXFR")
    found = set(records(run(shared_lab, secondary, *command)))
    text = shared_lab.run.joinpath("hosts", primary, *zone_path(zone).split("/")).read_text()
    parsed = dns.zone.from_text(text, dns.name.from_text(zone), relativize=False, check_origin=False)
    assert found == {
        (owner.to_text().lower(), dns.rdatatype.to_text(rdata.rdtype), rdata.to_text().lower())
        for owner, _, rdata in parsed.iterate_rdatas()
    }
    refused = shared_lab.exec(WHO, *command)
    assert "; Transfer failed." in refused.stdout
    assert records(refused.stdout) == []


@pytest.mark.parametrize("server", ["a-root", "corp-dns"])
def test_what_is_no_question(shared_lab: Lab, server: str) -> None:
    """Opcodes that nobody serves are not implemented (RFC 1035 §4.1.1), and the next question is answered."""
    where = f"@{address(shared_lab, server)}"
    for opcode in ("status", "3", "update", "6"):
        (reply,) = read(run(shared_lab, WHO, "dig", f"+opcode={opcode}", where, "example.org", "SOA"))
        assert (reply.rcode, reply.sections) == ("NOTIMP", {})
    (reply,) = read(run(shared_lab, WHO, "dig", where, ".", "SOA"))
    assert reply.rcode == "NOERROR"


def test_any_is_answered_minimally(shared_lab: Lab) -> None:
    """ANY gets one RRset of those at the name, or a HINFO that says why not (RFC 8482)."""
    for server in ("org-auth1", "corp-dns"):
        (reply,) = ask(shared_lab, WHO, address(shared_lab, server), [("example.org", "ANY")], "+notcp")
        assert reply.rcode == "NOERROR"
        assert len({rtype for _, rtype, _ in reply.answer}) == 1
