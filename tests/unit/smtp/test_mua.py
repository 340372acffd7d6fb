"""Submission that does not succeed, and what the person is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.smtp import mua
from services.smtp.client import ClientSession, Timeouts
from services.smtp.config import TlsConfig
from services.smtp.errors import SubmissionFailed
from services.smtp.mua import Outgoing, SubmissionConfig, submit, with_crlf
from tests.unit.smtp.running import ALICE, ScriptedServer, config, free_port, running


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb", b"a\r\nb\r\n"),
        (b"a\n\r\nb\r\n\n", b"a\r\n\r\nb\r\n\r\n"),
        (b"", b""),
    ],
)
def test_line_ends(text: bytes, expected: bytes) -> None:
    """Every kind of line end becomes CRLF, and the last line has one."""
    assert with_crlf(text) == expected


def attempt(
    directory: Path, tls: TlsConfig, *recipients: str, sender: str = "alice@example.com", **change: object
) -> SubmissionFailed:
    """Submit to an MSA that knows alice, with `change` in the client's configuration; it must fail."""

    async def main() -> SubmissionFailed:
        msa = config(directory, submission_port=free_port(), tls=tls, users=(ALICE,))
        mua = SubmissionConfig(
            server="localhost",
            port=msa.submission_port,
            username="alice@example.com",
            password=ALICE.password,
            ca_file=tls.cert,
        )
        async with running(msa):
            with pytest.raises(SubmissionFailed) as caught:
                await submit(replace(mua, **change), b"hi\n", sender, recipients or ("x@example.net",))  # type: ignore[arg-type]  # the table's values
            return caught.value

    return asyncio.run(main())


def test_a_wrong_password(tmp_path: Path, tls: TlsConfig) -> None:
    """The server's reply is in the error, and it is final."""
    error = attempt(tmp_path, tls, password="guess")
    assert error.reply == "535 5.7.8 authentication credentials invalid"
    assert str(error) == f"localhost said: {error.reply}"
    assert not error.temporary


def test_somebody_elses_name(tmp_path: Path, tls: TlsConfig) -> None:
    """The MSA takes nothing in the name of another."""
    assert attempt(tmp_path, tls, sender="eve@example.com").reply.startswith("553 5.7.1 ")


def test_no_recipient_is_taken(tmp_path: Path, tls: TlsConfig) -> None:
    """If all recipients are refused, that is a failure; the first one's reply is shown."""
    error = attempt(tmp_path, tls, "eve@example.org", "mallory@example.org")
    assert error.reply == "550 5.1.1 <eve@example.org>: no such user here"


def test_nobody_listens(tmp_path: Path, tls: TlsConfig) -> None:
    """A server that is not there may be there later."""
    error = attempt(tmp_path, tls, port=free_port())
    assert "Connection refused" in str(error)
    assert error.temporary


def test_a_name_that_does_not_exist(tmp_path: Path, tls: TlsConfig) -> None:
    """A server's name that cannot be a name is final, and told in one line."""
    error = attempt(tmp_path, tls, server="a..b")
    assert "\n" not in str(error)


def test_another_servers_certificate(tmp_path: Path, tls: TlsConfig) -> None:
    """A certificate that does not bear the server's name stops everything before the password."""
    error = attempt(tmp_path, tls, server="127.0.0.1")
    assert "certificate refused" in str(error)
    assert not error.temporary


def test_a_ca_file_that_is_not_there(tmp_path: Path, tls: TlsConfig) -> None:
    """The file is named."""
    assert "none.pem: No such file or directory" in str(attempt(tmp_path, tls, ca_file=tmp_path / "none.pem"))


def test_a_server_without_tls(tls: TlsConfig) -> None:
    """A server that does not offer STARTTLS gets no password."""

    async def main() -> None:
        async with ScriptedServer(extensions=("AUTH PLAIN",)) as server:
            mua = SubmissionConfig(
                server="localhost", port=server.port, username="a", password="b", ca_file=tls.cert
            )
            with pytest.raises(SubmissionFailed, match="STARTTLS"):
                await submit(mua, b"hi\n", "a@b.c", ["x@y.z"])
            assert not any(line.startswith("AUTH") for line in server.commands)

    asyncio.run(main())


def test_some_recipients_are_taken(tmp_path: Path, tls: TlsConfig) -> None:
    """The receipt names the queue id and those who were refused, with the reply."""

    async def main() -> None:
        msa = config(tmp_path, submission_port=free_port(), tls=tls, users=(ALICE,))
        mua = SubmissionConfig(
            server="localhost",
            port=msa.submission_port,
            username="alice@example.com",
            password=ALICE.password,
            ca_file=tls.cert,
        )
        async with running(msa) as events:
            receipt = await submit(
                mua, b"hi\n", "alice@example.com", ["postmaster@example.org", "eve@example.org"]
            )
            assert receipt.queue_id == events.of("accepted")[0]["id"]
            assert receipt.reply == f"250 2.0.0 Ok: queued as {receipt.queue_id}"
            assert receipt.refused == {"eve@example.org": "550 5.1.1 <eve@example.org>: no such user here"}

    asyncio.run(main())


def outgoing(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, *recipients: str
) -> list[str | SubmissionFailed]:
    """Submit a message to each recipient through one Outgoing; return the queue ids and the failures."""

    async def session(_: SubmissionConfig) -> ClientSession:
        return await ClientSession.open(server.address, server.port, helo="mua.example", timeouts=Timeouts())

    async def main() -> list[str | SubmissionFailed]:
        found: list[str | SubmissionFailed] = []
        async with server, Outgoing(SETTINGS) as out:
            for recipient in recipients:
                try:
                    found.append((await out.submit(b"hi\n", "alice@example.com", [recipient])).queue_id)
                except SubmissionFailed as error:
                    found.append(error)
        return found

    monkeypatch.setattr(mua, "_session", session)
    return asyncio.run(main())


SETTINGS = SubmissionConfig(server="msa", username="alice", password="secret", ca_file=Path("ca.pem"))


def test_an_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several messages go over one session, and one that is refused does not hold up the next."""
    server = ScriptedServer(replies={"RCPT TO:<no@": "550 5.1.1 no such user"})
    one, two, three = outgoing(server, monkeypatch, "a@example.org", "no@example.org", "b@example.org")
    assert (one, three) == ("SCRIPTED", "SCRIPTED")
    assert isinstance(two, SubmissionFailed)
    assert two.reply == "550 5.1.1 no such user"
    words = [line.partition(" ")[0] for line in server.commands]
    assert words == ["EHLO", "MAIL", "RCPT", "DATA", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


def test_an_outbox_and_a_server_that_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that broke takes one message with it; the next one has a session of its own."""
    server = ScriptedServer(replies={"RCPT TO:<no@": ""})
    one, two, three = outgoing(server, monkeypatch, "a@example.org", "no@example.org", "b@example.org")
    assert (one, three) == ("SCRIPTED", "SCRIPTED")
    assert isinstance(two, SubmissionFailed)
    assert two.temporary
    assert [line for line in server.commands if line.startswith("EHLO")] == ["EHLO mua.example"] * 2


def test_an_outbox_and_a_server_that_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that an old session does not take goes over a new one."""

    class Fastidious(ScriptedServer):
        def _reply(self, line: str) -> str:
            if line.startswith("MAIL") and self.messages:
                self.messages.clear()
                return "421 4.7.0 one message is enough"
            return super()._reply(line)

    server = Fastidious()
    assert outgoing(server, monkeypatch, "a@example.org", "b@example.org") == ["SCRIPTED"] * 2
    assert [line for line in server.commands if line.startswith("EHLO")] == ["EHLO mua.example"] * 2
