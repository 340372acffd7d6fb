"""Where forward-paths lead that name hosts on the way."""

from __future__ import annotations

import pytest

from captures.paths import mailbox, same


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bob@example.org", "bob@example.org"),
        ("@open-2.example.net:bob@example.org", "bob@example.org"),
        ("@a.example,@b.example:bob@example.org", "bob@example.org"),
        ("bob%example.org@open-1.example.net", "bob@example.org"),
        ("bob%example.org%open-2.example.net@open-1.example.net", "bob@example.org"),
        ("@a.example:bob%example.org@b.example", "bob@example.org"),
        ('"50%off"@example.org', '"50%off"@example.org'),
        ("@example.org", "@example.org"),
        ("", ""),
        ("postmaster", "postmaster"),
    ],
)
def test_where_a_path_leads(path: str, expected: str) -> None:
    """Whatever hosts it names, the recipient is the same one at every hop."""
    assert mailbox(path) == expected


def test_what_compares() -> None:
    """The domain's case does not matter, the local part's does (RFC 5321 §2.4)."""
    assert same("@A.example:Bob@Example.ORG") == same("Bob%EXAMPLE.org@b.example") == "Bob@example.org"
