"""Wildcards: the examples of RFC 4592 §2.2.1, and some more."""

from __future__ import annotations

import pytest

from tests.unit.dns.conversation import server, told

ZONE = """\
$ORIGIN example.
$TTL 3600
example.                 SOA   ns.example.com. root.example. 1 1 1 1 60
example.                 NS    ns.example.com.
example.                 NS    ns.example.net.
*.example.               TXT   "this is a wildcard"
*.example.               MX    10 host1.example.
sub.*.example.           TXT   "this is not a wildcard"
host1.example.           A     192.0.2.1
_ssh._tcp.host1.example. SRV   0 0 22 host1.example.
_ssh._tcp.host2.example. SRV   0 0 22 host2.example.
subdel.example.          NS    ns.example.com.
subdel.example.          NS    ns.example.net.
*.alias.example.         CNAME host1.example.
"""
NEGATIVE = "authority example. 60 SOA ns.example.com. root.example. 1 1 1 1 60\n"


@pytest.mark.parametrize(
    ("question", "records"),
    [
        pytest.param(
            "host3.example MX",
            "answer host3.example. 3600 MX 10 host1.example.\nadditional host1.example. 3600 A 192.0.2.1\n",
            id="the name does not exist",
        ),
        pytest.param("host3.example A", NEGATIVE, id="nor does the type at the wildcard: NoData"),
        pytest.param(
            "foo.bar.example TXT",
            'answer foo.bar.example. 3600 TXT "this is a wildcard"\n',
            id="several labels deep",
        ),
        pytest.param(
            "*.example TXT", 'answer *.example. 3600 TXT "this is a wildcard"\n', id="asked for literally"
        ),
        pytest.param(
            "sub.*.example TXT",
            'answer sub.*.example. 3600 TXT "this is not a wildcard"\n',
            id="inside a name",
        ),
        pytest.param("host1.example MX", NEGATIVE, id="the name exists"),
        pytest.param("_telnet._tcp.host1.example SRV", None, id="the closest encloser has no wildcard"),
        pytest.param("host2.example MX", NEGATIVE, id="an empty non-terminal exists"),
        pytest.param("ghost.*.example MX", None, id="below the wildcard itself"),
        pytest.param(
            "x.alias.example A",
            "answer x.alias.example. 3600 CNAME host1.example.\nanswer host1.example. 3600 A 192.0.2.1\n",
            id="an alias by wildcard",
        ),
    ],
)
def test_wildcard(question: str, records: str | None) -> None:
    """A wildcard stands for names that do not exist, right below its closest encloser (RFC 4592 §3.3.1)."""
    expected = f"NXDOMAIN aa\n{NEGATIVE}" if records is None else f"NOERROR aa\n{records}"
    assert told(server(ZONE), question) == expected


def test_a_delegation_comes_before_the_wildcard() -> None:
    """Below a cut the wildcard above it does not apply."""
    assert told(server(ZONE), "host.subdel.example A").startswith(
        "NOERROR\nauthority subdel.example. 3600 NS"
    )
