"""What a content filter in a lab keeps back, as people program against it.

    quarantine = lab.quarantine("rcpt-filt")
    for kept in quarantine.messages():
        print(kept.id, kept.sender, kept.reason)
    quarantine.release("JBSWY3DPEB")       # delivered after all
    quarantine.delete("JBSWY3DPEB")

A server that does not run, and a lab that has ended, are asked through what lies in the run directory; that
cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed.errors import LabError, UsageError

if TYPE_CHECKING:
    from mailbed.handle import Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class InQuarantine:
    """A message that is kept back: `time` in seconds since 1970; `told`: its sender was sent a notice.

    `client` is who brought it to the organisation, `authentication` the Authentication-Results field. The
    `content` is only there if one message was asked for (`show`); of a long one it is the beginning.
    `queue_id` is that under which it goes on, once it is released.
    """

    id: str
    time: float
    sender: str
    recipients: tuple[str, ...]
    subject: str
    size: int
    reason: str
    virus: str
    client: str
    authentication: str
    told: bool
    content: str = ""
    queue_id: str = ""


class LabQuarantine:
    """A handle on the quarantine of one mail server."""

    def __init__(self, lab: Handle, host: str) -> None:
        self._lab = lab
        self.host = host

    def messages(self) -> list[InQuarantine]:
        """Return what is kept back, oldest first.

        Raises: UsageError if there is no mail server; LabError if it has no content filter.
        """
        try:
            return self._ask("quarantine.list")
        except LabError:
            found = of_run(self._lab.run, self.host)
            if found is None:
                raise
            return found

    def show(self, kept_id: str) -> InQuarantine:
        """Return one message, with its content. Raises: as `messages`, and UsageError if it is not there."""
        try:
            found = self._ask("quarantine.show", id=kept_id)
        except LabError:
            found = of_run(self._lab.run, self.host, kept_id) or []
            if not found:
                raise
        if not found:
            raise UsageError(f"no message {kept_id} is in the quarantine of {self.host}")
        return found[0]

    def release(self, *ids: str) -> list[InQuarantine]:
        """Have messages delivered after all, marked; return those that were there. Raises: as `messages`."""
        return self._ask("quarantine.release", ids=list(ids))

    def delete(self, *ids: str) -> list[InQuarantine]:
        """Have messages gone for good; return those that were there. Raises: as `messages`."""
        return self._ask("quarantine.delete", ids=list(ids))

    def _ask(self, method: str, **params: Any) -> list[InQuarantine]:
        return [_kept(values) for values in self._lab.call(method, host=self.host, **params)["messages"]]


def of_run(run: Path, host: str, kept_id: str = "") -> list[InQuarantine] | None:
    """Return what a host's quarantine holds as it lies in a run directory, None if it never had one.

    With `kept_id` only that message, with its content. Raises: LabError.
    """
    from services.filters.quarantine import Quarantine, shown

    directory = run / "hosts" / host / "quarantine"
    if not directory.is_dir():
        return None
    quarantine = Quarantine(directory)
    try:
        if not kept_id:
            return [_kept(asdict(kept)) for kept in quarantine.all()]
        kept = quarantine.find(kept_id)
        return [_kept({**asdict(kept), "content": shown(quarantine.content(kept_id))})] if kept else []
    except OSError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from error


_NAMES = frozenset(InQuarantine.__dataclass_fields__)


def _kept(values: Mapping[str, Any]) -> InQuarantine:
    recipients: Sequence[str] = values["recipients"]
    known = {name: value for name, value in values.items() if name in _NAMES}
    return InQuarantine(**{**known, "recipients": tuple(recipients)})
