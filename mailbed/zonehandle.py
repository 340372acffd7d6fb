"""A zone of a running lab, as people program against it.

    zone = lab.zone("example.org")
    zone.put("@ 60 MX 5 rcpt-mx2")          # in place of the MX records that there are
    zone.add("www A 198.18.2.80")
    zone.remove("www A")
    print(zone.text)

Each change returns when the primary and all secondaries that are up have it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed.errors import UsageError

if TYPE_CHECKING:
    from mailbed.handle import Handle

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneServer:
    """One server of a zone: its serial; without one, `reason` says why (`down`, `SERVFAIL`, …)."""

    host: str
    primary: bool
    serial: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneState:
    """A zone of the lab: its primary's master file, and its servers, the primary first."""

    zone: str
    primary: str
    file: Path
    servers: tuple[ZoneServer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChange:
    """What came of a change: the serial now, and who has it.

    `changed` is False if there was nothing to change. Resolvers may remember for `remembered_s` seconds what
    was before.
    """

    zone: str
    serial: int
    changed: bool
    remembered_s: int
    file: Path
    servers: tuple[ZoneServer, ...]

    @property
    def behind(self) -> tuple[ZoneServer, ...]:
        """The servers that have not got it."""
        return tuple(server for server in self.servers if server.serial != self.serial)


class LabZone:
    """A handle on one zone; `timeout_s` is for how long a change waits for servers."""

    def __init__(self, lab: Handle, origin: str, *, timeout_s: float = WITHIN_S) -> None:
        self._lab = lab
        self.origin = origin
        self.timeout_s = timeout_s

    @property
    def text(self) -> str:
        """The primary's master file. Raises: UsageError if there is no such zone."""
        return str(self._call("zone.show")["text"])

    @property
    def state(self) -> ZoneState:
        """The servers of the zone and what they have."""
        return state(self._call("zone.show"))

    def add(self, *records: str) -> ZoneChange:
        """Add records, written as in a master file: `www A 198.18.2.80`. Raises: UsageError."""
        return self._change(add=list(records))

    def remove(self, *records: str) -> ZoneChange:
        """Remove records: whole ones, all of a name and type (`www A`), or all of a name.

        Raises: UsageError.
        """
        return self._change(remove=list(records))

    def put(self, *records: str) -> ZoneChange:
        """Put records in place of all those of the same name and type. Raises: UsageError."""
        return self._change(put=list(records))

    def load(self, path: str | os.PathLike[str]) -> ZoneChange:
        """Replace the zone by a master file. Raises: UsageError, which names the file and the line."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"{os.fspath(path)}: {error.strerror}") from error
        return self._replace(content, os.fspath(path), Path(path).resolve().parent)

    def replace(self, text: str, *, source: str = "the text") -> ZoneChange:
        """Replace the zone by the text of a master file, which errors call `source`. Raises: UsageError."""
        return self._replace(text.encode(), source, Path.cwd())

    def _replace(self, content: bytes, source: str, directory: Path) -> ZoneChange:
        with tempfile.TemporaryFile() as file:
            # A descriptor, since a zone may be longer than what a request may hold.
            file.write(content)
            file.flush()
            return self._change([file.fileno()], source=source, directory=str(directory))

    def _change(self, fds: Sequence[int] = (), **params: Any) -> ZoneChange:
        answer = self._call("zone.change", fds, timeout_s=self.timeout_s, **params)
        return ZoneChange(
            **{**answer, "file": Path(answer["file"]), "servers": _servers(answer)},
        )

    def _call(self, method: str, fds: Sequence[int] = (), **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._lab.call(method, fds, zone=self.origin, **params)
        return answer


def state(answer: Mapping[str, Any]) -> ZoneState:
    """Return what the lab says of a zone."""
    return ZoneState(
        zone=answer["zone"],
        primary=answer["primary"],
        file=Path(answer["file"]),
        servers=_servers(answer),
    )


def _servers(answer: Mapping[str, Any]) -> tuple[ZoneServer, ...]:
    return tuple(ZoneServer(**server) for server in answer["servers"])
