"""Mailing lists of a running mail server."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.errors import ConfigError, ServiceError
from services.lists.settings import MailingList
from services.smtp.config import MtaConfig, load
from tests.unit.smtp.running import ScriptedServer, config, play, running

FRIENDS = MailingList(
    address="friends@example.org",
    title="Friends",
    members=("bob@example.org", "alice@example.com"),
    owner="bob@example.org",
    bounce_limit=2,
)
DNS = "example.com MX 10 there.example.com\nthere.example.com A 127.0.0.1"


def serving(tmp_path: Path, there: ScriptedServer, **values: Any) -> MtaConfig:
    settings = {"lists": (FRIENDS,), "list_journals": tmp_path / "lists", "remote_port": there.port, **values}
    return config(tmp_path, **settings)


HELLO = """
    S: 220 *
    C: HELO a
    S: 250 *
"""


async def post(port: int, sender: str, recipient: str, *, author: str = "", subject: str = "hi") -> None:
    await play(
        port,
        f"""{HELLO}
        C: MAIL FROM:<{sender}>
        S: 250 *
        C: RCPT TO:<{recipient}>
        S: 250 *
        C: DATA
        S: 354 *
        C: From: {author or sender or "daemon@example.com"}
        C: Subject: {subject}\\r\\n\\r\\ntext
        C: .
        S: 250 *
        """,
    )


def senders(there: ScriptedServer) -> list[str]:
    """The reverse-paths of what went to alice's server."""
    return [found[1] for line in there.commands if (found := re.match(r"MAIL FROM:<(.*?)>", line))]


def test_a_post_goes_to_members_here_and_elsewhere(tmp_path: Path) -> None:
    """It is kept in the archive; each copy has a reverse-path of its own; the event names the copies."""

    async def main() -> None:
        async with ScriptedServer() as there, running(made := serving(tmp_path, there), DNS) as events:
            await post(made.smtp_port, "alice@example.com", "friends@example.org")
            told = await events.wait("list")
            await events.wait("delivered", 2)
            await events.wait("relayed")
        assert (told["action"], sorted(told["copies"])) == (
            "posted",
            ["alice@example.com", "bob@example.org"],
        )
        assert senders(there) == ["friends-bounces+alice=example.com@example.org"]
        assert b"Subject: [Friends] hi\r\n" in there.messages[0]
        (copy,) = (tmp_path / "mail/example.org/bob/new").iterdir()
        assert copy.read_bytes().startswith(b"Return-Path: <friends-bounces+bob=example.org@example.org>\r\n")
        (archived,) = (tmp_path / "mail/example.org/friends/new").iterdir()
        assert b"Subject: hi\r\n" in archived.read_bytes()

    asyncio.run(main())


def test_who_is_on_a_list_outlives_the_server(tmp_path: Path) -> None:
    """Asked, confirmed with the cookie from the mail, the server started anew: the copy comes."""

    async def main() -> None:
        async with ScriptedServer() as there:
            made = serving(tmp_path, there, lists=(replace(FRIENDS, members=("bob@example.org",)),))
            async with running(made, DNS) as events:
                await post(made.smtp_port, "alice@example.com", "friends-subscribe@example.org")
                await events.wait("relayed")
                asked = re.search(rb"friends-confirm\+[0-9a-f]{20}@example.org", there.messages[0])
                assert asked, there.messages
                await post(made.smtp_port, "alice@example.com", asked[0].decode())
                assert (await events.wait("list", 2))["action"] == "subscribed"
                await events.wait("relayed", 2)
            async with running(made, DNS) as events:
                await post(made.smtp_port, "bob@example.org", "friends@example.org")
                assert "alice@example.com" in (await events.wait("list"))["copies"]

    asyncio.run(main())


def test_bounces_disable_a_member(tmp_path: Path) -> None:
    """The copy is refused there; our own notice comes back to the list, which counts it, twice."""

    async def main() -> None:
        refusing = ScriptedServer(replies={"RCPT": "550 5.1.1 no such user"})
        async with refusing as there, running(made := serving(tmp_path, there), DNS) as events:
            for _ in range(2):
                await post(made.smtp_port, "bob@example.org", "friends@example.org")
            while "disabled" not in [event["action"] for event in events.of("list")]:
                await events.wait("list", len(events.of("list")) + 1)
            done = len(events.of("list"))
            await post(made.smtp_port, "bob@example.org", "friends@example.org")
            last = await events.wait("list", done + 1)
        assert list(last["copies"]) == ["bob@example.org"]

    asyncio.run(main())


def test_what_cannot_be_written_down_waits(tmp_path: Path) -> None:
    """The journal is gone for a while: the post is deferred, and distributed when it is back."""

    async def main() -> None:
        async with ScriptedServer() as there, running(made := serving(tmp_path, there), DNS) as events:
            journal = tmp_path / "lists/friends@example.org.journal"
            journal.rename(journal.with_suffix(".away"))
            await post(made.smtp_port, "bob@example.org", "friends@example.org")
            deferred = await events.wait("deferred")
            assert deferred["reply"].startswith("451 4.3.1 ")
            journal.with_suffix(".away").rename(journal)
            assert (await events.wait("list"))["action"] == "posted"
        (archived,) = (tmp_path / "mail/example.org/friends/new").iterdir()
        assert archived.is_file()

    asyncio.run(main())


@pytest.mark.parametrize(
    "recipient",
    ["friends-owner", "FRIENDS-Request", "friends-bounces+x=y", "friends-confirm+0", "friends+anything"],
)
def test_a_list_s_addresses_are_there(tmp_path: Path, recipient: str) -> None:
    """In any case, and with any detail."""

    async def main() -> None:
        async with ScriptedServer() as there, running(made := serving(tmp_path, there)) as events:
            await post(made.smtp_port, "bob@example.org", f"{recipient}@example.org")
            await events.wait("list")

    asyncio.run(main())


def test_other_addresses_are_not(tmp_path: Path) -> None:
    """What only looks like a list's is nobody's."""

    async def main() -> None:
        async with ScriptedServer() as there, running(made := serving(tmp_path, there)):
            await play(
                made.smtp_port,
                f"""{HELLO}
                C: MAIL FROM:<bob@example.org>
                S: 250 *
                C: RCPT TO:<friends-nonsense@example.org>
                S: 550 5.1.1 *
                """,
            )

    asyncio.run(main())


def test_a_list_that_seals_needs_a_key(tmp_path: Path) -> None:
    """That is said at the start, not when the first post comes."""

    async def main() -> None:
        async with ScriptedServer() as there:
            made = serving(tmp_path, there, lists=(replace(FRIENDS, seal=True),))
            with pytest.raises(ConfigError, match=r"seal needs a key of example\.org"):
                async with running(made):
                    pass

    asyncio.run(main())


def test_a_journal_that_does_not_read_stops_the_server(tmp_path: Path) -> None:
    """It would have to guess who is on the list."""

    async def main() -> None:
        (tmp_path / "lists").mkdir()
        (tmp_path / "lists/friends@example.org.journal").write_text("nonsense\n")
        async with ScriptedServer() as there:
            with pytest.raises(ServiceError, match="not an entry of a mailing list"):
                async with running(serving(tmp_path, there)):
                    pass

    asyncio.run(main())


TOML = """
hostname = "mx.example.org"
time_scale = 2.0
[[lists]]
address = "Friends@example.org"
members = ["bob@example.org"]
"""


def test_a_list_in_a_file(tmp_path: Path) -> None:
    """Its name is its title, as long as it has no other; times are divided by the scale."""
    (tmp_path / "mx.toml").write_text(TOML)
    (settings,) = load(tmp_path / "mx.toml").lists
    assert (settings.address, settings.title) == ("friends@example.org", "friends")
    assert settings.cookie_life_s == 36 * 3600


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        pytest.param('posting = "nobody"', "posting is 'nobody'", id="posting"),
        pytest.param("bounce_limit = 0", "bounce_limit is 0", id="limit"),
        pytest.param("seals = true", "seals is not a key", id="misspelt"),
        pytest.param('owner = "bob"', "owner is wrong", id="owner"),
    ],
)
def test_a_mistake_in_a_list(tmp_path: Path, line: str, complaint: str) -> None:
    """The error names file, list and key."""
    (tmp_path / "mx.toml").write_text(TOML + line)
    with pytest.raises(ConfigError, match=rf"mx.toml: lists\[0\]: {complaint}"):
        load(tmp_path / "mx.toml")


def test_a_member_who_fits_no_reverse_path_is_refused() -> None:
    """A quoted local part cannot be a part of another one."""
    with pytest.raises(ConfigError, match=r"cannot be on friends@example\.org"):
        replace(FRIENDS, members=('"a b"@example.org',))
