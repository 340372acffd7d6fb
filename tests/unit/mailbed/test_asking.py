"""Questions to a service, over the socket on which it tells its notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from mailbed import asking, channel
from mailbed.asking import Line
from mailbed.errors import LabError, UsageError
from services.errors import ServiceError
from services.notices import SocketNotices


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[Line, SocketNotices, list[dict[str, Any]], socket.socket]]:
    """A line, the notices of the service at its other end, what it was told, and the service's socket."""
    told: list[dict[str, Any]] = []
    ours, theirs = channel.pair()
    line = Line(ours, told.append)
    with theirs:
        yield line, SocketNotices(theirs), told, theirs
    await until(lambda: ours.fileno() < 0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


def double(params: Mapping[str, Any]) -> object:
    return {"doubled": params["number"] * 2}


async def later(params: Mapping[str, Any]) -> object:
    await asyncio.sleep(0)
    return params["text"]


def refuse(_: Mapping[str, Any]) -> object:
    raise ServiceError("the disk is full")


def misunderstand(_: Mapping[str, Any]) -> object:
    raise ValueError("no such name")


def fail(_: Mapping[str, Any]) -> object:
    raise KeyError("x")


def test_a_question_is_answered() -> None:
    """A method's handler gives the answer, be it at once or later; several may be asked at a time."""

    async def run() -> None:
        async with connected() as (line, notices, told, _):
            notices.handle("double", double)
            notices.handle("later", later)
            notices.ready()
            answers = await asyncio.gather(
                line.ask("later", {"text": "Grüße"}), *(line.ask("double", {"number": n}) for n in range(5))
            )
            assert answers == ["Grüße", *({"doubled": 2 * n} for n in range(5))]
            assert told == [{"kind": "ready"}]
            assert line.methods == {"double", "later"}

    asyncio.run(run())


def test_a_large_answer_comes_whole() -> None:
    """An answer that no datagram holds arrives in pieces, with events before, between and after it."""

    async def run() -> None:
        async with connected() as (line, notices, told, _):

            def large(_: Mapping[str, Any]) -> object:
                notices.event("before")
                return ['"\\' * 1000] * 2000

            notices.handle("large", large)
            notices.ready()
            asked = asyncio.ensure_future(line.ask("large", {}))
            await asyncio.sleep(0)
            notices.event("meanwhile")
            answer = await asked
            assert answer == ['"\\' * 1000] * 2000
            notices.event("after")
            await until(lambda: len(told) == 4)
            assert sorted(event["kind"] for event in told) == ["after", "before", "meanwhile", "ready"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("handler", "error", "said"),
    [
        (refuse, LabError, "the disk is full"),
        (misunderstand, UsageError, "no such name"),
        (fail, LabError, "KeyError: 'x'"),
        (None, LabError, "nobody here answers method"),
    ],
)
def test_a_question_that_fails(handler: Any, error: type[Exception], said: str) -> None:
    """What the handler raises is raised by who asked, in one line; the service goes on."""

    async def run() -> None:
        async with connected() as (line, notices, _, _):
            notices.handle("double", double)
            if handler is not None:
                notices.handle("method", handler)
            with pytest.raises(error) as caught:
                await line.ask("method", {})
            assert str(caught.value) == said
            assert await line.ask("double", {"number": 2}) == {"doubled": 4}

    asyncio.run(run())


def test_a_service_that_ends() -> None:
    """A service that ends before it answers, or has ended, is an error at once."""

    async def run() -> None:
        async with connected() as (line, _, _, theirs):
            asked = asyncio.ensure_future(line.ask("method", {}))
            await asyncio.sleep(0)
            theirs.close()
            with pytest.raises(LabError, match=r"^it ended before it answered$"):
                await asked
            with pytest.raises(LabError, match=r"^it cannot be asked: "):
                await line.ask("method", {})

    asyncio.run(run())


def test_a_service_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer in time is not waited for, and what it says too late is nobody's."""
    monkeypatch.setattr(asking, "ANSWERED_WITHIN_S", 0.01)

    async def run() -> None:
        async with connected() as (line, notices, told, theirs):
            with pytest.raises(LabError, match=r"^it did not answer method within 0\.01 s$"):
                await line.ask("method", {})
            channel.send(theirs, {"answer": 1, "part": '{"result": 1}', "last": True})
            notices.event("listening")
            await until(lambda: bool(told))
            assert told == [{"kind": "listening"}]

    asyncio.run(run())
