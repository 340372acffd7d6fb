"""Faults in force, with a make-believe network and services that only note what is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from mailbed.errors import UsageError
from mailbed.eventlog import EventLog
from mailbed.faults import Faults
from mailbed.services import Entry, Services
from topologies.network import Network
from topologies.plan import Plan


@dataclass
class FakeNetwork:
    """Notes which hosts and links are down."""

    links: Sequence[frozenset[str]]
    down: set[str] = field(default_factory=set)
    plan: Plan = field(default_factory=lambda: Plan(name="fake"))
    namespaces: dict[str, None] = field(default_factory=lambda: dict.fromkeys(("mx", "core", "ns")))

    def set_host(self, name: str, *, up: bool) -> None:
        (self.down.discard if up else self.down.add)(name)

    def set_link(self, link: int, *, up: bool) -> None:
        (self.down.discard if up else self.down.add)(f"link {link}")

    def links_between(self, one: str, other: str) -> list[int]:
        return [number for number, ends in enumerate(self.links) if ends == {one, other}]


class FakeServices:
    """Services that are ready at once."""

    def __init__(self, *keys: str) -> None:
        self.entries = [
            Entry(
                host=host,
                role=role,
                module="",
                config=Path(),
                log=Path(),
                state="ready",
                ready=asyncio.Event(),
            )
            for host, role in (key.split("/") for key in keys)
        ]

    def of(self, host: str, role: str | None = None) -> list[Entry]:
        found = [entry for entry in self.entries if entry.host == host and role in (None, entry.role)]
        if not found:
            raise UsageError(f"host {host} has no role {role}")
        return found

    async def stop(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.state = "down"

    async def start(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.state = "ready"


class Scene:
    """Faults and what they act on."""

    def __init__(self, events: EventLog) -> None:
        # Two cables between core and the LAN, one to ns.
        self.network = FakeNetwork(
            [frozenset(("core", "lan")), frozenset(("ns", "core")), frozenset(("core", "lan"))]
        )
        self.services = FakeServices("mx/mail-server", "ns/name-server", "ns/resolver")
        self.killed: list[str] = []
        self.faults = Faults(
            cast("Network", self.network), cast("Services", self.services), events, self.killed.append
        )

    @property
    def down(self) -> set[str]:
        """Everything that is down: hosts, links and services."""
        services = {entry.key for entry in self.services.entries if entry.state == "down"}
        return self.network.down | services


@pytest.fixture
def heard() -> list[dict[str, Any]]:
    """The events of the scene."""
    return []


@pytest.fixture
def events(tmp_path: Path, heard: list[dict[str, Any]]) -> Iterator[EventLog]:
    """An event log that `heard` hears."""
    log = EventLog(tmp_path / "events.jsonl")
    log.subscribe(heard.append)
    yield log
    log._file.close()


def play(events: EventLog, story: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a story in a scene of its own."""

    async def run() -> None:
        await story(Scene(events))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "target", "down"),
    [
        ("host-down", ["ns"], {"ns", "ns/name-server", "ns/resolver"}),
        ("host-down", ["core"], {"core"}),
        ("link-down", ["ns", "core"], {"link 1"}),
        ("link-down", ["core", "ns"], {"link 1"}),
        ("link-down", ["core", "lan"], {"link 0", "link 2"}),
        ("service-down", ["ns", "resolver"], {"ns/resolver"}),
    ],
)
def test_a_fault_comes_and_goes(
    events: EventLog, heard: list[dict[str, Any]], kind: str, target: list[str], down: set[str]
) -> None:
    """A fault takes down what it names and no more; clearing it brings that back; both are events."""

    async def story(scene: Scene) -> None:
        fault = await scene.faults.add(kind, target)
        assert scene.down == down
        assert scene.killed == (target if kind == "host-down" else [])
        assert scene.faults.active == {fault.number: fault}
        assert await scene.faults.clear(fault.number) == fault
        assert scene.down == set()
        assert scene.faults.active == {}

    play(events, story)
    assert [(event["kind"], event["fault"], event["target"]) for event in heard] == [
        ("fault", kind, target),
        ("fault-cleared", kind, target),
    ]


def test_faults_overlap(events: EventLog) -> None:
    """What two faults keep down stays down until both are cleared, in whichever order."""

    async def story(scene: Scene) -> None:
        for first in (0, 1):
            both = [await scene.faults.add("service-down", ["ns", "resolver"])]
            both.append(await scene.faults.add("host-down", ["ns"]))
            assert scene.down == {"ns", "ns/name-server", "ns/resolver"}
            await scene.faults.clear(both[first].number)
            assert scene.down == ({"ns", "ns/name-server", "ns/resolver"}, {"ns/resolver"})[first]
            await scene.faults.clear(both[1 - first].number)
            assert scene.down == set()

    play(events, story)


def test_clearing_one_fault_leaves_others_alone(events: EventLog) -> None:
    """A fault elsewhere is not touched, and numbers are not used twice."""

    async def story(scene: Scene) -> None:
        one = await scene.faults.add("service-down", ["mx", "mail-server"])
        other = await scene.faults.add("link-down", ["core", "lan"])
        await scene.faults.clear(one.number)
        assert scene.down == {"link 0", "link 2"}
        assert (await scene.faults.add("host-down", ["mx"])).number not in (one.number, other.number)

    play(events, story)


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("meteor", ["mx"], "there is no fault 'meteor'; there are host-down, link-down, service-down"),
        ("host-down", [], "host-down takes HOST"),
        ("link-down", ["core"], "link-down takes A B"),
        ("host-down", ["ghost"], "there is no host ghost in fake"),
        ("link-down", ["mx", "ns"], "there is no link between mx and ns"),
        ("service-down", ["ghost", "resolver"], "there is no host ghost in fake"),
        ("service-down", ["mx", "resolver"], "host mx has no role resolver"),
    ],
)
def test_a_fault_that_cannot_be_is_told(
    events: EventLog, heard: list[dict[str, Any]], kind: str, target: list[str], message: str
) -> None:
    """What is no fault, or names nothing that is there, changes nothing."""

    async def story(scene: Scene) -> None:
        with pytest.raises(UsageError) as caught:
            await scene.faults.add(kind, target)
        assert str(caught.value) == message
        assert (scene.down, scene.faults.active) == (set(), {})

    play(events, story)
    assert heard == []


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("host-down", ["mx"], ["mx"]),
        ("link-down", ["ns", "core"], ["ns", "core"]),
        ("link-down", ["ns", "core"], ["core", "ns"]),
        ("service-down", ["ns", "resolver"], ["ns", "resolver"]),
    ],
)
def test_a_fault_is_in_force_once(events: EventLog, kind: str, first: list[str], second: list[str]) -> None:
    """The same fault twice is refused, a cable being the same from either end: one clear mends it."""

    async def story(scene: Scene) -> None:
        fault = await scene.faults.add(kind, first)
        with pytest.raises(UsageError, match="is in force already"):
            await scene.faults.add(kind, second)
        await scene.faults.clear(fault.number)
        assert scene.down == set()
        with pytest.raises(UsageError, match=f"there is no fault {fault.number}"):
            await scene.faults.clear(fault.number)

    play(events, story)
