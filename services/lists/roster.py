"""Who is on a list, who has asked to be, and whose mail comes back.

Theory of operation. A roster changes by entries alone, and so is what the journal says it is:

    asked           somebody wants to be put on the list or taken off it; a cookie was sent to them
    subscribed, unsubscribed
    bounced         a member's copy came back; one that comes long after the last counts as the first
    disabled        enough of them: the member stays on the list and gets nothing, until they subscribe again
    posted          all copies of a post are in the queue

Addresses are compared without case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

Did = Literal["asked", "subscribed", "unsubscribed", "bounced", "disabled", "posted"]
Wish = Literal["", "subscribe", "unsubscribe"]

# Bounces and posts that come again after a crash came shortly before it.
_REMEMBERED = 1000


class BadEntry(ValueError):
    """A line of a journal is no entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened at `at` (seconds since 1970); `id` is the queue id of the mail behind it."""

    did: Did
    at: float
    address: str = ""
    id: str = ""
    wish: Wish = ""
    cookie: str = ""
    count: int = 0

    def values(self) -> dict[str, object]:
        """Return the entry as a JSON object, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value or name == "at"}


def read_entry(values: Mapping[str, Any]) -> Entry:
    """Return the entry that a JSON object describes. Raises: BadEntry."""
    kinds: dict[str, type | tuple[type, ...]] = {"at": (int, float), "count": int}
    known = {field.name for field in fields(Entry)}
    for name, value in values.items():
        if name not in known or not isinstance(value, kinds.get(name, str)):
            raise BadEntry(f"{name}: {value!r}")
    if values.get("did") not in get_args(Did) or values.get("wish", "") not in get_args(Wish):
        raise BadEntry(f"{values.get('did')!r} {values.get('wish')!r}")
    if "at" not in values:
        raise BadEntry("it has no time")
    return Entry(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody on the list: `bounces` came back in a row, the last at `last_bounce`."""

    address: str
    bounces: int = 0
    last_bounce: float = 0.0
    disabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What waits for a confirmation since `at`; `times` counts how often the cookie was sent."""

    address: str
    wish: Wish
    cookie: str
    at: float
    times: int = 1


class Roster:
    """The members of one list, its open requests, and which mail it has dealt with."""

    def __init__(self, *, cookie_life_s: float, bounce_window_s: float) -> None:
        self._cookie_life_s = cookie_life_s
        self._bounce_window_s = bounce_window_s
        self._members: dict[str, Member] = {}
        self._requests: dict[str, Request] = {}
        self._done: dict[str, None] = {}

    def __contains__(self, address: str) -> bool:
        return address.lower() in self._members

    def member(self, address: str) -> Member | None:
        """Return the member of that address, None if there is none."""
        return self._members.get(address.lower())

    def reached(self) -> list[str]:
        """Return the addresses that get copies."""
        return [member.address for member in self._members.values() if not member.disabled]

    def request(self, cookie: str, now: float) -> Request | None:
        """Return what was asked for with this cookie, None if that is unknown or too old."""
        found = self._requests.get(cookie)
        return found if found and now < found.at + self._cookie_life_s else None

    def requested(self, address: str, wish: Wish, now: float) -> Request | None:
        """Return the open request of an address, None if it has none."""
        return next(
            (
                request
                for request in self._requests.values()
                if (request.address.lower(), request.wish) == (address.lower(), wish)
                and self.request(request.cookie, now)
            ),
            None,
        )

    def knows(self, queue_id: str) -> bool:
        """Return whether this mail has been dealt with: it comes again if a crash came in between."""
        return queue_id in self._done

    def bounces_with(self, address: str, now: float) -> int:
        """Return how many bounces in a row it is with one more now."""
        member = self._members.get(address.lower())
        if member is None or now - member.last_bounce > self._bounce_window_s:
            return 1
        return member.bounces + 1

    def apply(self, entry: Entry) -> None:
        """Change the roster as an entry says; one about somebody who is not there changes nothing."""
        name, member = entry.address.lower(), self._members.get(entry.address.lower())
        if entry.did == "asked":
            self._ask(entry)
        elif entry.did == "subscribed":
            self._close(entry)
            self._members[name] = Member(address=member.address if member else entry.address)
        elif entry.did == "unsubscribed":
            self._close(entry)
            self._members.pop(name, None)
        elif member and entry.did == "bounced":
            self._members[name] = replace(member, bounces=entry.count, last_bounce=entry.at)
        elif member and entry.did == "disabled":
            self._members[name] = replace(member, disabled=True)
        if entry.id:
            self._done[entry.id] = None
            while len(self._done) > _REMEMBERED:
                del self._done[next(iter(self._done))]

    def entries(self, now: float) -> Iterator[Entry]:
        """Yield entries that make a new roster equal to this one, but for requests that are too old."""
        for member in self._members.values():
            yield Entry(did="subscribed", at=now, address=member.address)
            if member.bounces:
                at, count = member.last_bounce, member.bounces
                yield Entry(did="bounced", at=at, address=member.address, count=count)
            if member.disabled:
                yield Entry(did="disabled", at=now, address=member.address)
        for request in self._requests.values():
            if self.request(request.cookie, now):
                yield Entry(
                    did="asked",
                    at=request.at,
                    address=request.address,
                    wish=request.wish,
                    cookie=request.cookie,
                    count=request.times,
                )
        for queue_id in self._done:
            yield Entry(did="posted", at=now, id=queue_id)

    def _ask(self, entry: Entry) -> None:
        for cookie in _too_old(self._requests.values(), entry.at - self._cookie_life_s):
            del self._requests[cookie]
        earlier = self._requests.get(entry.cookie)
        self._requests[entry.cookie] = Request(
            address=entry.address,
            wish=entry.wish,
            cookie=entry.cookie,
            at=earlier.at if earlier else entry.at,
            times=entry.count,
        )

    def _close(self, entry: Entry) -> None:
        self._requests.pop(entry.cookie, None)


def _too_old(requests: Iterable[Request], limit: float) -> list[str]:
    return [request.cookie for request in requests if request.at <= limit]
