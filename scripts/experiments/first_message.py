"""One real message crosses `minimal`, and what lies in bob's Maildir is compared with it, byte for byte.

The message has a text and an HTML part, headers that are not ASCII, and an attachment of 1 MB. Then swaks,
which knows nothing of Mailbed, submits one more from alice's host. tshark or Wireshark read the capture.

    python -m scripts.experiments.first_message
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from mailbed import Lab, Outcome
from mailbed.cli.account import account, read_events
from mailbed.errors import MailbedError
from mailbed.sample import sample_message
from topologies.addressing import assign

ALICE, BOB = "alice@example.com", "bob@example.org"
ATTACHMENT_BYTES = 1 << 20


def main() -> int:
    """Run the experiment; return the exit status: 0 if both messages arrived unharmed."""
    try:
        with Lab("minimal") as lab:
            status = run(lab)
        print(f"The run is in {_near(lab.run)}; open the capture with")
        print(f"  wireshark {_near(lab.run / 'network.pcapng')}")
    except MailbedError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return status


def run(lab: Lab) -> int:
    """Send both messages through a running lab and say what came of them."""
    services = lab.ps()
    print(f"{lab.plan.name}: {len(lab.plan.hosts)} hosts, {len(services)} services ready.")
    message = sample_message(ALICE, BOB, seed=lab.seed, attachment_bytes=ATTACHMENT_BYTES)
    started = time.time()
    sent = lab.send(message, sender=ALICE, to=BOB)
    print(f"alice submitted {len(message):,} bytes; {sent.host} said: {sent.reply}")
    first = sent.wait()[BOB]
    _tell_way(lab, sent.queue_id, started)
    intact = _report(lab, first, message)

    swaks = lab.exec("alice", *_swaks(lab), stdin=b"", timeout_s=30)
    queued = re.search(r"queued as (\S+)", swaks.stdout)
    if swaks.returncode != 0 or queued is None:
        print(swaks.stdout, swaks.stderr, sep="\n", file=sys.stderr)
        print("demo: swaks could not submit its message (above)", file=sys.stderr)
        return 1
    print(f"swaks submitted one more from alice's host; corp-mta queued it as {queued[1]}")
    second = lab.follow("corp-mta", queued[1], [BOB])[BOB]
    _report(lab, second, None)
    return 0 if intact and second.state == "delivered" else 1


def _swaks(lab: Lab) -> list[str]:
    ca = str(lab.run / "tls" / "ca.pem")
    submission = [
        "--server",
        "corp-mta.example.com",
        "--port",
        "587",
        "--tls",
        "--tls-ca-path",
        ca,
        "--tls-verify",
    ]
    account = ["--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", "alice"]
    return ["swaks", *submission, *account, "--from", ALICE, "--to", BOB, "--h-Subject", "From swaks"]


def _tell_way(lab: Lab, queue_id: str, started: float) -> None:
    """Print what the services told of the message."""
    names = {str(interface.address.ip): interface.host for interface in assign(lab.plan).interfaces}
    steps = account(read_events(lab.run), queue_id=queue_id, started=started, settled=True, names=names)
    for step in steps:
        print(f"  {step.ms:8.1f} ms  {step.host:<9} {step.text}")


def _report(lab: Lab, outcome: Outcome, message: bytes | None) -> bool:
    """Say where the message went, and whether it is the one that was sent."""
    print(f"  {outcome.state} by way of {' → '.join(outcome.path)}")
    if outcome.state != "delivered":
        print(f"  last reply: {outcome.reply or 'none'}")
        return False
    file = lab.run / "hosts" / outcome.host / "mail" / outcome.file
    print(f"  {_near(file)}")
    if message is None:
        return True
    added = trace_headers(file.read_bytes(), message)
    print(
        f"  same bytes after {len(added)} trace headers: {', '.join(added)}"
        if added
        else "  NOT the same bytes"
    )
    return bool(added)


def trace_headers(stored: bytes, sent: bytes) -> list[str]:
    """Return the names of the header fields that stand before the message that was sent; none if it differs.

    Line ends are CRLF on the wire and in the Maildir, whatever the message had on disk.
    """
    crlf = re.sub(rb"\r\n|\r|\n", b"\r\n", sent)
    if not stored.endswith(crlf):
        return []
    return re.findall(r"^([A-Za-z-]+):", stored[: len(stored) - len(crlf)].decode(), re.MULTILINE)


def _near(path: Path) -> Path:
    """The path as seen from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
