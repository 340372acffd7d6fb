"""Asking the engines: clamd's protocol for the virus engine, spamd's for the spam engine.

Theory of operation. An engine is a process of its own on the host's loopback, ours or the real one: they are
asked alike. A connection serves one question. Whatever is not a whole, well-formed answer in time is
EngineUnavailable: the caller must then neither pass the message on nor lose it.

    clamd    zINSTREAM, the message in chunks   ->  `stream: OK`, `stream: NAME FOUND`, `… ERROR`
    spamd    REPORT SPAMC/1.5                   ->  `Spam: True ; 15.2 / 5.0`, and a table of the rules
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass

from services.errors import ServiceError
from services.filters.verdict import Fired

CLAMD_PORT = 3310
SPAMD_PORT = 783

_CHUNK = 1 << 16
_LONGEST = 300
_ANSWER_LIMIT = 1 << 20
_SCORE = re.compile(rb"Spam:\s*(?:True|False|Yes|No)\s*;\s*(-?[\d.]+)\s*/\s*(-?[\d.]+)", re.IGNORECASE)
# A row of the report: points, the rule's name, and what it says; lines that continue it are indented.
_ROW = re.compile(r"\s?\*?\s*(-?\d+(?:\.\d+)?) +([A-Za-z][A-Za-z0-9_]+)(?: +(.*))?")


class EngineUnavailable(ServiceError):
    """An engine did not answer, or not in its protocol; the message is one line and names it."""

    def __init__(self, engine: str, reason: str) -> None:
        super().__init__(f"the {engine} {reason}")
        self.engine = engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the virus engine found: the name of malware, or why it cannot look at all of it; else nothing."""

    virus: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the spam engine thinks: the score, the one from which a message is spam, the rules that fired."""

    score: float
    required: float
    rules: tuple[Fired, ...] = ()

    @property
    def spam(self) -> bool:
        return self.score >= self.required


async def scan(message: bytes, *, port: int = CLAMD_PORT, timeout_s: float) -> Scan:
    """Return what clamd's protocol says of a message. Raises: EngineUnavailable."""
    chunks = [message[at : at + _CHUNK] for at in range(0, len(message), _CHUNK)]
    framed = b"".join(len(chunk).to_bytes(4, "big") + chunk for chunk in chunks)
    question = b"zINSTREAM\0" + framed + bytes(4)
    return read_scan(await _asked("virus engine", port, question, timeout_s=timeout_s))


async def score(message: bytes, *, port: int = SPAMD_PORT, timeout_s: float) -> Score:
    """Return what spamd's protocol says of a message. Raises: EngineUnavailable."""
    question = b"REPORT SPAMC/1.5\r\nContent-length: %d\r\n\r\n%b" % (len(message), message)
    return read_score(await _asked("spam engine", port, question, timeout_s=timeout_s))


def read_scan(answer: bytes) -> Scan:
    """Return what an answer of clamd's says. Raises: EngineUnavailable if it is none."""
    text = answer.rstrip(b"\0\r\n").decode("utf-8", "replace")
    if text.endswith(" FOUND"):
        return Scan(virus=printable(text.removesuffix(" FOUND").partition(": ")[2]) or "unnamed")
    if text.endswith(": OK"):
        return Scan()
    # It will not take the whole of it, the next time neither.
    if "size limit exceeded" in text:
        return Scan(refused=text.removesuffix(" ERROR").removesuffix("."))
    raise EngineUnavailable("virus engine", f"said: {printable(text)}" if text else "gave no answer")


def read_score(answer: bytes) -> Score:
    """Return what an answer of spamd's to REPORT says. Raises: EngineUnavailable if it is none."""
    header, found, report = answer.partition(b"\r\n\r\n")
    status, _, fields = header.partition(b"\r\n")
    if not re.match(rb"SPAMD/[\d.]+ 0 ", status):
        said = printable(status.decode("utf-8", "replace"))
        raise EngineUnavailable("spam engine", f"said: {said}" if said else "gave no answer")
    length = re.search(rb"Content-length:\s*(\d+)", fields, re.IGNORECASE)
    verdict = _SCORE.search(fields)
    if not found or not verdict or (length and int(length[1]) > len(report)):
        raise EngineUnavailable("spam engine", "broke off its answer")
    try:
        points, required = float(verdict[1]), float(verdict[2])
    except ValueError:
        raise EngineUnavailable("spam engine", "gave a score that is no number") from None
    rules = read_report(report.decode("utf-8", "replace"))
    return Score(score=points, required=required, rules=rules)


def read_report(report: str) -> tuple[Fired, ...]:
    """Return the rules in the table of a report, below the line `pts rule name description`."""
    rules: list[Fired] = []
    _, _, table = report.partition("rule name")
    for line in table.splitlines()[1:]:
        row = _ROW.fullmatch(line.rstrip())
        if row:
            rules.append(Fired(name=row[2], weight=float(row[1]), evidence=printable((row[3] or "").strip())))
        elif rules and line.startswith("    ") and line.strip():
            last = rules[-1]
            evidence = printable(f"{last.evidence} {line.strip()}".strip())
            rules[-1] = Fired(name=last.name, weight=last.weight, evidence=evidence)
    return tuple(rules)


async def _asked(engine: str, port: int, question: bytes, *, timeout_s: float) -> bytes:
    """Return all that an engine says to a question. Raises: EngineUnavailable."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _conversation(port, question)
    except TimeoutError:
        raise EngineUnavailable(engine, f"gave no answer in {timeout_s:g} s") from None
    except OSError as error:
        # asyncio's own text names the address instead of the reason.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise EngineUnavailable(engine, f"cannot be asked: {reason}") from error


async def _conversation(port: int, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        # An engine may refuse in the middle of it: what it said is still to be read.
        sending = asyncio.ensure_future(writer.drain())
        answer = await _read(reader)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return answer
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All until the engine closes, or a zero octet ends the answer (clamd keeps some connections open)."""
    answer = b""
    while len(answer) < _ANSWER_LIMIT:
        try:
            piece = await reader.read(_CHUNK)
        except ConnectionResetError:
            # It closed with some of our question unread; what came before is its answer.
            if answer:
                return answer
            raise
        answer += piece
        if not piece or piece.endswith(b"\0"):
            return answer
    return answer


def printable(text: str) -> str:
    """Return a line of others as it can be shown: without control characters, not too long."""
    return "".join(char if char.isprintable() else "?" for char in text)[:_LONGEST]
