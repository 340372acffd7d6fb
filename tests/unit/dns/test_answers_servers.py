"""The NS records and addresses that go with an answer, where there is room for them."""

from __future__ import annotations

import pytest

from tests.unit.dns.conversation import EXAMPLE, server, whole

ZONE = (
    EXAMPLE
    + """\
www     A     198.18.0.10
mx1     A     198.18.0.11
mail    MX    10 mx1
alias   CNAME www
away    CNAME www.example.net.
key     DS    12345 8 2 %s
full    A     198.18.1.1
"""
    % ("01" * 32)
)
ZONE += "".join(f"full A 198.18.1.{i}\n" for i in range(2, 29))
SERVERS = """\
authority example.org. 3600 NS ns.elsewhere.net.
authority example.org. 3600 NS ns1.example.org.
"""
ADDRESS = "additional ns1.example.org. 3600 A 198.18.0.1\n"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            "www.example.org A",
            f"answer www.example.org. 3600 A 198.18.0.10\n{SERVERS}{ADDRESS}",
            id="with an answer",
        ),
        pytest.param(
            "mail.example.org MX",
            f"""\
answer mail.example.org. 3600 MX 10 mx1.example.org.
{SERVERS}additional mx1.example.org. 3600 A 198.18.0.11
{ADDRESS}""",
            id="beside the addresses of what was asked for",
        ),
        pytest.param(
            "alias.example.org A",
            f"""\
answer alias.example.org. 3600 CNAME www.example.org.
answer www.example.org. 3600 A 198.18.0.10
{SERVERS}{ADDRESS}""",
            id="at the end of an alias",
        ),
        pytest.param(
            "alias.example.org CNAME",
            f"answer alias.example.org. 3600 CNAME www.example.org.\n{SERVERS}{ADDRESS}",
            id="with an alias that was asked for",
        ),
        pytest.param(
            "example.org NS",
            f"{SERVERS.replace('authority', 'answer')}{ADDRESS}",
            id="not twice",
        ),
        pytest.param(
            "ns1.example.org A",
            f"answer ns1.example.org. 3600 A 198.18.0.1\n{SERVERS}",
            id="nor an address that is the answer",
        ),
        pytest.param(
            "away.example.org A",
            "answer away.example.org. 3600 CNAME www.example.net.\n",
            id="not with an alias that leads away",
        ),
        pytest.param(
            "key.example.org DS",
            f"answer key.example.org. 3600 DS 12345 8 2 {'01' * 32}\n",
            id="not with keys, which are large",
        ),
    ],
)
def test_servers(question: str, expected: str) -> None:
    """An answer with records has the NS records of its zone in the authority section, as NSD gives them."""
    first, *records = whole(server(ZONE), question).splitlines()
    assert (first, sorted(records)) == ("NOERROR aa", sorted(expected.splitlines()))


def test_servers_are_left_out_where_there_is_no_room() -> None:
    """They are no reason to truncate a response."""
    first, *records = whole(server(ZONE), "full.example.org A").splitlines()
    assert (first, len(records)) == ("NOERROR aa", 28)
    assert whole(server(ZONE), "full.example.org A", payload=1232).count("authority") == 2
