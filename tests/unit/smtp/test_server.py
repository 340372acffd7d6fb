"""Conversations with the server, as transcripts."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import ssl
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.smtp.config import Domain, TlsConfig
from services.smtp.mua import client_context
from services.smtp.peek import peek
from services.smtp.queue import Queue
from services.smtp.server import ServerSession
from tests.unit.smtp.running import ALICE, Events, config, free_port, play, running

EHLO = """
    S: 220 mx.example.org ESMTP Mailbed
    C: EHLO client.example
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-SIZE 100000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250 CHUNKING
"""
MAIL = """
    C: MAIL FROM:<alice@example.com>
    S: 250 2.1.0 Ok
"""
DATA = (
    MAIL
    + """
    C: RCPT TO:<bob@example.org>
    S: 250 2.1.5 Ok
    C: DATA
    S: 354 *
"""
)


def converse(directory: Path, *transcripts: str, **values: Any) -> Events:
    """Play the transcripts, one after the other in one session; return what the server told of them."""

    async def main() -> Events:
        configuration = config(directory, **{"size_limit": 100_000, **values})
        async with running(configuration) as events:
            await play(configuration.smtp_port, "".join(transcripts))
        return events

    return asyncio.run(main())


@pytest.mark.parametrize(
    "transcript",
    [
        pytest.param("C: MAIL FROM:<a@b.c>\nS: 503 5.5.1 *send HELO first", id="HELO is needed"),
        pytest.param("C: HELO a b\nS: 501 5.5.4 *", id="a name of two words"),
        pytest.param(f"C: HELO {'a' * 256}\nS: 501 5.5.4 *", id="a name too long for a line of Received"),
        pytest.param(
            "C: HELO c.example\nS: 250 mx.example.org\nC: MAIL FROM:<a@b.c> SIZE=1\nS: 555 5.5.4 *",
            id="no parameters without EHLO",
        ),
        pytest.param("C: NOOP\nS: 250 2.0.0 OK\nC: RSET\nS: 250 2.0.0 OK", id="commands that need nothing"),
        pytest.param("C: FOO\\rBAR\nS: 500 5.5.2 *", id="an unknown command, its control characters escaped"),
        pytest.param("C: EXPN staff\nS: 502 5.5.1 *", id="EXPN is not there"),
        pytest.param("C: VRFY bob\nS: 252 2.5.0 *", id="VRFY tells nothing"),
        pytest.param("C: QUIT\nS: 221 2.0.0 Bye", id="QUIT"),
    ],
)
def test_session_commands(tmp_path: Path, transcript: str) -> None:
    """Commands outside of a transaction; each reply but the first ones carries an enhanced code."""
    converse(tmp_path, "S: 220 *\n", transcript)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        pytest.param("<alice@example.com>", "250 2.1.0 Ok", id="a mailbox"),
        pytest.param("<>", "250 2.1.0 Ok", id="the null path"),
        pytest.param(
            "<@a.example,@b.example:alice@example.com>", "250 2.1.0 Ok", id="a source route, ignored"
        ),
        pytest.param('<"al ice@home"@example.com>', "250 2.1.0 Ok", id="a quoted local part"),
        pytest.param('<"al\\\\"ice>"@example.com>', "250 2.1.0 Ok", id="quotes within quotes"),
        pytest.param("<alice@[198.18.0.1]>", "250 2.1.0 Ok", id="an address literal"),
        pytest.param("<al+x=y@example.com> BODY=8BITMIME SIZE=99", "250 2.1.0 Ok", id="parameters"),
        pytest.param("<alïce@exämple.com> SMTPUTF8", "250 2.1.0 Ok", id="beyond ASCII"),
        pytest.param("<alïce@example.com>", "553 5.6.7 *", id="beyond ASCII, without the parameter"),
        pytest.param("<al\\xefce@example.com> SMTPUTF8", "501 5.1.7 *", id="octets that are no UTF-8"),
        pytest.param("alice@example.com", "501 5.1.7 *", id="no angle brackets"),
        pytest.param("<alice>", "501 5.1.7 *", id="no domain"),
        pytest.param("<al ice@example.com>", "501 5.1.7 *", id="a blank"),
        pytest.param("<alice@example..com>", "501 5.1.7 *", id="an empty label"),
        pytest.param("<alice@example.com> SIZE=100001", "552 5.3.4 *", id="larger than the limit"),
        pytest.param("<alice@example.com> SIZE=many", "501 5.5.4 *", id="a size that is no number"),
        pytest.param(
            "<alice@example.com> BODY=BINARYMIME", "501 5.5.4 *", id="a body type that is not offered"
        ),
        pytest.param("<alice@example.com> SMTPUTF8=1", "501 5.5.4 *", id="a value where none belongs"),
        pytest.param("<alice@example.com> HOLDFOR=9", "555 5.5.4 *", id="an extension that is not offered"),
        pytest.param("<alice@example.com> RET=hdrs ENVID=QQ+2B1", "250 2.1.0 Ok", id="DSN"),
        pytest.param("<alice@example.com> RET=BODY", "501 5.5.4 *", id="DSN: a bad RET"),
        pytest.param("<alice@example.com> ENVID=", "501 5.5.4 *", id="DSN: an empty ENVID"),
        pytest.param("<alice@example.com> ENVID=a+2b", "501 5.5.4 *", id="DSN: ENVID is no xtext"),
        pytest.param(f"<alice@example.com> ENVID={'a' * 101}", "501 5.5.4 *", id="DSN: ENVID is too long"),
        pytest.param("<alice@example.com> SIZE=1 size=2", "501 5.5.4 *twice*", id="a parameter twice"),
        pytest.param("<alice@example.com> AUTH=<>", "555 5.5.4 *", id="AUTH belongs to submission"),
    ],
)
def test_mail(tmp_path: Path, line: str, reply: str) -> None:
    """MAIL takes every valid path and the parameters that EHLO names."""
    # The transcript reads escapes; what is beyond ASCII must reach the server as UTF-8.
    line = "".join(
        char if char.isascii() else "".join(f"\\x{octet:02x}" for octet in char.encode()) for char in line
    )
    converse(tmp_path, EHLO, f"C: MAIL FROM:{line}\nS: {reply}")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        pytest.param("TO:<bob@example.org>", "250 2.1.5 Ok", id="a user"),
        pytest.param("to:<BOB@Example.ORG>", "250 2.1.5 Ok", id="case does not matter here"),
        pytest.param("TO:<bob+lists@example.org>", "250 2.1.5 Ok", id="a detail"),
        pytest.param('TO:<"bob"@example.org>', "250 2.1.5 Ok", id="needless quotes"),
        pytest.param("TO:<Postmaster>", "250 2.1.5 Ok", id="postmaster, without a domain"),
        pytest.param("TO:<postmaster@example.org>", "250 2.1.5 Ok", id="postmaster of a local domain"),
        pytest.param("TO:<eve@example.org>", "550 5.1.1 *", id="no such user"),
        pytest.param("TO:<anyone@example.net>", "250 2.1.5 Ok", id="a domain that is relayed for"),
        pytest.param("TO:<carol@example.com>", "550 5.7.1 *relaying denied", id="anywhere else"),
        pytest.param("TO:<bob@example.org@example.net>", "501 5.1.3 *", id="no mailbox"),
        pytest.param("TO:<>", "501 5.1.3 *", id="the null path"),
        pytest.param("TO:<bob@example.org> NOTIFY=NEVER", "250 2.1.5 Ok", id="DSN: never"),
        pytest.param(
            "TO:<bob@example.org> NOTIFY=success,Delay ORCPT=rfc822;b+2Bx@a", "250 2.1.5 Ok", id="DSN: words"
        ),
        pytest.param("TO:<bob@example.org> NOTIFY=NEVER,DELAY", "501 5.5.4 *", id="DSN: never and sometimes"),
        pytest.param("TO:<bob@example.org> NOTIFY=", "501 5.5.4 *", id="DSN: no word"),
        pytest.param("TO:<bob@example.org> ORCPT=bob@a", "501 5.5.4 *", id="DSN: no type of address"),
        pytest.param("TO:<bob@example.org> ORCPT=rfc822;a=b", "501 5.5.4 *", id="DSN: no xtext"),
        pytest.param("TO:<bob@example.org> RET=FULL", "555 5.5.4 *", id="a parameter of MAIL"),
        pytest.param("TO:<@far.example:bob@example.org>", "250 2.1.5 Ok", id="a source route to a user"),
        pytest.param("TO:<@far.example:carol@example.com>", "550 5.7.1 *", id="a source route elsewhere"),
        pytest.param("TO:<carol%example.com@example.org>", "550 5.7.1 *", id="a percent sign"),
        pytest.param("TO:<carol%example.com@example.net>", "550 5.7.1 *", id="a percent sign, relayed for"),
        pytest.param('TO:<"carol@example.com"@example.org>', "550 5.7.1 *", id="an address in quotes"),
        pytest.param("TO:<example.com!carol@example.org>", "550 5.7.1 *", id="an exclamation mark"),
        pytest.param("<bob@example.org>", "501 5.5.4 *", id="no TO:"),
    ],
)
def test_rcpt(tmp_path: Path, line: str, reply: str) -> None:
    """RCPT takes local users, relayed domains, and nobody else from a stranger."""
    domains = (Domain(name="example.org", kind="local"), Domain(name="example.net", kind="relay"))
    events = converse(tmp_path, EHLO, MAIL, f"C: RCPT {line}\nS: {reply}", domains=domains)
    rejected = [(event["client"], event["stage"]) for event in events.of("rejected")]
    assert rejected == ([] if reply.startswith("250") else [("127.0.0.1", "RCPT")])


def test_a_known_network_may_relay(tmp_path: Path) -> None:
    """A client of relay_from may send anywhere, but not to a local user who does not exist."""
    converse(
        tmp_path,
        EHLO,
        MAIL,
        "C: RCPT TO:<carol@example.com>\nS: 250 2.1.5 Ok\nC: RCPT TO:<eve@example.org>\nS: 550 5.1.1 *",
        relay_from=(ip_network("127.0.0.0/8"),),
    )


def test_order_of_a_transaction(tmp_path: Path) -> None:
    """Commands out of order are refused, and RSET and EHLO forget the transaction."""
    converse(
        tmp_path,
        EHLO,
        "C: RCPT TO:<bob@example.org>\nS: 503 5.5.1 *\nC: DATA\nS: 503 5.5.1 *",
        MAIL,
        "C: MAIL FROM:<alice@example.com>\nS: 503 5.5.1 *\nC: DATA\nS: 554 5.5.1 no valid recipients",
        "\nC: RSET\nS: 250 2.0.0 OK\nC: RCPT TO:<bob@example.org>\nS: 503 5.5.1 *",
        MAIL,
        EHLO.partition("Mailbed")[2],
        "C: RCPT TO:<bob@example.org>\nS: 503 5.5.1 *",
    )


def test_two_messages_in_one_session(tmp_path: Path) -> None:
    """A session may carry several messages; each gets an id of its own, which the reply names."""
    message = "C: Subject: x\nC:\nC: .\nS: 250 2.0.0 Ok: queued as *\n"
    events = converse(tmp_path, EHLO, DATA, message, DATA, message)
    first, second = events.of("accepted")
    assert first["id"] != second["id"]
    assert first["sender"] == "alice@example.com"
    assert (first["recipients"], first["size"]) == (["bob@example.org"], 14)


def test_pipelined_commands(tmp_path: Path) -> None:
    """Commands and the message may come in one piece, without waiting for replies (RFC 2920)."""
    commands = "MAIL FROM:<a@b.c>\\r\\nRCPT TO:<bob@example.org>\\r\\nDATA\\r\\n.\\r\\nRSET\\r\\nNOOP"
    replies = "\nS: 250 2.1.0 *\nS: 250 2.1.5 *\nS: 354 *\nS: 250 2.0.0 Ok: queued as *\nS: 250 *\nS: 250 *"
    converse(tmp_path, EHLO, f"C: {commands}{replies}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\\n.\\r\\nMAIL FROM:<eve@example.com>", id="LF dot CRLF"),
        pytest.param("a\\r\\n.\\nMAIL FROM:<eve@example.com>", id="CRLF dot LF"),
        pytest.param("a\\n.\\nMAIL FROM:<eve@example.com>", id="LF dot LF"),
        pytest.param("a\\r.\\rMAIL FROM:<eve@example.com>", id="CR dot CR"),
        pytest.param("a\\r\\n.\\rMAIL FROM:<eve@example.com>", id="CRLF dot CR"),
        pytest.param("a\\r\\r\\nb", id="CR CRLF"),
        pytest.param("\\n.", id="LF dot at the start"),
        pytest.param("bare\\nline feed", id="a bare LF"),
    ],
)
def test_smuggling_is_refused(tmp_path: Path, text: str) -> None:
    """Only CRLF.CRLF ends a message, and a bare CR or LF refuses all of it: no second message appears."""
    events = converse(tmp_path, EHLO, DATA, f"C: {text}\nC: .\nS: 554 5.6.0 *\nC: NOOP\nS: 250 *")
    assert not events.of("accepted")
    assert [event["stage"] for event in events.of("rejected")] == ["DATA"]


def test_a_large_message_is_read_to_its_end(tmp_path: Path) -> None:
    """A message above the limit is refused after its last line, and the session goes on."""
    lines = ("C: " + "x" * 990 + "\n") * 110
    converse(tmp_path, EHLO, DATA, lines, "C: .\nS: 552 5.3.4 *\nC: NOOP\nS: 250 *")


def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    """A message of the limit's size is taken, dots that were added not counted; one octet more is not."""
    text = "C: ." + "x" * 97 + "\n"
    events = converse(
        tmp_path,
        EHLO.replace("100000", "99"),
        DATA,
        text,
        "C: .\nS: 250 *",
        DATA,
        text.replace("C: .", "C: .."),
        "C: .\nS: 552 5.3.4 *",
        size_limit=99,
    )
    assert [event["size"] for event in events.of("accepted")] == [99]


def test_mail_loop(tmp_path: Path) -> None:
    """A message that has passed fifty servers is refused (RFC 5321 §6.3)."""
    fifty = "C: Received: from a by b; now\n" * 50
    body = "C: Received: only text\n" * 60
    converse(
        tmp_path, EHLO, DATA, fifty, "C: .\nS: 554 5.4.6 *", DATA, "C: A: b\nC:\n", body, "C: .\nS: 250 *"
    )


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the spool is full the client is told to come again, and afterwards the message is taken."""
    message = "C: Subject: x\nC: .\n"
    real = os.write
    full = True

    def write(fd: int, data: bytes) -> int:
        if full and b"mailbed.spool" in bytes(data[:100]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    async def main() -> None:
        nonlocal full
        configuration = config(tmp_path, size_limit=100_000)
        async with running(configuration) as events:
            await play(configuration.smtp_port, EHLO + DATA + message + "S: 452 4.3.1 *")
            assert peek(tmp_path / "spool") == []
            full = False
            await play(configuration.smtp_port, EHLO + DATA + message + "S: 250 2.0.0 *")
            await events.wait("delivered")

    monkeypatch.setattr(os, "write", write)
    asyncio.run(main())


def test_shutting_down(tmp_path: Path) -> None:
    """Clients that are connected when the server ends are told so."""

    async def main() -> None:
        configuration = config(tmp_path)
        async with running(configuration):
            reader, writer = await asyncio.open_connection("127.0.0.1", configuration.smtp_port)
            await reader.readline()
        assert (await reader.readline()).startswith(b"421 4.3.2 ")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def test_submission_in_the_clear(tmp_path: Path, tls: TlsConfig) -> None:
    """Before STARTTLS an MSA takes nothing, least of all a password."""

    async def main() -> None:
        configuration = config(
            tmp_path, smtp_port=0, submission_port=free_port(), tls=tls, size_limit=100_000
        )
        async with running(configuration):
            await play(
                configuration.submission_port,
                EHLO.replace("250 CHUNKING", "250-CHUNKING")
                + """
                S: 250 STARTTLS
                C: AUTH PLAIN AGEAYg==
                S: 530 5.7.0 *STARTTLS*
                C: MAIL FROM:<alice@example.com>
                S: 530 5.7.0 *STARTTLS*
                """,
            )

    asyncio.run(main())


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


@pytest.mark.parametrize(
    "transcript",
    [
        pytest.param("C: MAIL FROM:<alice@example.com>\nS: 530 5.7.0 *", id="no mail before AUTH"),
        pytest.param(
            f"C: AUTH PLAIN {plain('alice@example.com', 'guess')}\nS: 535 5.7.8 *", id="a wrong password"
        ),
        pytest.param(
            f"C: AUTH PLAIN {plain('eve@example.com', '')}\nS: 535 5.7.8 *", id="nobody of that name"
        ),
        pytest.param("C: AUTH CRAM-MD5\nS: 504 5.5.4 *", id="a mechanism that is not offered"),
        pytest.param("C: AUTH PLAIN ???\nS: 501 5.5.2 *", id="no base 64"),
        pytest.param(
            "C: auth login\nS: 334 VXNlcm5hbWU6\nC: QUxJQ0VARVhBTVBMRS5DT00=\nS: 334 UGFzc3dvcmQ6\n"
            "C: c2VjcmV0IG9mIGFsaWNl\nS: 235 2.7.0 *",
            id="LOGIN, the name in upper case",
        ),
        pytest.param(
            f"""C: AUTH PLAIN {plain("alice@example.com", "secret of alice")}
            S: 235 2.7.0 *
            C: MAIL FROM:<carol@example.com>
            S: 553 5.7.1 *
            C: MAIL FROM:<Alice+work@example.com> AUTH=<>
            S: 250 2.1.0 Ok
            C: RCPT TO:<anyone@example.net>
            S: 250 2.1.5 Ok
            C: RCPT TO:<eve@example.org>
            S: 550 5.1.1 *""",
            id="a sender is who they say, and may relay",
        ),
    ],
)
def test_submission(tmp_path: Path, tls: TlsConfig, transcript: str) -> None:
    """After STARTTLS an MSA asks for a password, and then takes the user's own mail to anyone."""

    async def main() -> None:
        configuration = config(tmp_path, submission_port=free_port(), tls=tls, users=(ALICE,))
        async with running(configuration):
            await play(configuration.submission_port, transcript, tls=client_context(tls.cert, None))

    asyncio.run(main())


def test_commands_before_the_handshake_are_not_run(tmp_path: Path, tls: TlsConfig) -> None:
    """What an attacker adds behind STARTTLS, still in the clear, is thrown away (RFC 3207 §6)."""

    async def main() -> bytes:
        configuration = config(tmp_path, tls=tls)
        async with running(configuration):
            reader, writer = await asyncio.open_connection("127.0.0.1", configuration.smtp_port)
            await reader.readline()
            writer.write(b"EHLO a\r\n")
            await reader.readuntil(b"250 STARTTLS\r\n")
            writer.write(b"STARTTLS\r\nNOOP injected\r\n")
            answer = await reader.readline()
            assert answer.startswith(b"220 ")
            try:
                await writer.start_tls(client_context(tls.cert, None), server_hostname="localhost")
                writer.write(b"EHLO b\r\n")
                return await asyncio.wait_for(reader.readline(), 5)
            except (ssl.SSLError, ConnectionError):
                return b""
            finally:
                writer.close()

    # Either the handshake fails on the injected bytes, or their command has no answer.
    assert asyncio.run(main()) in (b"", b"250-mx.example.org\r\n")


def test_too_many_sessions(tmp_path: Path) -> None:
    """One session too many on a port is told to come again; when one has ended there is room for another."""
    greeting, refusal = (
        "S: 220 mx.example.org ESMTP Mailbed",
        "S: 421 4.3.2 mx.example.org has too many sessions*",
    )

    async def main() -> Events:
        configuration = config(tmp_path, session_limit=2)
        async with running(configuration) as events:
            held = [await asyncio.open_connection("127.0.0.1", configuration.smtp_port) for _ in range(2)]
            for reader, _ in held:
                await reader.readline()
            await play(configuration.smtp_port, refusal)
            held[0][1].write(b"QUIT\r\n")
            await held[0][0].read()
            await play(configuration.smtp_port, greeting)
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
        return events

    (rejected,) = asyncio.run(main()).of("rejected")
    assert (rejected["stage"], rejected["client"]) == ("connect", "127.0.0.1")


def test_sessions_with_tls_count_once(tmp_path: Path, tls: TlsConfig) -> None:
    """A session that takes up TLS is still one session, so that the last one may do it too."""

    async def main() -> None:
        msa = config(tmp_path, submission_port=free_port(), tls=tls, users=(ALICE,), session_limit=1)
        async with running(msa):
            context = client_context(tls.cert, None)
            for _ in range(2):
                await play(msa.submission_port, "C: NOOP\nS: 250 *\nC: QUIT\nS: 221 *", tls=context)

    asyncio.run(main())


def test_too_many_sessions_of_one_client(tmp_path: Path) -> None:
    """One client cannot have all the sessions; who ends one may have another."""

    async def main() -> None:
        configuration = config(tmp_path, client_session_limit=1)
        async with running(configuration):
            reader, writer = await asyncio.open_connection("127.0.0.1", configuration.smtp_port)
            await reader.readline()
            await play(configuration.smtp_port, "S: 421 4.3.2 too many sessions from 127.0.0.1*")
            writer.write(b"QUIT\r\n")
            await reader.read()
            await play(configuration.smtp_port, "S: 220 *")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


async def all_said(port: int, *pieces: bytes, pause_s: float = 0.0, half_close: bool = False) -> list[str]:
    """Send the pieces with a pause after each, until the server hangs up; return all that it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    for piece in pieces:
        if reading.done():
            break
        writer.write(piece)
        await asyncio.wait({reading}, timeout=pause_s)
    if half_close:
        writer.write_eof()
    said = await asyncio.wait_for(reading, 20)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return said.decode().splitlines()


MESSAGE = b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b""], id="says nothing"),
        pytest.param([bytes([octet]) for octet in b"NOOP" + b" " * 2000], id="never ends a command"),
        pytest.param([MESSAGE, *([b"x"] * 2000)], id="a message octet by octet"),
        pytest.param([MESSAGE[:-6] + b"BDAT 5000\r\n", *([b"x"] * 2000)], id="a chunk octet by octet"),
    ],
)
def test_a_client_that_takes_its_time(tmp_path: Path, pieces: list[bytes]) -> None:
    """Who does not get on is told so, and the session ends (RFC 5321 §4.5.3.2.7)."""

    async def main() -> list[str]:
        configuration = config(tmp_path, command_timeout_s=0.3)
        async with running(configuration):
            return await all_said(configuration.smtp_port, *pieces, pause_s=0.02)

    assert asyncio.run(main())[-1] == "421 4.4.2 mx.example.org has waited too long"


def test_a_mistake_over_one_session_leaves_the_others_their_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and whoever else says nothing is still told so."""
    real, failed = ServerSession.look_at_clock, list[ServerSession]()

    def look(self: ServerSession) -> None:
        if not failed:
            failed.append(self)
            raise ZeroDivisionError
        real(self)

    async def main() -> list[list[str]]:
        configuration = config(tmp_path, command_timeout_s=0.3)
        async with running(configuration):
            return await asyncio.gather(*(all_said(configuration.smtp_port, b"") for _ in range(3)))

    monkeypatch.setattr(ServerSession, "look_at_clock", look)
    last = [said[-1][:4] for said in asyncio.run(main())]
    assert sorted(last) == ["220 ", "421 ", "421 "]


def test_a_client_that_gets_on(tmp_path: Path) -> None:
    """A message may take longer than a reply, as long as it gets on."""

    async def main() -> list[str]:
        configuration = config(tmp_path, command_timeout_s=2.0)
        async with running(configuration):
            lines = [b"x" * 1022 + b"\r\n"] * 12
            end = b".\r\nQUIT\r\n"
            return await all_said(configuration.smtp_port, MESSAGE, *lines, end, pause_s=0.2)

    assert [line[:9] for line in asyncio.run(main())[-2:]] == ["250 2.0.0", "221 2.0.0"]


def test_a_client_that_has_said_all(tmp_path: Path) -> None:
    """Who closes their half of the connection behind a message still hears what became of it."""

    async def main() -> list[str]:
        configuration = config(tmp_path)
        async with running(configuration):
            return await all_said(configuration.smtp_port, MESSAGE + b"\r\n.\r\n", half_close=True)

    assert asyncio.run(main())[-1].startswith("250 2.0.0 Ok: queued as ")


def test_shutting_down_while_a_message_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose message is being written hears that it was taken, then that the server goes."""
    real = Queue.submit
    writing = asyncio.Event()

    def slow(self: Queue, *arguments: Any, **more: Any) -> None:
        writing.set()
        asyncio.get_running_loop().call_later(0.1, lambda: real(self, *arguments, **more))

    async def main() -> list[str]:
        configuration = config(tmp_path)
        async with running(configuration):
            said = asyncio.create_task(all_said(configuration.smtp_port, MESSAGE + b"\r\n.\r\n"))
            await asyncio.wait_for(writing.wait(), 20)
        return await said

    monkeypatch.setattr(Queue, "submit", slow)
    assert [line[:9] for line in asyncio.run(main())[-2:]] == ["250 2.0.0", "421 4.3.2"]


def test_a_client_that_does_not_listen(tmp_path: Path) -> None:
    """Who sends without end and reads nothing is read no further, and the server ends all the same."""

    async def main() -> int:
        configuration = config(tmp_path, error_limit=10**9)
        async with running(configuration):
            _, writer = await asyncio.open_connection("127.0.0.1", configuration.smtp_port, limit=1024)
            sent = 0
            with suppress(TimeoutError):
                while sent < 200_000_000:
                    writer.write(b"FOO\r\n" * 20_000)
                    await asyncio.wait_for(writer.drain(), 1)
                    sent += 100_000
            writer.transport.abort()
        return sent

    assert asyncio.run(main()) < 200_000_000
