"""Mail read over IMAP in a lab: by the mail program of the user's host, by mbsync, by curl."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.errors import LabError, UsageError
from mailbed.inbox import Inbox

ALICE, BOB = "alice@example.com", "bob@example.org"
SERVER = "rcpt-mx.example.org"

pytestmark = pytest.mark.topology("minimal")

_MBSYNC = """\
IMAPAccount bob
Host {server}
User {user}
Pass bob
SSLType STARTTLS
SystemCertificates no
CertificateFile {ca}

IMAPStore far
Account bob

MaildirStore near
Inbox {directory}/INBOX
Path {directory}/

Channel inbox
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync All
Expunge Both
SyncState *
"""


def deliver(lab: Lab, subject: str, body: str = "Hello\n") -> bytes:
    """Send a message to bob; return what lies in the mailbox."""
    sent = lab.send(f"Subject: {subject}\n\n{body}", sender=ALICE, to=BOB)
    outcome = sent.wait()[BOB]
    assert outcome.state == "delivered"
    name = Path(outcome.file).name
    (file,) = [path for path in lab.maildir(BOB).rglob(f"{name}*") if path.parent.name in ("new", "cur")]
    return file.read_bytes()


def test_bob_reads(shared_lab: Lab) -> None:
    """The octets that bob's host fetches are those delivered; the journey still finds the message."""
    lab = shared_lab
    stored = deliver(lab, "awkward", "ä" * 400 + "\n.\nno end")
    box = lab.inbox(BOB)
    assert (box.source, box.host) == ("imap", "bob")
    mail = box.messages()[-1]
    assert (mail.subject, mail.size, mail.seen) == ("awkward", len(stored), False)
    (fetched,) = box.read(mail.uid, mark_read=True)
    assert fetched.content == stored
    assert box.messages()[-1].seen
    journey = lab.journeys().journeys[-1]
    assert all(check.agrees for check in journey.checks)
    assert any(packet.haslayer("TCP") and packet["TCP"].dport == 143 for packet in lab.packets("bob-eth0"))
    box.delete(mail.uid)
    assert mail.uid not in [each.uid for each in box.messages()]
    with pytest.raises(LabError, match=f"no message {mail.uid}"):
        box.read(mail.uid)


def test_the_journey_shows_each_fetch(shared_lab: Lab) -> None:
    """Step G: each time that bob fetches the message his session is read from the packets, frame by frame."""
    lab = shared_lab
    stored = deliver(lab, "fetched twice", "Hello\n" * 1000)
    box = lab.inbox(BOB)
    uid = box.messages()[-1].uid
    assert not lab.journeys().journeys[-1].fetches, "a list of messages is no fetch"
    for mark_read in (False, True):
        box.read(uid, mark_read=mark_read)
    journey = lab.journeys().journeys[-1]
    assert [(fetch.client.host, fetch.user, fetch.size) for fetch in journey.fetches] == [
        ("bob", BOB, len(stored))
    ] * 2
    frames = list(lab.packets("bob-eth0"))
    for fetch in journey.fetches:
        found = fetch.session
        assert found is not None, "told from the packets, not from the server's event"
        assert (found.tls, found.uid, fetch.whole) == ("opened", uid, True)
        assert found.exchange.command == f"UID FETCH {uid} (BODY.PEEK[])"
        assert (
            found.frame < found.exchange.frame < found.first_frame <= found.message_frame < found.last_frame
        )
        ours = [packet for packet in frames if packet.haslayer("TCP") and packet["TCP"].sport == 143]
        sent = [packet for packet in ours if packet["TCP"].dport == found.client_port]
        times = [round(float(packet.time) * 1e6) for packet in sent]
        assert any(abs(time - found.message_ns // 1000) <= 1 for time in times)
    assert all(check.agrees for check in journey.checks)
    box.delete(uid)


def test_waiting(shared_lab: Lab) -> None:
    """Who waits is told of the message that arrives meanwhile, and in the end that none came."""
    box = shared_lab.inbox(BOB)
    later = threading.Timer(1.0, deliver, (shared_lab, "late"))
    later.start()
    try:
        (mail,) = box.wait(60)
    finally:
        later.join()
    assert mail.subject == "late"
    with pytest.raises(LabError, match=r"no new message within 0\.1 s"):
        box.wait(0.1)


def test_who_has_no_mailbox(shared_lab: Lab) -> None:
    """The error names the mailboxes that there are."""
    with pytest.raises(UsageError, match=f"no mailbox of eve@example.org .* {BOB}"):
        shared_lab.inbox("eve@example.org")


def test_the_files_are_read_where_nobody_can_fetch(shared_lab: Lab) -> None:
    """Without the lab the Maildir is read: the same messages by the same numbers; nothing can be changed."""
    deliver(shared_lab, "kept")
    fetched = shared_lab.inbox(BOB).read()
    box = Inbox(shared_lab.plan, shared_lab.run, BOB, lab=None)
    assert box.source == "maildir"
    assert [(mail.uid, mail.content) for mail in box.read()] == [(mail.uid, mail.content) for mail in fetched]
    with pytest.raises(LabError, match="the lab has ended"):
        box.delete(1)


def test_mbsync(shared_lab: Lab, tmp_path: Path) -> None:
    """mbsync fetches everything once; a second run changes nothing; flags go both ways."""
    lab = shared_lab
    stored = deliver(lab, "for mbsync")
    ca = lab.run / "tls" / "ca.pem"
    config = tmp_path / "mbsyncrc"
    config.write_text(_MBSYNC.format(server=SERVER, user=BOB, ca=ca, directory=tmp_path), encoding="utf-8")

    def sync() -> None:
        done = lab.exec("bob", "mbsync", "-c", str(config), "inbox", timeout_s=120)
        assert done.returncode == 0, done.stderr

    def here() -> dict[str, bytes]:
        files = [path for path in (tmp_path / "INBOX").rglob("*") if path.parent.name in ("new", "cur")]
        return {path.name: path.read_bytes() for path in files}

    sync()
    first = here()
    box = lab.inbox(BOB)
    assert len(first) == len(box.messages())
    # mbsync writes LF in its Maildir, and a field of its own.
    plain = [re.sub(rb"X-TUID: .*\n", b"", content.replace(b"\r\n", b"\n")) for content in first.values()]
    assert stored.replace(b"\r\n", b"\n") in plain
    sync()
    assert here() == first
    uid = box.messages()[-1].uid
    box.mark_read(uid)
    sync()
    assert sum("S" in name.partition(":2,")[2] for name in here()) == sum(m.seen for m in box.messages())
    (name,) = [each for each, content in here().items() if b"Subject: for mbsync" in content]
    (old,) = [path for path in (tmp_path / "INBOX").rglob("*") if path.name == name]
    old.rename(tmp_path / "INBOX" / "cur" / f"{name.partition(':')[0]}:2,FS")
    sync()
    assert box.messages()[-1].flags == ("\\Flagged", "\\Seen")


def test_curl(shared_lab: Lab) -> None:
    """curl reads a message under TLS from the start."""
    deliver(shared_lab, "for curl")
    uid = shared_lab.inbox(BOB).messages()[-1].uid
    ca = shared_lab.run / "tls" / "ca.pem"
    url = f"imaps://{SERVER}/INBOX;UID={uid}"
    done = shared_lab.exec("bob", "curl", "-sS", "--cacert", str(ca), "-u", f"{BOB}:bob", url, timeout_s=60)
    assert "Subject: for curl" in done.stdout, done.stderr
