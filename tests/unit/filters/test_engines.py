"""How engines are asked, and what their answers mean."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.filters.engines import EngineUnavailable, Scan, read_scan, read_score, scan, score
from services.filters.verdict import Fired
from tests.unit.filters.enginesat import EICAR, GTUBE, spam, spam_engine, virus_engine


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"stream: OK\0", Scan()),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", Scan(virus="Win.Test.EICAR_HDB-1")),
        (b"stream: OK\n", Scan()),
        (b"stream:  FOUND\0", Scan(virus="unnamed")),
        (b"INSTREAM size limit exceeded. ERROR\0", Scan(refused="INSTREAM size limit exceeded")),
    ],
)
def test_what_clamd_says(answer: bytes, found: Scan) -> None:
    """Malware is named; what the engine will never look at is told apart from what it could not now."""
    assert read_scan(answer) == found


@pytest.mark.parametrize(
    "answer", [b"", b"stream: Can't allocate memory ERROR\0", b"UNKNOWN COMMAND\0", b"stream: O", b"\xff\0"]
)
def test_what_is_no_answer_of_clamds(answer: bytes) -> None:
    """Whatever does not say OK or FOUND is no verdict."""
    with pytest.raises(EngineUnavailable, match="the virus engine"):
        read_scan(answer)


def test_what_spamd_says() -> None:
    """Score, threshold, and each rule with its weight and what it says, over several lines too."""
    found = read_score(spam(GTUBE))
    assert (found.score, found.required, found.spam) == (1000.4, 5.0, True)
    assert found.rules == (
        Fired(name="DKIM_VALID", weight=-0.1, evidence="Message has a signature"),
        Fired(name="ODD_DATE", weight=0.5, evidence="Date is odd: three years off"),
        Fired(name="GTUBE", weight=1000, evidence="BODY: Generic Test for Unsolicited Bulk Email"),
    )
    assert not read_score(spam(b"hello")).spam


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\n\r\nhello",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; . / 5.0\r\n\r\n",
        b"SPAMD/1.1 76 EX_PROTOCOL\r\n\r\n",
        spam(b"hello")[:-1],
    ],
)
def test_what_is_no_answer_of_spamds(answer: bytes) -> None:
    """An error, an answer without a verdict and one that broke off are no verdict."""
    with pytest.raises(EngineUnavailable, match="the spam engine"):
        read_score(answer)


@given(st.binary(max_size=200))
def test_any_answer(answer: bytes) -> None:
    """Whatever an engine says, it is a verdict or EngineUnavailable with a printable line."""
    said: list[str] = []
    for read in (read_scan, read_score):
        try:
            read(answer)
        except EngineUnavailable as error:
            said.append(str(error))
    assert all(map(str.isprintable, said))


def test_engines_are_asked() -> None:
    """The message reaches each engine as it is, whatever its size."""
    message = b"Subject: x\r\n\r\n" + b"line\r\n" * 100_000

    async def main() -> None:
        async with virus_engine() as (virus, virus_port), spam_engine() as (spam, spam_port):
            assert await scan(message + EICAR, port=virus_port, timeout_s=20) == Scan(virus="Eicar-Test")
            assert await scan(message, port=virus_port, timeout_s=20) == Scan()
            assert not (await score(message, port=spam_port, timeout_s=20)).spam
            assert virus.asked == [message + EICAR, message]
            assert spam.asked == [message]

    asyncio.run(main())


def test_engines_that_do_not_answer() -> None:
    """Nobody listens, it hangs up, or it says nothing in time: each is told with the engine's name."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            with pytest.raises(EngineUnavailable, match=r"the virus engine gave no answer in 0\.1 s"):
                await scan(b"x", port=port, timeout_s=0.1)
        with pytest.raises(EngineUnavailable, match="the spam engine cannot be asked: Connection refused"):
            await score(b"x", port=port, timeout_s=20)
        async with virus_engine() as (engine, port):
            engine.instead = b""
            with pytest.raises(EngineUnavailable, match="the virus engine gave no answer"):
                await scan(b"x", port=port, timeout_s=20)

    asyncio.run(main())
