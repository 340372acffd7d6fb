"""Wireshark's own dissector reads what we write."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from captures import pcapng

CLIENT, SERVER = "198.18.0.1", "198.18.0.2"
Tshark = Callable[..., list[str]]


@pytest.fixture
def tshark(tmp_path: Path) -> Tshark:
    """Run tshark on the given capture; its lines."""
    program = shutil.which("tshark")
    if program is None:
        pytest.fail("tshark is not installed: these tests compare with it (Debian package: tshark)")

    def run(capture: bytes, *arguments: str) -> list[str]:
        path = tmp_path / "network.pcapng"
        path.write_bytes(capture)
        command = [program, "-r", str(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return run


def segment(source: str, destination: str, ports: tuple[int, int], sequence: int, data: bytes) -> bytes:
    """A TCP segment in IPv4 in Ethernet, with PSH and ACK set; tshark does not mind the missing checksums."""
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, 1, 5 << 4, 0x18, 65535, 0, 0) + data
    addresses = b"".join(bytes(map(int, address.split("."))) for address in (source, destination))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + tcp


def test_interfaces_names_comments_and_directions(tshark: Tshark) -> None:
    """Packets are shown with capture point, host names, comment, direction and nanoseconds."""
    frame = segment(CLIENT, SERVER, (2525, 25), 1, b"EHLO mx1.example.org\r\n")
    capture = b"".join(
        [
            pcapng.section_header(hardware="x86_64", system="Linux", application="mailbed"),
            pcapng.interface("isp-a1-eth0", description="to core1"),
            pcapng.interface("core1-eth2"),
            pcapng.name_resolution({CLIENT: "isp-a1", SERVER: "rcpt-mx1"}),
            pcapng.packet(0, 1_795_000_000_000_000_001, frame, len(frame), "out", "E: EHLO to rcpt-mx1"),
            pcapng.packet(1, 1_795_000_000_000_000_002, frame, len(frame), "in"),
            pcapng.statistics(0, 3, start_ns=1, end_ns=3, received=1, dropped=0),
            pcapng.statistics(1, 3, start_ns=1, end_ns=3, received=1, dropped=0),
        ]
    )
    fields = [
        "frame.interface_name",
        "ip.src_host",
        "ip.dst_host",
        "frame.packet_flags_direction",
        "frame.time_epoch",
        "frame.comment",
    ]
    chosen = [argument for field in fields for argument in ("-e", field)]
    lines = tshark(capture, "-N", "n", "-T", "fields", *chosen)
    assert [line.split("\t") for line in lines] == [
        ["isp-a1-eth0", "isp-a1", "rcpt-mx1", "0x00000002", "1795000000.000000001", "E: EHLO to rcpt-mx1"],
        ["core1-eth2", "isp-a1", "rcpt-mx1", "0x00000001", "1795000000.000000002", ""],
    ]  # fmt: skip


def test_secrets_open_a_tls_1_3_session(tshark: Tshark, tmp_path: Path) -> None:
    """A session whose secrets stand before its ServerHello is shown in clear; without them it is not."""
    keylog = tmp_path / "keys.log"
    frames = tls_session(tmp_path, keylog, b"EHLO alice.example.com\r\n")
    packets = [pcapng.packet(0, number, frame, len(frame)) for number, frame in enumerate(frames)]
    header = pcapng.section_header() + pcapng.interface("alice-eth0")
    secrets = pcapng.secrets(keylog.read_bytes())
    hello, rest = packets[0], b"".join(packets[1:])

    shown = ("-Y", "smtp.req.command", "-T", "fields", "-e", "smtp.req.command", "-e", "smtp.req.parameter")
    assert tshark(header + hello + secrets + rest, *shown) == ["EHLO\talice.example.com"]
    assert tshark(header + hello + rest, *shown) == []


def tls_session(directory: Path, keylog: Path, request: bytes) -> list[bytes]:
    """The segments of a TLS 1.3 handshake and of one request, as if sent to port 465."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate(directory))
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client_context.keylog_filename = str(keylog)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)

    # Each flight is looked at on its way, and passed on: a MemoryBIO gives its bytes once.
    frames: list[bytes] = []
    sent = {CLIENT: 1, SERVER: 1}

    def passed_on(end: ssl.MemoryBIO, source: str) -> None:
        data = end.read()
        if data:
            ports = (4000, 465) if source == CLIENT else (465, 4000)
            other = SERVER if source == CLIENT else CLIENT
            frames.append(segment(source, other, ports, sent[source], data))
            sent[source] += len(data)
            end.write(data)

    for end, outgoing, source in 2 * [(client, to_server, CLIENT), (server, to_client, SERVER)]:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
        passed_on(outgoing, source)
    client.write(request)
    passed_on(to_server, CLIENT)
    assert server.read(100) == request
    assert client.version() == "TLSv1.3"
    return frames


def certificate(directory: Path) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    path = directory / "mx.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
