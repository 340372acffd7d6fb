"""The process that is the lab: it builds the network, has the services started, and answers the control
socket.

Theory of operation. It runs inside the sandbox, as one asyncio loop. The owner, outside, has made the run
directory and written everything that the services load; it connects to the control socket, says `start`,
and hears how that goes as events. From then on anybody of the same user may connect: a second terminal, a
test, a notebook.

    start       network (Mininet) ∥ zygote warms up  ->  recorder  ->  services  ->  ready
    down        recorder drains and ends  ->  run.json  ->  this process ends, and the kernel removes the rest

The methods that it answers are listed at the end of `Supervisor.__init__`; ARCHITECTURE.md describes them.
Those of ANSWERED_BY it passes on to a service.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbed import rundir
from mailbed.control import Call, Method, Server
from mailbed.errors import LabError, StartFailed, UsageError
from mailbed.eventlog import EventLog
from mailbed.execution import Executions
from mailbed.faults import Faults
from mailbed.outbox import Outbox
from mailbed.processes import Zygote
from mailbed.recording import Recording
from mailbed.services import Services
from mailbed.tracking import Tracker
from topologies import kernel, namespaces, planfile
from topologies.errors import TopologyError
from topologies.network import Network
from topologies.nodes import MININET_VERSION

if TYPE_CHECKING:
    from mailbed.zones import LabZones

ANSWERED_BY = {
    "cache.show": "resolver",
    "cache.flush": "resolver",
    "queue.list": "mail-server",
    "queue.show": "mail-server",
    "queue.flush": "mail-server",
    "queue.hold": "mail-server",
    "queue.release": "mail-server",
    "queue.remove": "mail-server",
    "quarantine.list": "mail-server",
    "quarantine.show": "mail-server",
    "quarantine.release": "mail-server",
    "quarantine.delete": "mail-server",
}
"""Methods that a service answers: the role of whom `host` is asked, with all parameters."""


def main(zygote: socket.socket, settings: Mapping[str, Any]) -> None:
    """Run the lab until it is told to end."""
    kernel.set_process_name("mailbed-lab")
    asyncio.run(_run(zygote, settings))


async def _run(zygote: socket.socket, settings: Mapping[str, Any]) -> None:
    supervisor = Supervisor(Zygote(zygote), Path(settings["run"]), settings["record"])
    server = Server(socket.socket(fileno=settings["listener"]), supervisor.methods)
    await supervisor.ended.wait()
    # The answer to `down` is the last thing that is said.
    await asyncio.sleep(0)
    server.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What there is once the network is built."""

    network: Network
    services: Services
    tracker: Tracker
    outbox: Outbox
    executions: Executions
    faults: Faults


class Supervisor:
    """The lab's state, and what can be asked of it."""

    def __init__(self, zygote: Zygote, run: Path, record: Mapping[str, Any]) -> None:
        self._zygote = zygote
        self._run = run
        self._record: dict[str, Any] = dict(record)
        self._events = EventLog(run / "events.jsonl")
        self._state = "new"
        self._parts: Parts | None = None
        self._lab_zones: LabZones | None = None
        self._recording = Recording(self._events)
        self._lock = asyncio.Lock()
        self.ended = asyncio.Event()
        self.methods: dict[str, Method] = {
            "status": self.status,
            "start": self.start,
            "ps": self.ps,
            "send": self.send,
            "outcome": self.outcome,
            "follow": self.follow,
            "exec": self.exec,
            "signal": self.signal,
            "fault.add": self.fault_add,
            "fault.list": self.fault_list,
            "fault.clear": self.fault_clear,
            "zone.list": self.zone_list,
            "zone.show": self.zone_show,
            "zone.change": self.zone_change,
            "events.subscribe": self.subscribe,
            "capture.sync": self.capture_sync,
            "capture.tap": self.capture_tap,
            "down": self.down,
            **{method: partial(self.ask, method, role) for method, role in ANSWERED_BY.items()},
        }

    async def status(self, _call: Call) -> object:
        """Who this is: `state`, `run` (path), and what run.json says so far."""
        return {"state": self._state, "run": str(self._run), "record": self._record}

    async def start(self, call: Call) -> object:
        """Build the network, start recorder and `services`; answer when everything is ready."""
        if self._state != "new":
            raise UsageError("the lab has been started already")
        self._state = "starting"
        try:
            return await self._start(call)
        except OSError as error:
            raise StartFailed(f"cannot start in {self._run}: {error.strerror or error}") from error

    async def _start(self, call: Call) -> object:
        began = time.monotonic()
        plan = planfile.loads((self._run / "plan.toml").read_text(encoding="utf-8"))
        self._events.emit("", "", "starting", phase="network", hosts=len(plan.hosts))
        self._zygote.prepare({entry["module"] for entry in call.params["services"]})
        network = Network(plan, etc=self._etc([host.name for host in plan.hosts]))
        try:
            # A thread, since it waits for the kernel: the zygote warms up meanwhile, and we stay answerable.
            await asyncio.to_thread(network.build)
        except TopologyError as error:
            raise LabError(str(error)) from error
        for feature, sentence in network.left_out.items():
            self._events.emit("", "", "left-out", feature=feature, sentence=sentence)
        built = time.monotonic()
        self._events.emit("", "", "starting", phase="services", count=len(call.params["services"]))
        await self._zygote.warm
        await self._recording.start(self._zygote, network, self._run)
        recorded = time.monotonic()
        self._parts = self._make_parts(network, call.params["services"])
        await self._parts.services.start_all()
        self._record |= {
            "state": "running",
            "features": network.features,
            "left_out": network.left_out,
            "versions": {**self._record["versions"], "mininet": MININET_VERSION},
        }
        self._record["timing"] |= {
            "network_s": round(built - began, 4),
            "capture_s": round(recorded - built, 4),
            "services_s": round(time.monotonic() - built, 4),
            "up_s": round(time.monotonic() - float(call.params["began"]), 4),
        }
        rundir.write_record(self._run, self._record)
        self._state = "running"
        self._events.emit("", "", "ready")
        return {"left_out": network.left_out, "timing": self._record["timing"]}

    def _make_parts(self, network: Network, entries: Sequence[Mapping[str, str]]) -> Parts:
        plan, hosts = network.plan, network.namespaces
        where = {str(i.address.ip): i.host for i in network.addressing.interfaces}
        where |= {host.fqdn: host.name for host in plan.hosts}
        tracker = Tracker(where)
        self._events.subscribe(tracker.learn)
        services = Services(self._zygote, self._events, hosts, entries)
        executions = Executions(self._zygote, hosts)
        return Parts(
            network=network,
            services=services,
            tracker=tracker,
            outbox=Outbox(plan, hosts, self._run, zygote=self._zygote, events=self._events, tracker=tracker),
            executions=executions,
            faults=Faults(network, services, self._events, executions.kill_on),
        )

    async def ps(self, _call: Call) -> object:
        """Every service: host, role, state, pid, memory."""
        return self._running().services.table()

    async def send(self, call: Call) -> object:
        """Submit a message (one descriptor) from `sender` to `recipients`, by the MUA of `host` if named.

        With `via` (hosts) it is handed to the first of them on port 25, with `percent` in that notation.
        """
        outbox = self._running().outbox
        (message,) = call.take_fds(1)
        try:
            host = call.params.get("host")
            via = call.texts("via") if call.params.get("via") else ()
            sent = await outbox.send(
                message,
                call.text("sender"),
                call.texts("recipients"),
                host,
                via=via,
                percent=bool(call.params.get("percent")),
            )
        finally:
            os.close(message)
        return {"number": sent.number, "place": sent.place, "reply": sent.reply, "refused": sent.refused}

    async def outcome(self, call: Call) -> object:
        """What became of message `number`, per recipient; waits up to `timeout_s` for all to be final."""
        outbox = self._running().outbox
        found = await outbox.wait(int(call.number("number", 0)), call.number("timeout_s", 0))
        return {recipient: asdict(outcome) for recipient, outcome in found.items()}

    async def follow(self, call: Call) -> object:
        """The same for a message that `host` accepted under the queue id `id`, for `recipients`."""
        outbox = self._running().outbox
        place = (call.text("host"), call.text("id"))
        found = await outbox.follow(place, call.texts("recipients"), call.number("timeout_s", 0))
        return {recipient: asdict(outcome) for recipient, outcome in found.items()}

    async def exec(self, call: Call) -> object:
        """Run `argv` on `host` with three descriptors as its streams; answer with its exit `status`."""
        executions = self._running().executions
        return await executions.run(call, call.take_fds(3))

    async def signal(self, call: Call) -> object:
        """Send `signal` to the program that an `exec` with the same `token` on this connection started."""
        executions = self._running().executions
        executions.signal(call.connection, call.text("token"), int(call.number("signal", 15)))
        return {}

    async def ask(self, method: str, role: str, call: Call) -> object:
        """Pass a question on to the service of that role on `host`, and its answer back."""
        params = {name: value for name, value in call.params.items() if name != "host"}
        return await self._running().services.ask(call.text("host"), role, method, params)

    async def fault_add(self, call: Call) -> object:
        """Put a fault in force: `kind` and `target`."""
        faults = self._running().faults
        async with self._lock:
            return asdict(await faults.add(call.text("kind"), call.texts("target")))

    async def fault_list(self, _call: Call) -> object:
        """The faults in force."""
        return [asdict(fault) for fault in self._running().faults.active.values()]

    async def fault_clear(self, call: Call) -> object:
        """Take back fault `number`, or all of them (0)."""
        faults = self._running().faults
        number = int(call.number("number", 0))
        async with self._lock:
            numbers = [number] if number else list(faults.active)
            return [asdict(await faults.clear(each)) for each in numbers]

    async def zone_list(self, _call: Call) -> object:
        """Every zone, and which of its servers has which serial."""
        return await self._zones().listing()

    async def zone_show(self, call: Call) -> object:
        """One zone, with the text of its primary's master file."""
        return await self._zones().show(call.text("zone"))

    async def zone_change(self, call: Call) -> object:
        """Change `zone`: `add`, `remove` and `put` records; or replace it by a text (one descriptor), which
        errors call `source`, and whose included files are in `directory`.
        """
        zones = self._zones()
        zone, timeout_s = call.text("zone"), call.number("timeout_s", 10)
        if "source" in call.params:
            with open(call.take_fds(1)[0], encoding="utf-8", errors="surrogateescape") as file:
                file.seek(0)
                text = file.read()
            included = Path(call.text("directory", "/"))
            return await zones.supersede(zone, text, call.text("source"), included, timeout_s)
        edits = {name: call.texts(name) for name in ("add", "remove", "put") if name in call.params}
        return await zones.revise(zone, edits, timeout_s)

    async def subscribe(self, call: Call) -> object:
        """Send every event from now on as a notification `event`."""
        connection = call.connection
        unsubscribe = self._events.subscribe(lambda event: connection.notify("event", event))
        connection.on_close.append(unsubscribe)
        return {}

    async def capture_sync(self, _call: Call) -> object:
        """Answer when all that was on the wire until now is in the capture file."""
        self._running()
        return await self._recording.sync()

    async def capture_tap(self, call: Call) -> object:
        """Open an AF_PACKET socket on `host` and pass it on, unbound; `interface` is checked, or chosen."""
        network = self._running().network
        host, interface = call.text("host"), call.text("interface", "")
        names = [found.name for found in network.addressing.of(host)]
        if not names:
            raise UsageError(f"there is no host {host} in {network.plan.name}")
        if interface and interface not in names:
            raise UsageError(f"host {host} has no interface {interface}; it has {', '.join(names)}")
        sock = namespaces.inside(network.namespaces[host], namespaces.packet_socket)
        call.reply_fds.append(sock.detach())
        return {"interface": interface or names[0]}

    async def down(self, _call: Call) -> object:
        """Finish the capture and the record; answer with the record, and end."""
        if self._state == "ending":
            raise LabError("the lab is going down already")
        self._state = "ending"
        self._events.emit("", "", "ending")
        try:
            capture: dict[str, Any] = await self._recording.stop()
            capture.pop("kind", None)
            # Meanwhile: what is on disk is safe, and what is not was never acknowledged.
            if self._parts is not None:
                self._parts.services.kill_all()
            await self._recording.closed()
        except LabError as error:
            capture = {"incomplete": str(error)}
        self._record |= {"state": "ended", "capture": capture, "messages": self._messages()}
        self._record["ended"] = time.time()
        try:
            rundir.write_record(self._run, self._record)
        finally:
            self.ended.set()
        return self._record

    def _zones(self) -> LabZones:
        parts = self._running()
        if self._lab_zones is None:
            # Imported when it is needed: the lab starts without.
            from mailbed.zones import LabZones

            network = parts.network
            self._lab_zones = LabZones(network.plan, network.namespaces, parts.services, self._run)
        return self._lab_zones

    def _messages(self) -> list[dict[str, Any]]:
        if self._parts is None:
            return []
        tracker, outbox = self._parts.tracker, self._parts.outbox
        return [
            {
                "number": sent.number,
                "sender": sent.sender,
                "size": sent.size,
                "started": sent.started,
                "outcomes": [asdict(outcome) for outcome in sent.outcomes(tracker).values()],
            }
            for sent in outbox.sent.values()
        ]

    def _running(self) -> Parts:
        if self._state != "running" or self._parts is None:
            raise LabError(f"the lab is {self._state}, not running")
        return self._parts

    def _etc(self, hosts: list[str]) -> dict[str, dict[str, str]]:
        """Each host's own files for /etc, as the owner wrote them."""
        found: dict[str, dict[str, str]] = {}
        for host in hosts:
            directory = self._run / "hosts" / host / "etc"
            found[host] = {name: str(directory / name) for name in sorted(os.listdir(directory))}
        return found
