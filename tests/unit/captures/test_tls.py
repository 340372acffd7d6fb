"""Sessions of Python's own TLS, opened with what its endpoints logged."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import pickle
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate, cycle
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.conversations import Piece
from captures.errors import Sealed
from captures.tls import Secrets, open_tls
from tests.unit.captures.wires import said

SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
REQUEST, REPLY = b"EHLO alice.example.com\r\n", b"250 corp-msa.example.com\r\n"


class Recorded(NamedTuple):
    """The bytes of both sides, and the key log."""

    sent: bytes
    received: bytes
    secrets: bytes


Change = Callable[[ssl.SSLContext, ssl.SSLContext], None]


class Session:
    """Both ends of a TLS session, talking through memory; `change` sets up its contexts."""

    def __init__(self, directory: Path, change: Change | None = None) -> None:
        self._keylog = directory / f"keys-{os.urandom(4).hex()}.log"
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        server.load_cert_chain(certificate(directory))
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.keylog_filename = str(self._keylog)
        if change:
            change(client, server)
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client_out, self._server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._to_client, self._client_out)
        self.server = server.wrap_bio(self._to_server, self._server_out, server_side=True)
        self.sent, self.received = b"", b""

    def shake_hands(self) -> None:
        """Complete the handshake, or end it where one side cannot go on."""
        for _ in range(4):
            for end in (self.client, self.server):
                with contextlib.suppress(ssl.SSLError):
                    end.do_handshake()
                self.pass_on()

    def pass_on(self) -> None:
        """Carry what both ends have written to the other one, looking at it on its way."""
        for source, target in ((self._client_out, self._to_server), (self._server_out, self._to_client)):
            data = source.read()
            target.write(data)
            if source is self._client_out:
                self.sent += data
            else:
                self.received += data

    def say(self, end: ssl.SSLObject, data: bytes) -> None:
        """Have one end send the data."""
        end.write(data)
        self.pass_on()

    def close(self) -> None:
        """Have both ends say close_notify."""
        for end in (self.client, self.server):
            with contextlib.suppress(ssl.SSLError):
                end.unwrap()
            self.pass_on()

    def recorded(self) -> Recorded:
        """What has been on the wire."""
        secrets = self._keylog.read_bytes() if self._keylog.exists() else b""
        return Recorded(self.sent, self.received, secrets)


def certificate(directory: Path) -> Path:
    """A self-signed certificate and its key in one file."""
    path = directory / "mx.pem"
    if path.exists():
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin)
    builder = builder.not_valid_after(begin + datetime.timedelta(days=36500))
    signed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(private + signed)
    return path


def talk(directory: Path, change: Change | None = None, *, more: int = 0) -> Recorded:
    """A session with a request, its reply and `more` octets of mail; then both ends close."""
    session = Session(directory, change)
    session.shake_hands()
    session.say(session.client, REQUEST)
    session.say(session.server, REPLY)
    if more:
        session.say(session.client, bytes(range(256)) * (more // 256))
    session.close()
    return session.recorded()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where certificate and key logs lie."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def recorded(directory: Path) -> Recorded:
    """One session for all who only look at it."""
    return talk(directory)


def pieces(data: bytes, sizes: Iterator[int] | None = None) -> list[Piece]:
    """The bytes cut into pieces of these sizes, in packets 1, 2, …; one piece without sizes."""
    cut: list[Piece] = []
    place = 0
    while place < len(data):
        size = next(sizes) if sizes else len(data)
        cut.append(Piece(1000 * (len(cut) + 1), len(cut) + 1, data[place : place + size]))
        place += size
    return cut


def opened(recorded: Recorded) -> tuple[bytes, bytes]:
    """What both sides said."""
    session = open_tls(pieces(recorded.sent), pieces(recorded.received), recorded.secrets)
    return said(session.sent), said(session.received)


def reason(sent: bytes, received: bytes, secrets: bytes) -> str:
    """Why a session is not opened."""
    with pytest.raises(Sealed) as caught:
        open_tls(pieces(sent), pieces(received), secrets)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_session_is_opened(recorded: Recorded) -> None:
    """What both sides said comes out; handshake, session tickets and close_notify do not."""
    assert opened(recorded) == (REQUEST, REPLY)


@pytest.mark.parametrize("suite", SUITES)
def test_each_cipher_suite(directory: Path, suite: str) -> None:
    """Each of the three suites is opened."""
    # Python cannot choose the suite of TLS 1.3: OpenSSL's configuration can, which is read once a process.
    settings_file = directory / f"{suite}.cnf"
    settings_file.write_text(
        f"openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nCiphersuites={suite}\n"
    )
    program = (
        "import pickle, sys; from pathlib import Path; from tests.unit.captures.test_tls import talk\n"
        "sys.stdout.buffer.write(pickle.dumps(tuple(talk(Path(sys.argv[1])))))"
    )
    command = [sys.executable, "-c", program, str(directory)]
    environment = {**os.environ, "OPENSSL_CONF": str(settings_file)}
    output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    recorded = Recorded(*pickle.loads(output))  # noqa: S301 - our own child wrote it
    assert suite_of(recorded) == suite
    assert opened(recorded) == (REQUEST, REPLY)


def suite_of(recorded: Recorded) -> str:
    """The cipher suite in the ServerHello, at its place in the first record."""
    place = 5 + 4 + 34 + 1 + recorded.received[5 + 4 + 34]
    return SUITES[int.from_bytes(recorded.received[place : place + 2], "big") - 0x1301]


def test_hello_retry_request(directory: Path) -> None:
    """A session in which the server asked for another key share than the client's first is opened too."""
    recorded = talk(directory, lambda _, server: server.set_ecdh_curve("secp384r1"))
    assert recorded.received[11:15].hex() == "cf21ad74"
    assert opened(recorded) == (REQUEST, REPLY)


def test_large_transfers(directory: Path) -> None:
    """A message of many records comes out whole, each record with the packet that completed it."""
    recorded = talk(directory, more=3 << 20)
    session = open_tls(
        pieces(recorded.sent, iter(lambda: 1448, 0)), pieces(recorded.received), recorded.secrets
    )
    assert said(session.sent) == REQUEST + bytes(range(256)) * (3 << 12)
    assert [piece.frame for piece in session.sent] == sorted({piece.frame for piece in session.sent})
    assert len(session.sent) > 3 << 6


@given(st.data())
def test_records_may_be_cut_anywhere(recorded: Recorded, data: st.DataObject) -> None:
    """Packets and records have nothing to do with each other; a record's time is that of its last byte."""
    sizes = data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=20))
    sent, received = pieces(recorded.sent, cycle(sizes)), pieces(recorded.received, cycle(sizes))
    session = open_tls(sent, received, Secrets(recorded.secrets))
    assert (said(session.sent), said(session.received)) == (REQUEST, REPLY)
    (request,) = session.sent
    # REQUEST's record is followed by close_notify's alone, of 24 octets.
    last = len(recorded.sent) - 24
    ends = accumulate(len(piece.data) for piece in sent)
    assert request.frame == next(frame for frame, end in enumerate(ends, 1) if end >= last)
    assert request.time_ns == 1000 * request.frame


@given(size=st.integers(0, 4000))
def test_streams_may_end_anywhere(recorded: Recorded, size: int) -> None:
    """Of a session that breaks off what came before is opened, or it is said that it broke off."""
    sent, received = pieces(recorded.sent[:size]), pieces(recorded.received[:size])
    try:
        session = open_tls(sent, received, recorded.secrets)
    except Sealed as error:
        assert "breaks off" in str(error)  # noqa: PT017 - both outcomes are right, for other sizes
        return
    assert REQUEST.startswith(said(session.sent))
    assert REPLY.startswith(said(session.received))


# What Python's TLS does not do by itself, done with the secrets that it logged ----------------------------


class Sealer:
    """Continues a client's stream after its Finished, in AES-256-GCM."""

    def __init__(self, secrets: bytes) -> None:
        (line,) = [line for line in secrets.split(b"\n") if line.startswith(b"CLIENT_TRAFFIC_SECRET_0")]
        self._secret = bytes.fromhex(line.split()[2].decode())
        self._count = 0

    def expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label, of cryptography's parts."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def seal(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        """One record of this type."""
        inner = data + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self.expand(b"iv", 12), "big") ^ self._count
        self._count += 1
        return header + AESGCM(self.expand(b"key", 32)).encrypt(nonce.to_bytes(12, "big"), inner, header)

    def update(self) -> bytes:
        """A KeyUpdate, after which the next secret is used."""
        record = self.seal(22, b"\x18\0\0\x01\0")
        self._secret, self._count = self.expand(b"traffic upd", 48), 0
        return record


@pytest.fixture
def begun(directory: Path) -> Recorded:
    """A session with nothing said after its handshake."""
    session = Session(directory)
    session.shake_hands()
    assert session.client.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
    return session.recorded()


def test_key_updates(begun: Recorded) -> None:
    """A side may change its keys at any time, and more than once."""
    sealer = Sealer(begun.secrets)
    records = [sealer.seal(23, b"one "), sealer.update(), sealer.seal(23, b"two "), sealer.update()]
    records += [sealer.update(), sealer.seal(23, b"three")]
    assert opened(begun._replace(sent=begun.sent + b"".join(records))) == (b"one two three", b"")


def test_padding_is_taken_off(begun: Recorded) -> None:
    """Zeros after a record's type are padding; those before it are data; a record may hold none."""
    sealer = Sealer(begun.secrets)
    records = (
        sealer.seal(23, b"end\0\0", padding=100) + sealer.seal(23, b"", padding=3) + sealer.seal(23, b"!")
    )
    assert opened(begun._replace(sent=begun.sent + records)) == (b"end\0\0!", b"")


def test_authentication_after_the_handshake(begun: Recorded) -> None:
    """A second Finished, with which a client answers a later CertificateRequest, changes no keys."""
    sealer = Sealer(begun.secrets)
    records = sealer.seal(22, b"\x14\0\0\x02ok") + sealer.seal(23, b"QUIT\r\n")
    assert opened(begun._replace(sent=begun.sent + records)) == (b"QUIT\r\n", b"")


def test_nothing_follows_close_notify(begun: Recorded) -> None:
    """After close_notify a side says nothing: what stands there is not looked at."""
    sealer = Sealer(begun.secrets)
    records = sealer.seal(23, b"QUIT\r\n") + sealer.seal(21, b"\x01\0") + sealer.seal(23, b"more")
    assert opened(begun._replace(sent=begun.sent + records)) == (b"QUIT\r\n", b"")


def test_a_handshake_message_in_two_records(begun: Recorded) -> None:
    """A handshake message may be cut into records: it is taken when it is whole."""
    sealer = Sealer(begun.secrets)
    first = sealer.seal(22, b"\x18\0\0")
    second = sealer.seal(22, b"\x01\0")
    sealer.update()
    assert opened(begun._replace(sent=begun.sent + first + second + sealer.seal(23, b"x"))) == (b"x", b"")


# Sessions that stay closed ---------------------------------------------------------------------------------


def test_without_secrets(recorded: Recorded) -> None:
    """A session that is not in the key log stays closed, and so does one of which a secret is missing."""
    assert "no secrets" in reason(recorded.sent, recorded.received, b"")
    lines = [line for line in recorded.secrets.splitlines(keepends=True) if b"SERVER_TRAFFIC" not in line]
    assert "SERVER_TRAFFIC_SECRET_0" in reason(recorded.sent, recorded.received, b"".join(lines))


def test_with_the_secrets_of_another_session(directory: Path, recorded: Recorded) -> None:
    """Secrets that are not this session's do not open it: the tag of the first record tells."""
    other = talk(directory).secrets
    own, others = (log.splitlines()[-1].split()[1] for log in (recorded.secrets, other))
    assert own != others
    assert "do not open" in reason(recorded.sent, recorded.received, other.replace(others, own))


def test_damage(recorded: Recorded) -> None:
    """A record with a bit changed is not opened, and the packet is named."""
    sent = bytearray(recorded.sent)
    sent[-30] ^= 1
    assert "in packet 1" in reason(bytes(sent), recorded.received, recorded.secrets)


def old(client: ssl.SSLContext, _: ssl.SSLContext) -> None:
    """Have the client know TLS 1.2 alone."""
    client.maximum_version = ssl.TLSVersion.TLSv1_2


def test_tls_1_2(directory: Path) -> None:
    """A session of an older version stays closed, and the version is named."""
    old_session = talk(directory, old)
    assert reason(*old_session) == "the session is TLS 1.2, not TLS 1.3"


def strict(client: ssl.SSLContext, _: ssl.SSLContext) -> None:
    """Have the client look at the certificate, which nobody has signed."""
    client.verify_mode = ssl.CERT_REQUIRED


def too_old(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Have client and server know no version in common."""
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server.minimum_version = ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            strict, "the client ended the handshake: unknown certificate authority", id="certificate"
        ),
        pytest.param(too_old, "the server ended the handshake: protocol version", id="version"),
    ],
)
def test_handshakes_that_fail(directory: Path, change: Change, expected: str) -> None:
    """When a side ends the handshake with an alert, that is the reason, in clear or encrypted."""
    session = Session(directory, change)
    session.shake_hands()
    assert reason(*session.recorded()) == expected


@pytest.mark.parametrize(
    ("sent", "received", "expected"),
    [
        pytest.param(b"", b"", "breaks off", id="nothing"),
        pytest.param(b"EHLO x\r\n", b"", "no TLS record", id="no TLS"),
        pytest.param(b"\x16\x03\x01\x00\x04\x02\0\0\0", b"", "ClientHello", id="another message first"),
        pytest.param(b"\x16\x03\x01\x00\x08\x01\0\0\4abcd", b"", "ClientHello", id="a ClientHello too short"),
        pytest.param(b"\x16\x03\x01\xff\xff", b"", "no TLS record", id="a record too long"),
        pytest.param(b"\x17\x03\x03\x00\x01x", b"", "breaks off", id="data first"),
    ],
)
def test_what_is_no_session(sent: bytes, received: bytes, expected: str) -> None:
    """Bytes that are no TLS session are told from one by a sentence."""
    assert expected in reason(sent, received, b"")


@given(st.data())
@settings(max_examples=200)
def test_nothing_else_is_raised(recorded: Recorded, data: st.DataObject) -> None:
    """Whatever is changed in the streams, they are opened or there is a sentence why not."""
    sides = [bytearray(recorded.sent), bytearray(recorded.received)]
    for side in sides:
        for place in data.draw(st.lists(st.integers(0, min(len(side), 250) - 1), max_size=4)):
            side[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Sealed):
        open_tls(pieces(bytes(sides[0])), pieces(bytes(sides[1])), recorded.secrets)


def test_unknown_cipher_suite(recorded: Recorded) -> None:
    """A suite that is not known is named by its number."""
    received = bytearray(recorded.received)
    place = 5 + 4 + 34 + 1 + received[5 + 4 + 34]
    received[place : place + 2] = b"\x13\x05"
    assert "0x1305" in reason(recorded.sent, bytes(received), recorded.secrets)


def test_a_key_log_is_parsed_once_and_forgivingly(recorded: Recorded) -> None:
    """Comments, other lines, capital digits and Windows line ends do no harm."""
    log = (
        b"# a comment\r\nnonsense\r\n" + recorded.secrets.replace(b"\n", b"\r\n") + b"CLIENT_RANDOM half a li"
    )
    head, _, rest = log.partition(b"CLIENT_HANDSHAKE_TRAFFIC_SECRET ")
    log = head + b"CLIENT_HANDSHAKE_TRAFFIC_SECRET " + rest[:64].upper() + rest[64:]
    secrets = Secrets(log)
    random = recorded.sent[5 + 4 + 2 : 5 + 4 + 34]
    assert len(secrets.session(random)) >= 4
    assert secrets.session(hashlib.sha256(random).digest()) == {}
    assert opened(recorded._replace(secrets=log)) == (REQUEST, REPLY)
