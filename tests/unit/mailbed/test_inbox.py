"""Whose mailbox an address is, and what is said of one that is nobody's."""

from __future__ import annotations

import pytest

from mailbed.errors import UsageError
from mailbed.inbox import canonical
from topologies import two_companies


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "eve@example.org",
            "^there is no mailbox of eve@example.org in two-companies: there are .*bob@",
        ),
        (
            "Info@Example.com",
            "^Info@Example.com is an alias, without a mailbox: its mail goes to "
            "alice@example.com, carol@example.com$",
        ),
        (
            "friends@lists.example.net",
            "^friends@lists.example.net is a mailing list, without a mailbox: its mail goes to its members, "
            "at first [^ ]+@[^ ]+",
        ),
    ],
)
def test_an_address_without_a_mailbox(address: str, said: str) -> None:
    """An alias and a mailing list are said to be that, and where their mail goes."""
    with pytest.raises(UsageError, match=said):
        canonical(two_companies.build(), address)
