"""ANY is answered with one RRset of the name (RFC 8482 §4.1)."""

from __future__ import annotations

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, told

ZONE = (
    EXAMPLE
    + """\
@       MX    10 mx1
@       TXT   "v=spf1 mx -all"
mx1     AAAA  2001:db8::10
mx1     A     198.18.0.10
text    TXT   "one"
text    CAA   0 issue "ca.example.net"
both    TXT   "one"
both    A     198.18.0.11
www     CNAME mx1
deep.ent A    198.18.0.12
*.wild  TXT   "wild"
*.wild  A     198.18.0.13
"""
)
SOA = "example.org. 300 SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300"


@pytest.mark.parametrize(
    ("question", "records"),
    [
        pytest.param(
            "example.org ANY", f"answer {SOA.replace(' 300 ', ' 3600 ', 1)}", id="the apex: its SOA"
        ),
        pytest.param("mx1.example.org ANY", "answer mx1.example.org. 3600 AAAA 2001:db8::10", id="the first"),
        pytest.param(
            "both.example.org ANY", "answer both.example.org. 3600 A 198.18.0.11", id="a likely one"
        ),
        pytest.param("text.example.org ANY", 'answer text.example.org. 3600 TXT "one"', id="else the first"),
        pytest.param(
            "www.example.org ANY", "answer www.example.org. 3600 CNAME mx1.example.org.", id="an alias"
        ),
        pytest.param(
            "a.wild.example.org ANY", "answer a.wild.example.org. 3600 A 198.18.0.13", id="a wildcard"
        ),
        pytest.param("ent.example.org ANY", f"authority {SOA}", id="a name without records"),
    ],
)
def test_any(question: str, records: str) -> None:
    """One RRset is enough, and an alias is not followed."""
    assert told(server(ZONE), question) == f"NOERROR aa\n{records}\n"
