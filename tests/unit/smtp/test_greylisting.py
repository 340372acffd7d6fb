"""A server that puts strangers off: 450, until they come again."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import smtplib
from pathlib import Path

from services.filters.greylisting import Greylist, Terms
from tests.unit.smtp.running import config, running
from tests.unit.smtp.talking import Talk, terms

STRANGER = b"EHLO x.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.org>\r\n"
PUT_OFF = b"450 4.7.1 greylisted: come again in 300 s\r\n"


def talk(greylist: Greylist, now: float, **values: object) -> bytes:
    """What a server says to a stranger's RCPT."""
    made = dataclasses.replace(terms(**values), greylist=lambda c, s, r: greylist.waits(c, s, r, now))
    return Talk(made).say(STRANGER).splitlines(keepends=True)[-1]


def test_a_stranger_comes_again() -> None:
    """Put off at first, taken later, and from then on at once."""
    greylist = Greylist(Terms())
    assert talk(greylist, 0) == PUT_OFF
    assert talk(greylist, 301) == b"250 2.1.5 Ok\r\n"
    assert talk(greylist, 302) == b"250 2.1.5 Ok\r\n"


def test_who_does_not_exist_is_told_at_once() -> None:
    """A 5xx is final: nobody is made to come again for it."""
    greylist = Greylist(Terms())
    waits = dataclasses.replace(terms(), greylist=lambda c, s, r: greylist.waits(c, s, r, 0.0))
    said = Talk(waits).say(STRANGER.replace(b"bob@", b"nobody@"))
    assert said.splitlines()[-1].startswith(b"550 5.1.1")


def test_who_may_relay_is_no_stranger() -> None:
    """The site's own servers hand their mail over at once."""
    own = (ipaddress.ip_network("198.18.0.0/24"),)
    assert talk(Greylist(Terms()), 0, relay_from=own) == b"250 2.1.5 Ok\r\n"


def test_on_a_socket(tmp_path: Path) -> None:
    """As the configuration says: the second attempt is taken once the delay, scaled, is over."""

    async def scenario() -> None:
        made = config(tmp_path, greylist_delay_s=300.0, time_scale=3000.0)
        async with running(made):

            def attempt() -> int:
                with smtplib.SMTP("127.0.0.1", made.smtp_port) as client:
                    client.ehlo("x.example")
                    client.mail("a@example.com")
                    return client.rcpt("bob@example.org")[0]

            assert await asyncio.to_thread(attempt) == 450
            await asyncio.sleep(0.15)
            assert await asyncio.to_thread(attempt) == 250

    asyncio.run(scenario())
