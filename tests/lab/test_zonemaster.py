"""What Zonemaster, the registries' checker, has to say of our zones: nothing that is not listed here.

It runs on a host of the lab, finds the servers from the root by itself, and asks each of them all that a
registry wants to know: delegations on both sides, glue, serials, TCP, EDNS, who answers what. The table has
every notice, warning and error that remains, with the reason; one more fails, and so does one less.
"""

from __future__ import annotations

import json

import pytest

from mailbed import Lab
from tests.lab.asking import run

pytestmark = [pytest.mark.long, pytest.mark.topology("two-companies")]

EVERYWHERE = {
    "NOTICE NOT_SIGNED": "a lab's zones are not signed",
    "NOTICE NEITHER_DNSKEY_NOR_DS": "likewise",
    "NOTICE NO_IPV6_NS_DEL": "a lab has no IPv6",
    "NOTICE NO_IPV6_NS_CHILD": "likewise",
}
PRIVATE = {
    "ERROR NAMESERVER_IP_PRIVATE_NETWORK 198.18/15": "a lab's Internet is made of the benchmarking range, "
    "so that nothing of it can be mistaken for the real one; only the root servers have real addresses",
}
ONE_SERVER = {
    f"ERROR NOT_ENOUGH_{what}": "the zone has one name server, so that one can see what becomes of it without"
    for what in ("NS_DEL", "NS_CHILD", "IPV4_NS_DEL", "IPV4_NS_CHILD")
}
NO_MAIL = {"NOTICE Z09_MISSING_MAIL_TARGET": "nobody has a mail address in the zone's own name"}

ZONES = {
    ".": {},
    "root-servers.net": NO_MAIL,
    "org": PRIVATE,
    "net": PRIVATE,
    "example.com": PRIVATE,
    "example.org": PRIVATE,
    "example.net": PRIVATE | NO_MAIL,
    "example.edu": PRIVATE,
    "nic.net": PRIVATE | NO_MAIL,
    "lab.example.org": PRIVATE | ONE_SERVER,
    "bl.example.net": PRIVATE | ONE_SERVER | NO_MAIL,
    "dbl.example.net": PRIVATE | ONE_SERVER | NO_MAIL,
    "in-addr.arpa": PRIVATE,
    "10.in-addr.arpa": PRIVATE,
    "18.198.in-addr.arpa": PRIVATE,
}


@pytest.mark.parametrize("zone", ZONES)
def test_zonemaster(shared_lab: Lab, zone: str) -> None:
    """It finds what is listed for the zone, and nothing else."""
    # Where the root servers are it knows by itself. But when it checks the root, it takes what it knows for
    # the delegation: IPv6 addresses, which a lab has not, and one of b.root-servers.net of before 2023.
    hints = ("--hints", str(shared_lab.run / "hosts" / "corp-dns" / "root.hints")) if zone == "." else ()
    text = run(
        shared_lab, "alice", "zonemaster-cli", "--json", "--no-progress", "--no-ipv6", "--level=NOTICE",
        *hints, zone,
    )  # fmt: skip
    found = {
        " ".join((entry["level"], entry["tag"], entry["args"].get("prefix", ""))).rstrip(): entry["args"]
        for entry in json.loads(text)
    }
    expected = EVERYWHERE | ZONES[zone]
    assert {mark: said for mark, said in found.items() if mark not in expected} == {}
    assert {mark: why for mark, why in expected.items() if mark not in found} == {}
