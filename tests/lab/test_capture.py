"""The capture of a lab, as tshark and scapy read it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.sendrecv import sniff

from mailbed import Lab
from mailbed.errors import UsageError
from mailbed.pytest_plugin import LabFactory
from topologies.addressing import assign

TEXT = "Subject: hello\n\nHello Bob\n"


@pytest.fixture(scope="module")
def captured(shared_lab: Lab) -> Path:
    """The capture while the lab still runs: a long message has crossed it, and a short one back."""
    message = TEXT + ("x" * 70 + "\n") * 5000
    sent = shared_lab.send(message, sender="alice@example.com", to="bob@example.org")
    assert sent.wait()["bob@example.org"].state == "delivered"
    reply = shared_lab.send(TEXT, sender="bob@example.org", to="alice@example.com")
    assert reply.wait()["alice@example.com"].state == "delivered"
    assert shared_lab.sync()["dropped"] == 0
    return shared_lab.run / "network.pcapng"


def tshark(capture: Path, *options: str) -> list[str]:
    """The lines that tshark prints."""
    result = subprocess.run(
        ["tshark", "-n", "-r", str(capture), *options], capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


def fields(capture: Path, chosen: str, *names: str, options: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """The values of fields in the packets that a display filter chooses."""
    wanted = [part for name in names for part in ("-e", name)]
    lines = tshark(capture, *options, "-Y", chosen, "-T", "fields", "-E", "separator=|", *wanted)
    return (line.split("|") for line in lines)


def test_interfaces_have_the_names_of_the_plan(shared_lab: Lab, captured: Path) -> None:
    """Each link end is an interface of the file, called as it is on its host; each saw something."""
    names = {name for (name,) in fields(captured, "frame", "frame.interface_name")}
    assert names == {interface.name for interface in assign(shared_lab.plan).interfaces}


def test_addresses_have_the_names_of_the_hosts(shared_lab: Lab, captured: Path) -> None:
    """Wireshark shows fully qualified names, which it finds in the file."""
    columns = ("-N", "n", "-T", "fields", "-e", "_ws.col.Source", "-Y", "ip && !icmp")
    result = subprocess.run(
        ["tshark", "-r", str(captured), *columns], capture_output=True, text=True, check=True
    )
    names = {host.fqdn for host in shared_lab.plan.hosts if not host.router}
    assert set(result.stdout.split()) == names


def test_the_submission_is_readable(captured: Path) -> None:
    """With the keys in the file the encrypted session is open: AUTH, the envelope and the text."""
    commands = [
        command.upper()
        for port, commands in fields(
            captured,
            "smtp.req.command",
            "tcp.dstport",
            "smtp.req.command",
            options=("-Y", 'frame.interface_name == "alice-eth0"'),
        )
        if port == "587"
        for command in commands.split(",")  # those that one packet holds
    ]
    assert commands[:2] == ["EHLO", "STAR"]
    assert {"AUTH", "MAIL", "RCPT", "DATA"} <= set(commands[2:])
    inside = list(fields(captured, 'tls && smtp.req.parameter contains "bob@example.org"', "frame.number"))
    assert inside


def test_no_packet_is_above_the_mtu(captured: Path) -> None:
    """With offloads off, what is captured is what a wire would carry: full packets of at most 1514 bytes."""
    sizes = [int(size) for (size,) in fields(captured, "frame", "frame.len")]
    assert max(sizes) == 1514
    assert sizes.count(1514) > 100


def test_every_checksum_is_right(captured: Path) -> None:
    """No packet was captured before its checksum was filled in."""
    check = [part for layer in ("ip", "tcp", "udp") for part in ("-o", f"{layer}.check_checksum:TRUE")]
    statuses = {
        f"{layer}.checksum.status": {
            int(value)
            for (values,) in fields(
                captured, f"{layer} && !icmp", f"{layer}.checksum.status", options=(*check,)
            )
            for value in values.split(",")
        }
        for layer in ("ip", "tcp", "udp")
    }
    assert statuses == {name: {1} for name in statuses}


def test_packets_are_in_the_order_of_time(captured: Path) -> None:
    """One clock, one order, across all interfaces."""
    times = [float(time) for (time,) in fields(captured, "frame", "frame.time_epoch")]
    assert times == sorted(times)
    deltas = [float(delta) for (delta,) in fields(captured, "frame", "frame.time_delta")]
    assert min(deltas) >= 0


def test_the_chain_of_referrals(captured: Path) -> None:
    """The company's resolver asks the root, which refers it to the TLD's server, and that to the domain's."""
    queries = fields(
        captured,
        'frame.interface_name == "corp-dns-eth0" && dns.flags.response == 0 && ip.src == 198.18.1.12'
        ' && lower(dns.qry.name) == "example.org"',
        "ip.dst",
        "dns.qry.type",
    )
    asked = [server for server, kind in queries if kind in ("15", "2", "1")]
    assert asked == ["198.41.0.4", "198.19.0.2", "198.19.0.4"]
    answers = list(
        fields(
            captured,
            'frame.interface_name == "corp-dns-eth0" && dns.flags.response == 1 && ip.dst == 198.18.1.12'
            ' && lower(dns.qry.name) == "example.org"',
            "ip.src",
            "dns.flags.authoritative",
            "dns.ns",
            "dns.mx.mail_exchange",
        )
    )
    assert [source for source, *_ in answers] == asked
    assert [authoritative in ("1", "True") for _, authoritative, _, _ in answers] == [False, False, True]
    assert [servers.lower() for _, _, servers, _ in answers[:2]] == ["tld-ns.nic.net", "auth-ns.nic.net"]
    assert answers[2][3].lower() == "rcpt-mx.example.org"


def test_packets_for_scapy(shared_lab: Lab, captured: Path) -> None:
    """The handle yields scapy packets, on one interface or on all."""
    on_one = list(shared_lab.packets("rcpt-mx-eth0"))
    assert {packet.sniffed_on for packet in on_one} == {"rcpt-mx-eth0"}
    mail = [p for p in on_one if p.haslayer(TCP) and (p[IP].src, p[TCP].dport) == ("198.18.1.11", 25)]
    assert b"".join(bytes(packet[TCP].payload) for packet in mail).count(b"DATA\r\n") == 1
    # The lab runs on, so more may have been captured when the second one looks.
    seen = len(tshark(captured))
    assert sum(1 for _ in shared_lab.packets()) >= seen


def test_packets_of_no_interface(shared_lab: Lab) -> None:
    """An interface that no host has is a mistake, not an empty capture."""
    with pytest.raises(UsageError, match="no host has an interface core1-eth9"):
        shared_lab.packets("core1-eth9")


def test_a_live_tap(shared_lab: Lab) -> None:
    """scapy's sniff works on a host's interface while packets pass."""
    pinging = threading.Thread(
        target=shared_lab.exec, args=("alice", "ping", "-c4", "-i0.2", "198.18.2.12"), daemon=True
    )
    with shared_lab.tap("core1") as tap:
        pinging.start()
        caught = sniff(opened_socket=tap, count=4, timeout=20, lfilter=lambda packet: packet.haslayer(ICMP))
    pinging.join()
    assert [packet[ICMP].type for packet in caught] == [8, 0, 8, 0]


def test_a_tap_of_an_interface(shared_lab: Lab) -> None:
    """A tap may be on any of a host's interfaces, and sends there, too."""
    with shared_lab.tap("core1", "core1-eth1") as tap, shared_lab.tap("rcpt-mx") as other:
        request = IP(src="198.18.2.1", dst="198.18.2.10") / ICMP(id=77)
        from scapy.layers.l2 import Ether

        tap.send(Ether(dst="02:00:c6:12:02:0a") / request)
        (seen,) = sniff(
            opened_socket=other,
            count=1,
            timeout=10,
            lfilter=lambda packet: packet.haslayer(ICMP) and packet[ICMP].id == 77,
        )
    assert seen[IP].src == "198.18.2.1"


def test_after_the_end_the_file_is_whole(lab_factory: LabFactory) -> None:
    """When the lab is down its capture has every packet that was counted, and tshark finds no fault in it."""
    lab = lab_factory()
    lab.send(TEXT, to="bob@example.org").wait()
    record = lab.down()
    assert len(tshark(lab.run / "network.pcapng")) == record["capture"]["packets"]
    assert (
        sum(each["packets"] for each in record["capture"]["interfaces"].values())
        == (record["capture"]["packets"])
    )
