"""The control socket: a real one, with methods of the tests' own behind it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pytest

from mailbed import client, sandbox
from mailbed.client import Client
from mailbed.control import Call, Connection, Method, Server
from mailbed.errors import LabEnded, LabError, NotRunning, UsageError

T = TypeVar("T")
NUMBERS = itertools.count(1)


def serve(methods: Mapping[str, Method], scene: Callable[[str, Server], Awaitable[T]]) -> T:
    """Run a scene with a server under a name of its own; all that is open is closed afterwards."""
    name = f"test-{os.getpid()}-{next(NUMBERS)}"

    async def run() -> T:
        server = Server(sandbox.listen(name), methods)
        try:
            async with asyncio.timeout(30):
                return await scene(name, server)
        finally:
            server.close()
            # Tasks that were cancelled end.
            await asyncio.sleep(0)

    return asyncio.run(run())


def called(methods: Mapping[str, Method], use: Callable[[Client], T]) -> T:
    """What a client gets that talks to a server with these methods, from a thread of its own."""

    def talk(name: str) -> T:
        connection = Client(name)
        try:
            return use(connection)
        finally:
            connection.close()

    async def scene(name: str, _server: Server) -> T:
        return await asyncio.to_thread(talk, name)

    return serve(methods, scene)


async def echo(call: Call) -> object:
    """Answer with the parameters."""
    return dict(call.params)


def test_a_call_is_answered() -> None:
    """Parameters arrive, None being as good as absent, and the result comes back."""
    assert called({"echo": echo}, lambda c: c.call("echo", a=1, b=["ä"], c=None)) == {"a": 1, "b": ["ä"]}


def test_calls_in_turn() -> None:
    """One connection serves any number of calls, large ones too."""
    large = "x" * 300_000

    def use(connection: Client) -> list[object]:
        return [connection.call("echo", number=n, text=large)["number"] for n in range(5)]

    assert called({"echo": echo}, use) == [0, 1, 2, 3, 4]


def test_a_slow_call_holds_up_nobody() -> None:
    """A call that waits is overtaken by one that was made later, on the same connection."""
    opened = asyncio.Event()

    async def wait(_call: Call) -> object:
        await opened.wait()
        return "waited"

    async def release(_call: Call) -> object:
        opened.set()
        return "opened"

    def both(connection: Client) -> tuple[object, object]:
        first = connection.post("wait")
        second = connection.post("open")
        return connection.response(second), connection.response(first)

    assert called({"wait": wait, "open": release}, both) == ("opened", "waited")


def failing(error: Exception) -> Method:
    """A method that raises."""

    async def method(_call: Call) -> object:
        raise error

    return method


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        pytest.param(UsageError("no host x"), UsageError, "no host x", id="a mistake of the caller"),
        pytest.param(LabError("too bad"), LabError, "too bad", id="a failure"),
        pytest.param(NotRunning("gone"), NotRunning, "gone", id="a special one"),
        pytest.param(ValueError("host is missing"), UsageError, "host is missing", id="a wrong parameter"),
    ],
)
def test_errors_come_back(error: Exception, raised: type[Exception], message: str) -> None:
    """What a method raises is raised again at the caller, and the connection goes on."""

    def use(connection: Client) -> object:
        with pytest.raises(raised) as caught:
            connection.call("fail")
        assert type(caught.value) is raised
        assert str(caught.value) == message
        return connection.call("echo", a=1)

    assert called({"fail": failing(error), "echo": echo}, use) == {"a": 1}


def test_a_bug_is_an_error_too(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong in a method, the caller hears of it, the log has it, and the lab goes on."""

    def use(connection: Client) -> object:
        with pytest.raises(LabError, match="ZeroDivisionError: division by zero"):
            connection.call("fail")
        return connection.call("echo")

    assert called({"fail": failing(ZeroDivisionError("division by zero")), "echo": echo}, use) == {}
    assert "fail failed" in caplog.text


def test_there_are_methods_and_no_others() -> None:
    """A method that does not exist is an error with its name."""

    def use(connection: Client) -> None:
        with pytest.raises(LabError, match="no method rm -rf"):
            connection.call("rm -rf")

    called({"echo": echo}, use)


def raw(lines: bytes, *, answers: int, uid: int | None = None) -> list[dict[str, Any]]:
    """The answers to bytes on a bare connection, at most so many; fewer when the server ends it."""

    async def scene(name: str, _server: Server) -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_unix_connection(sandbox.address(name, uid))
        found: list[dict[str, Any]] = []
        with contextlib.suppress(ConnectionError):
            writer.write(lines)
            while len(found) < answers and (line := await reader.readline()):
                found.append(json.loads(line))
        writer.close()
        return found

    return serve({"echo": echo}, scene)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello\n", -32700),
        (b"{}\n", -32700),
        (b"\xff\n", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "none"}\n', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [1]}\n', -32601),
        (b'{"jsonrpc": "2.0", "id": 1}\n', -32601),
    ],
)
def test_nonsense_is_answered(line: bytes, code: int) -> None:
    """A line that is no request is answered with an error, and what follows it is answered too."""
    good = b'{"jsonrpc": "2.0", "id": 2, "method": "echo"}\n'
    answers = raw(line + good, answers=2)
    assert {answer.get("error", {}).get("code") for answer in answers} == {code, None}
    assert [answer["result"] for answer in answers if answer["id"] == 2] == [{}]


def test_a_line_without_end_is_cut_off() -> None:
    """A client that sends no line end cannot fill the lab's memory."""
    assert raw(b"x" * (3 << 20), answers=1) == []


def test_lines_may_come_in_pieces() -> None:
    """A request that arrives byte by byte is one request."""

    async def scene(name: str, _server: Server) -> bytes:
        reader, writer = await asyncio.open_unix_connection(sandbox.address(name))
        for byte in b'{"jsonrpc": "2.0", "id": 7, "method": "echo"}\n':
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        line = await reader.readline()
        writer.close()
        return line

    assert json.loads(serve({"echo": echo}, scene))["id"] == 7


def test_other_users_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who connects; anybody but the lab's own user gets no answer."""
    request, uid = b'{"jsonrpc": "2.0", "id": 1, "method": "echo"}\n', os.getuid()
    assert len(raw(request, answers=1)) == 1
    # The name holds the user's id: it is the same lab that is asked, by somebody else.
    monkeypatch.setattr(sandbox, "address", lambda name, _=None: f"\0mailbed/{uid}/{name}")
    monkeypatch.setattr("mailbed.control.os.getuid", lambda: uid + 1)
    assert raw(request, answers=1) == []


async def read(call: Call) -> object:
    """Answer with what a file holds whose descriptor came with the call."""
    (fd,) = call.take_fds(1)
    with open(fd, "rb") as file:
        return os.pread(file.fileno(), 100, 0).decode()


async def lend(call: Call) -> object:
    """Answer with descriptors of two files."""
    for text in ("one", "two"):
        fd = os.memfd_create(text)
        os.write(fd, text.encode())
        call.reply_fds.append(fd)
    return "lent"


def test_descriptors_go_in() -> None:
    """A file that the caller opened is read by the lab."""

    def use(connection: Client) -> list[object]:
        found: list[object] = []
        for text in ("first", "second"):
            fd = os.memfd_create(text)
            os.write(fd, text.encode())
            found.append(connection.call("read", [fd]))
            os.close(fd)
        with pytest.raises(UsageError, match="1 file descriptors are needed"):
            connection.call("read")
        return found

    assert called({"read": read}, use) == ["first", "second"]


def test_descriptors_come_out() -> None:
    """A descriptor that the lab opened arrives with the answer, in order, and the lab keeps none."""
    before = len(os.listdir("/proc/self/fd"))

    def use(connection: Client) -> list[bytes]:
        assert connection.call("lend") == "lent"
        found = []
        for _ in range(2):
            fd = connection.take_fd()
            found.append(os.pread(fd, 10, 0))
            os.close(fd)
        return found

    assert called({"lend": lend}, use) == [b"one", b"two"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_descriptors_do_not_leak() -> None:
    """A client that goes away leaves no descriptor behind: neither one it sent nor one meant for it."""
    before = len(os.listdir("/proc/self/fd"))

    async def scene(name: str, server: Server) -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def slow(call: Call) -> object:
            entered.set()
            await asyncio.shield(leave.wait())
            return await lend(call)

        server.methods = {"slow": slow, "echo": echo}
        connection = await asyncio.to_thread(Client, name)
        with open(os.devnull, "rb") as file:
            # Nobody takes this one.
            connection.post("echo", [file.fileno()])
        connection.post("slow")
        await entered.wait()
        connection.close()
        await asyncio.sleep(0.05)
        leave.set()
        await asyncio.sleep(0.05)

    serve({}, scene)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_late_answer_leaks_nothing() -> None:
    """Descriptors for a connection that is closed are closed, too."""
    before = len(os.listdir("/proc/self/fd"))

    async def scene(name: str, server: Server) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sandbox.address(name))
        await asyncio.sleep(0.01)
        (connection,) = server._connections
        sock.close()
        await asyncio.sleep(0.01)
        connection.send(b"late\n", [os.memfd_create("late")])

    serve({}, scene)
    assert len(os.listdir("/proc/self/fd")) == before


def test_events_are_pushed() -> None:
    """A subscriber gets notifications, also those that came between a call and its answer, in order."""

    async def subscribe(call: Call) -> object:
        for number in range(3):
            call.connection.notify("event", {"number": number})
        return "subscribed"

    def use(connection: Client) -> list[int]:
        assert connection.call("subscribe") == "subscribed"
        return [event["number"] for event in connection.events(timeout_s=0.1)]

    assert called({"subscribe": subscribe}, use) == [0, 1, 2]


def test_who_does_not_read_is_cut_off() -> None:
    """A subscriber that never reads cannot fill the lab's memory: it is cut off, and others go on."""

    async def scene(name: str, server: Server) -> tuple[int, object]:
        held: list[Connection] = []

        async def subscribe(call: Call) -> object:
            held.append(call.connection)
            return {}

        server.methods = {"subscribe": subscribe, "echo": echo}
        deaf = await asyncio.to_thread(Client, name)
        await asyncio.to_thread(deaf.call, "subscribe")
        for _ in range(40):
            held[0].notify("event", {"text": "x" * (1 << 20)})
        left = len(server._connections)
        deaf.close()
        other = await asyncio.to_thread(Client, name)
        answer = await asyncio.to_thread(other.call, "echo")
        other.close()
        return left, answer

    assert serve({}, scene) == (0, {})


def test_what_a_client_started_ends_with_it() -> None:
    """When a client goes away its calls are cancelled, and whoever asked to know is told."""

    async def scene(name: str, server: Server) -> list[str]:
        said: list[str] = []
        entered, ended = asyncio.Event(), asyncio.Event()

        async def wait(call: Call) -> object:
            call.connection.on_close.append(lambda: said.append("closed"))
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                said.append("cancelled")
                ended.set()
            return {}

        server.methods = {"wait": wait}
        connection = await asyncio.to_thread(Client, name)
        connection.post("wait")
        await entered.wait()
        connection.close()
        await ended.wait()
        return said

    assert serve({}, scene) == ["closed", "cancelled"]


def test_the_lab_may_end_meanwhile() -> None:
    """A caller whose lab ends is told so, whether it waits for an answer or asks only then."""

    async def scene(name: str, server: Server) -> None:
        async def end(_call: Call) -> object:
            server.close()
            await asyncio.Event().wait()
            return {}

        server.methods = {"end": end}
        connection = await asyncio.to_thread(Client, name)
        for _ in range(2):
            with pytest.raises(LabEnded, match=f"the lab {name} ended before it answered"):
                await asyncio.to_thread(connection.call, "end")
        assert list(connection.events()) == []
        connection.close()

    # The server is closed twice, which does no harm to its connections.
    with contextlib.suppress(ValueError):
        serve({}, scene)


def test_no_lab_no_client() -> None:
    """Without a lab of that name there is nothing to talk to, and the error says what to do."""
    with pytest.raises(NotRunning, match="no lab called nobody-here is running; start one with `mailbed up`"):
        Client("nobody-here")


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (["a"], "a"),
        ([], NotRunning("no lab is running")),
        (["a", "b"], UsageError("several labs are running (a, b)")),
    ],
)
def test_the_only_one(running: list[str], expected: str | Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the only running lab is meant; if there is none or several, that is an error."""
    monkeypatch.setattr(sandbox, "running", lambda: running)
    if isinstance(expected, str):
        assert client.only_one() == expected
        return
    with pytest.raises(type(expected)) as caught:
        client.only_one()
    assert str(expected) in str(caught.value)


def answered(use: Callable[[Call], object], params: dict[str, Any]) -> object:
    """What a method gets out of its parameters, or the error that the caller gets."""

    async def method(call: Call) -> object:
        return use(call)

    def talk(connection: Client) -> object:
        try:
            return connection.call("method", **params)
        except UsageError as error:
            return str(error)

    return called({"method": method}, talk)


@pytest.mark.parametrize(
    ("use", "params", "expected"),
    [
        (lambda call: call.text("a"), {"a": "x"}, "x"),
        (lambda call: call.text("a", "y"), {}, "y"),
        (lambda call: call.text("a"), {}, "a is missing or no text"),
        (lambda call: call.text("a"), {"a": 1}, "a is missing or no text"),
        (lambda call: call.texts("a"), {"a": ["x", "y"]}, ["x", "y"]),
        (lambda call: call.texts("a"), {"a": "x"}, "a is missing or no list of texts"),
        (lambda call: call.texts("a"), {"a": [1]}, "a is missing or no list of texts"),
        (lambda call: call.texts("a"), {}, "a is missing or no list of texts"),
        (lambda call: call.number("a", 0), {"a": 1.5}, 1.5),
        (lambda call: call.number("a", 3), {}, 3),
        (lambda call: call.number("a", 0), {"a": True}, "a is no number"),
        (lambda call: call.number("a", 0), {"a": "1"}, "a is no number"),
    ],
)
def test_parameters_have_types(
    use: Callable[[Call], object], params: dict[str, Any], expected: object
) -> None:
    """A parameter of the wrong type is the caller's mistake, and is told by name."""
    assert answered(use, params) == expected
