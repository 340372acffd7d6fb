"""A user's mailbox as its reader sees it: over IMAP from the user's own host, or in the files.

Theory of operation. Where the lab runs and the user has a mail client, a mail program is run on that host: it
finds the server by DNS, takes up TLS, logs in and fetches, all of it over the emulated network, so that it is
in the capture. Where the lab has ended, or nobody has a mail client for that mailbox, the Maildir is looked
into instead; `source` says which it was.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mailbed.errors import LabError, UsageError
from services.mailbox.maildir import mailbox_path
from services.smtp.address import Address
from topologies.plan import Domain, ImapServer, MailClient, MailServer, Plan

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message in a mailbox: `arrival` in seconds since 1970, `size` in octets.

    Header fields are as people read them. `content` is there if it was asked for: the octets as delivered.
    """

    uid: int
    flags: tuple[str, ...]
    arrival: int
    size: int
    sender: str
    to: str
    subject: str
    date: str
    message_id: str
    content: bytes | None = field(default=None, repr=False)

    @property
    def seen(self) -> bool:
        return "\\Seen" in self.flags


class Host(Protocol):
    """What is asked of a lab: to run a program on a host."""

    def exec(
        self, host: str, *argv: str, stdin: bytes | str = b"", timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a host and return what it printed."""


class Inbox:
    """The mailbox of `address`; without `lab` it is read from the files of the run."""

    def __init__(self, plan: Plan, run: Path, address: str, *, lab: Host | None) -> None:
        """Raises: UsageError if there is no such mailbox."""
        self.address = canonical(plan, address)
        self._run = run
        self._lab = lab
        self._holder = holder(plan, self.address)
        self.host = reader(plan, self.address) if lab is not None else None

    @property
    def source(self) -> str:
        """`imap` or `maildir`."""
        return "imap" if self.host is not None else "maildir"

    @property
    def directory(self) -> Path:
        """The Maildir."""
        local, _, domain = self.address.rpartition("@")
        return mailbox_path(self._run / "hosts" / self._holder / "mail", domain, local)

    def messages(self) -> list[Mail]:
        """Return what is in the mailbox, oldest first; nothing is changed by that. Raises: LabError."""
        return self._asked({}) if self.host is not None else self._files(None, content=False)

    def read(self, *uids: int, mark_read: bool = False, delete: bool = False) -> list[Mail]:
        """Return these messages (all, if none is named) with their content, and change them if asked to.

        Raises: LabError, also if there is no such message.
        """
        job = {"uids": list(uids) or None, "content": True, "mark_read": mark_read, "delete": delete}
        if self.host is not None:
            return self._asked(job)
        if mark_read or delete:
            raise LabError(self._reason())
        return self._files(uids or None, content=True)

    def wait(self, timeout_s: float = 60.0) -> list[Mail]:
        """Return the messages that arrive next, when the server tells of them (IDLE).

        Raises: LabError if none came in time.
        """
        if self.host is None:
            raise LabError(self._reason())
        return self._asked({"wait_s": timeout_s, "content": True})

    def mark_read(self, *uids: int) -> None:
        """Have the server keep that these messages were read. Raises: LabError."""
        self._change(uids, "mark_read")

    def delete(self, *uids: int) -> None:
        """Remove these messages for good. Raises: LabError."""
        self._change(uids, "delete")

    def _change(self, uids: Sequence[int], what: str) -> None:
        if self.host is None:
            raise LabError(self._reason())
        if uids:
            self._asked({"uids": list(uids), what: True})

    def _reason(self) -> str:
        if self._lab is None:
            return "the lab has ended: its mailboxes can be looked into, not waited for or changed"
        return f"no host has a mail client of {self.address}: its mailbox can be looked into, not changed"

    def _asked(self, job: dict[str, Any]) -> list[Mail]:
        if self._lab is None or self.host is None:
            raise LabError(self._reason())
        settings = self._run / "hosts" / self.host / "mail-client.toml"
        wait_s = job.get("wait_s") or 0.0
        done = self._lab.exec(
            self.host,
            sys.executable,
            "-m",
            "services.imap.reading",
            stdin=json.dumps({"settings": str(settings), **job}),
            timeout_s=_TIMEOUT_S + wait_s,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise LabError(f"the mail program on {self.host} failed: {last}") from None
        if "error" in answer:
            raise LabError(f"{self.address}, read on {self.host}: {answer['error']}")
        return [_mail(message) for message in answer["messages"]]

    def _files(self, uids: Sequence[int] | None, *, content: bool) -> list[Mail]:
        """What lies in the Maildir; a place in it stands for the UID, where nobody has given one."""
        from services.imap.reading import summary
        from services.mailbox import folder, maildir

        known = folder.numbers(self.directory)
        stored = maildir.list_directory(self.directory)
        found = []
        unknown = max(known.values(), default=0)
        for message in stored:
            name = message.path.name.partition(":")[0]
            if name not in known:
                unknown += 1
            uid = known.get(name, unknown)
            if uids is None or uid in uids:
                octets = message.path.read_bytes()
                flags = [flag for flag, letter in folder.FLAGS.items() if letter in message.flags]
                fields = {"uid": uid, "flags": flags, "arrival": message.arrival, "size": message.size}
                found.append(_mail({**fields, **summary(octets)}, octets if content else None))
        missing = set(uids or ()) - {mail.uid for mail in found}
        if missing:
            raise LabError(f"there is no message {min(missing)} in the mailbox of {self.address}")
        return sorted(found, key=lambda mail: mail.uid)


def _mail(message: dict[str, Any], content: bytes | None = None) -> Mail:
    if content is None and "content" in message:
        content = base64.b64decode(message["content"])
    return Mail(
        uid=message["uid"],
        flags=tuple(message["flags"]),
        arrival=message["arrival"],
        size=message["size"],
        sender=message["from"],
        to=message["to"],
        subject=message["subject"],
        date=message["date"],
        message_id=message["message_id"],
        content=content,
    )


def mailboxes(plan: Plan) -> list[str]:
    """Return the addresses that have a mailbox."""
    held = {name for _, role in plan.roles() if isinstance(role, MailServer) for name in role.mailboxes}
    return [
        f"{user.local}@{domain.name}"
        for domain in plan.domains
        if domain.name in held
        for user in domain.users
    ]


def canonical(plan: Plan, address: str) -> str:
    """Return the address of a mailbox as its server calls it.

    Raises: UsageError, which names those there are.
    """
    wanted = _canonical(address)
    known = mailboxes(plan)
    if wanted not in [_canonical(each) for each in known]:
        if goes_on := _goes_on(plan, wanted):
            raise UsageError(f"{address} {goes_on}")
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise UsageError(f"there is no mailbox of {address} in {plan.name}: {there}")
    return wanted


def _goes_on(plan: Plan, address: str) -> str:
    """What an address is that has mail but no mailbox, and where its mail goes; empty if it is none such."""
    for domain in plan.domains:
        for alias in domain.aliases:
            if address == _canonical(f"{alias.local}@{domain.name}"):
                return f"is an alias, without a mailbox: its mail goes to {_among(domain, alias.to)}"
        for found in domain.lists:
            if address == _canonical(f"{found.local}@{domain.name}"):
                members = _among(domain, found.members) if found.members else "nobody yet"
                return (
                    f"is a mailing list, without a mailbox: its mail goes to its members, at first {members}"
                )
    return ""


def _among(domain: Domain, names: Sequence[str]) -> str:
    """Addresses as people read them; a name without a domain is one of this domain."""
    return ", ".join(name if "@" in name else f"{name}@{domain.name}" for name in names)


def _canonical(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return str(Address(local=local, domain=domain).canonical)


def holder(plan: Plan, address: str) -> str:
    """Return the host where the mailbox of an address lies."""
    domain = address.rpartition("@")[2]
    names = [host.name for host, role in plan.roles() if domain in getattr(role, "mailboxes", ())]
    return names[0]


def reader(plan: Plan, address: str) -> str | None:
    """Return the host whose mail client reads the mailbox of an address, if there is one."""
    store = plan.host(holder(plan, address))
    if not any(isinstance(role, ImapServer) for role in store.roles):
        return None
    for host, role in plan.roles():
        if isinstance(role, MailClient) and _canonical(role.user) == address:
            return host.name
    return None
