"""The supervisor's end of a service's socket: it hears what the service tells, and asks it.

Theory of operation. A service tells which methods it answers when it is ready (services.notices). A question
is one object; the answer comes in pieces between the notices, since one datagram might not hold it:

    -> {"ask": 7, "method": "cache.show", "params": {...}}
    <- {"answer": 7, "part": "{\\"result\\": ...", "last": false}, ...

The parts joined are JSON, `result` or `error`. The service may be anybody's program gone wrong: a question
that is not answered in time, or whose service ends, is an error of the caller's.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailbed import channel
from mailbed.errors import LabError, UsageError

ANSWERED_WITHIN_S = 10.0

Told = Callable[[dict[str, Any]], None]


@dataclass(slots=True, kw_only=True)
class _Question:
    answer: asyncio.Future[Any]
    parts: list[str] = field(default_factory=list)


class Line:
    """A service's socket; `told` is called with each of its notices, `methods` are what it answers."""

    def __init__(self, sock: socket.socket, told: Told) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._told = told
        self._count = 0
        self._questions: dict[int, _Question] = {}
        self.methods: frozenset[str] = frozenset()
        asyncio.get_running_loop().add_reader(sock, self._read)

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return what the service answers.

        Raises: UsageError if the question makes no sense to it; LabError if it fails, ends or is silent.
        """
        self._count += 1
        number = self._count
        question = _Question(answer=asyncio.get_running_loop().create_future())
        self._questions[number] = question
        try:
            channel.send(self._socket, {"ask": number, "method": method, "params": dict(params)})
            return await asyncio.wait_for(question.answer, ANSWERED_WITHIN_S)
        except TimeoutError:
            raise LabError(f"it did not answer {method} within {ANSWERED_WITHIN_S:g} s") from None
        except OSError as error:
            raise LabError(f"it cannot be asked: {error.strerror}") from error
        finally:
            del self._questions[number]

    def _read(self) -> None:
        try:
            received = channel.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self._close()
        elif "kind" not in received[0]:
            self._answered(received[0])
        else:
            notice = received[0]
            if notice.get("kind") == "ready":
                self.methods = frozenset(map(str, notice.pop("methods", ())))
            self._told(notice)

    def _answered(self, message: Mapping[str, Any]) -> None:
        question = self._questions.get(message["answer"])
        if question is None:
            # Nobody waits for it any more.
            return
        question.parts.append(message["part"])
        if not message["last"] or question.answer.done():
            return
        answer = json.loads("".join(question.parts))
        if "error" not in answer:
            question.answer.set_result(answer["result"])
        else:
            kind = UsageError if answer.get("usage") else LabError
            question.answer.set_exception(kind(answer["error"]))

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for question in self._questions.values():
            if not question.answer.done():
                question.answer.set_exception(LabError("it ended before it answered"))
