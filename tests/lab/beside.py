"""Our authoritative server and NSD side by side on loopback, serving the same master files."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

ROOT = Path(__file__).resolve().parents[2]
NSID = "ns.example.net"
_NAMING = {dns.rdatatype.from_text(kind) for kind in ("CNAME", "DNAME", "MX", "NS", "PTR", "SOA", "SRV")}
_IN_FLIGHT = 64
_SILENCE_S = 2.0
_NSD = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    nsid: "ascii_{nsid}"
    server-count: 1
    # Debian's limits how often it says the same to one client.
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The ports of the two."""

    ours: int
    nsd: int


@contextlib.contextmanager
def both(zones: Mapping[str, Path], directory: Path) -> Iterator[Servers]:
    """Within it, ours and NSD serve the master files, by origin, and have answered a first question."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(ours_alone(zones, directory))
        nsd = stack.enter_context(nsd_alone(zones, directory))
        yield Servers(ours=ours, nsd=nsd)


@contextlib.contextmanager
def ours_alone(zones: Mapping[str, Path], directory: Path) -> Iterator[int]:
    """Within it, our server answers on the port."""
    config = directory / "ours.toml"
    lines = [f'listen = ["127.0.0.1"]\nport = 0\nnsid = "{NSID}"\n[zones]']
    lines += [f"{json.dumps(origin)} = {json.dumps(str(path))}" for origin, path in zones.items()]
    config.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "services.dns", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield _port_told(process.stderr)
        finally:
            process.terminate()


def _port_told(lines: Iterator[str]) -> int:
    said = []
    for line in lines:
        said.append(line)
        if line.startswith("{") and "port" in (told := json.loads(line)):
            return int(told["port"])
    raise AssertionError("ours did not start: " + "".join(said))


@contextlib.contextmanager
def nsd_alone(zones: Mapping[str, Path], directory: Path) -> Iterator[int]:
    """Within it, NSD answers on the port."""
    nsd = shutil.which("nsd", path="/usr/sbin:/usr/bin")
    assert nsd, "NSD is not installed: scripts/setup --test"
    port = _free_port()
    text = _NSD.format(port=port, directory=directory, nsid=NSID)
    text += "".join(
        f'zone:\n    name: "{origin}"\n    zonefile: "{path}"\n' for origin, path in zones.items()
    )
    config = directory / "nsd.conf"
    config.write_text(text)
    with (directory / "nsd.log").open("wb") as log:
        process = subprocess.Popen([nsd, "-d", "-c", str(config)], stdout=log, stderr=log)
    try:
        question = dns.message.make_query(next(iter(zones)), "SOA").to_wire()
        for _ in range(50):
            if ask(port, [question], wait_s=0.2)[0] is not None:
                break
        else:
            raise AssertionError("NSD did not start: " + (directory / "nsd.log").read_text())
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def ask(
    port: int, messages: Sequence[bytes], *, stream: bool = False, wait_s: float = _SILENCE_S
) -> list[bytes | None]:
    """Return the reply to each message, None for silence; by UDP, or all on one TCP connection.

    Their ids are replaced, so that replies in any order are told apart, and put back.
    """
    numbered = [n.to_bytes(2, "big") + message[2:] for n, message in enumerate(messages)]
    replies = (_ask_tcp if stream else _ask_udp)(port, numbered, wait_s)
    return [
        None if (reply := replies.get(n)) is None else message[:2] + reply[2:]
        for n, message in enumerate(messages)
    ]


def _ask_udp(port: int, messages: Sequence[bytes], wait_s: float) -> dict[int, bytes]:
    replies: dict[int, bytes] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", port))
        for start in range(0, len(messages), _IN_FLIGHT):
            window = messages[start : start + _IN_FLIGHT]
            for message in window:
                udp.send(message)
            wanted = set(range(start, start + len(window)))
            while wanted and select.select([udp], [], [], wait_s)[0]:
                with contextlib.suppress(ConnectionRefusedError):
                    reply = udp.recv(65535)
                    number = int.from_bytes(reply[:2], "big")
                    replies[number] = reply
                    wanted.discard(number)
    return replies


def _ask_tcp(port: int, messages: Sequence[bytes], wait_s: float) -> dict[int, bytes]:
    replies: dict[int, bytes] = {}
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as tcp, tcp.makefile("rb") as file:
        for start in range(0, len(messages), _IN_FLIGHT):
            window = messages[start : start + _IN_FLIGHT]
            tcp.sendall(b"".join(len(message).to_bytes(2, "big") + message for message in window))
            # A server may close the connection over a message that it does not like.
            with contextlib.suppress(TimeoutError, ConnectionError):
                for _ in window:
                    reply = file.read(int.from_bytes(file.read(2), "big"))
                    if reply:
                        replies[int.from_bytes(reply[:2], "big")] = reply
    return replies


def told(packet: bytes | None) -> str:
    """Return what a reply says, as lines: flags, EDNS, then the records with their sections.

    Names are in lower case. Records stand in the order of the message in the answer section, sorted in
    the authority and additional sections.
    """
    if packet is None:
        return "silence"
    message = dns.message.from_wire(packet, one_rr_per_rrset=True)
    flags = dns.flags.to_text(message.flags)
    lines = [f"{dns.opcode.to_text(message.opcode())} {dns.rcode.to_text(message.rcode())} {flags}"]
    if message.edns >= 0:
        options = " ".join(str(option) for option in message.options)
        do = "DO" if message.ednsflags & dns.flags.DO else ""
        lines.append(f"edns {message.edns} {message.payload} {do} {options}".rstrip())
    lines += [f"question {rrset}".lower() for rrset in message.question]
    lines += _in_order(message.answer)
    lines += sorted(f"authority {_record(rrset)}" for rrset in message.authority)
    lines += sorted(f"additional {_record(rrset)}" for rrset in message.additional)
    return "\n".join(lines)


def _in_order(records: Sequence[dns.rrset.RRset]) -> list[str]:
    """RRsets in their order, which shows the way along aliases; the records of one have none."""
    order: dict[tuple[str, int], list[str]] = {}
    for record in records:
        key = (record.name.to_text().lower(), record.rdtype)
        order.setdefault(key, []).append(f"answer {_record(record)}")
    return [line for lines in order.values() for line in sorted(lines)]


def _record(record: dns.rrset.RRset) -> str:
    rdata = record[0].to_text()
    if record.rdtype in _NAMING:
        rdata = rdata.lower()
    kind = dns.rdatatype.to_text(record.rdtype)
    rclass = dns.rdataclass.to_text(record.rdclass)
    return f"{record.name.to_text().lower()} {record.ttl} {rclass} {kind} {rdata}"
