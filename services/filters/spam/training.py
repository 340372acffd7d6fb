"""Teaching an engine with files of messages: what `mailbed filter train` runs on the engine's host.

Theory of operation. Each message goes to the engine in a TELL of spamd's protocol, so that ours and
SpamAssassin's are taught alike. One that was taught before changes nothing, so a training that broke off is
simply run again. Every file in the directories is a message, those below them included, but for hidden ones:
a Maildir will do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.errors import ServiceError
from services.filters.spam.database import Kind
from services.filters.spam.protocol import OK, read_response, request

_ANSWERED_WITHIN_S = 60.0
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What came of one file: `new` if the engine did not know the message as `kind` already."""

    path: Path
    kind: Kind
    new: bool


def messages(directory: Path) -> Iterator[Path]:
    """Yield the files in a directory and below it, in the order of their names. Raises: ServiceError."""
    if not directory.is_dir():
        raise ServiceError(f"{directory}: not a directory")
    for place, below, names in os.walk(directory):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if not name.startswith(".") and path.is_file():
                yield path


async def train(
    files: Sequence[tuple[Path, Kind]], *, port: int, told: Callable[[Taught], None] = lambda _: None
) -> list[Taught]:
    """Teach the engine on this host's loopback; return what came of each file, in their order.

    Raises: ServiceError, which names the file, if the engine does not answer, or refuses.
    """
    found: list[Taught] = []
    async for one in _taught(files, port):
        told(one)
        found.append(one)
    return found


async def _taught(files: Sequence[tuple[Path, Kind]], port: int) -> AsyncIterator[Taught]:
    for at in range(0, len(files), _AT_ONCE):
        some = files[at : at + _AT_ONCE]
        results = await asyncio.gather(*(_teach(path, kind, port) for path, kind in some))
        for one in results:
            yield one


async def _teach(path: Path, kind: Kind, port: int) -> Taught:
    try:
        message = path.read_bytes()
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}") from error
    question = request("TELL", message, {"Message-class": kind, "Set": "local"})
    try:
        async with asyncio.timeout(_ANSWERED_WITHIN_S):
            answer = read_response(await _asked(question, port))
    except TimeoutError:
        raise ServiceError(f"{path}: the engine did not answer") from None
    except OSError as error:
        raise ServiceError(f"the engine cannot be asked: {os.strerror(error.errno or 0)}") from error
    except ValueError as error:
        raise ServiceError(f"{path}: {error}") from error
    if answer.code != OK:
        raise ServiceError(f"{path}: the engine says {answer.text}")
    return Taught(path=path, kind=kind, new="didset" in answer.headers)


async def _asked(question: bytes, port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()
