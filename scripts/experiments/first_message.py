"""One real message crosses `two-companies`, its journey is read from the packets, and bob's copy compared
with it.

The message has a text and an HTML part, headers that are not ASCII, and an attachment of 1 MB. What lies in
bob's Maildir must be that, byte for byte, behind the fields that servers add. Then swaks, which knows
nothing of Mailbed, submits one more from alice's host. The capture and a page with the journeys stay in the
run directory.

    python -m scripts.experiments.first_message
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from mailbed import Lab, Outcome, journeys
from mailbed.cli.telling import of_message, tell, tell_gaps
from mailbed.errors import MailbedError
from mailbed.sample import sample_message

ALICE, BOB = "alice@example.com", "bob@example.org"
ATTACHMENT_BYTES = 1 << 20


def main() -> int:
    """Run the experiment; return the exit status: 0 if both messages arrived unharmed."""
    began = time.monotonic()
    try:
        with Lab("two-companies") as lab:
            status = run(lab, began)
        journeys.save(lab.run, journeys.read(lab.run), comment=True)
        print("\nNames, TLS keys and a comment on each step are in the capture; the page draws the journeys:")
        print(f"  wireshark {_near(lab.run / journeys.CAPTURE)}")
        print(f"  {_near(lab.run / 'journey.html')}")
    except MailbedError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return status


def run(lab: Lab, began: float) -> int:
    """Send both messages through a running lab and say what came of them; `began` is when the command did."""
    services = lab.ps()
    print(f"{lab.plan.name}: {len(lab.plan.hosts)} hosts, {len(services)} services ready.")
    message = sample_message(ALICE, BOB, seed=lab.seed, attachment_bytes=ATTACHMENT_BYTES)
    sent = lab.send(message, sender=ALICE, to=BOB)
    first = sent.wait()[BOB]
    found = lab.journeys()
    print("One message from alice to bob, as the packets tell it:\n")
    tell(of_message(found, sent.host, sent.queue_id), lab.run)
    tell_gaps(found)
    print(f"  {time.monotonic() - began:.2f} s from the command to here, set-up aside\n")
    intact = _report(lab, first, message)

    swaks = lab.exec("alice", *_swaks(lab), stdin=b"", timeout_s=30)
    queued = re.search(r"queued as (\S+)", swaks.stdout)
    if swaks.returncode != 0 or queued is None:
        print(swaks.stdout, swaks.stderr, sep="\n", file=sys.stderr)
        print("demo: swaks could not submit its message (above)", file=sys.stderr)
        return 1
    second = lab.follow("corp-msa", queued[1], [BOB])[BOB]
    path = of_message(lab.journeys(), "corp-msa", queued[1])[0].path
    print(f"One more, submitted by swaks on alice's host: {second.state} by way of {' → '.join(path[1:])}")
    return 0 if intact and second.state == "delivered" else 1


def _swaks(lab: Lab) -> list[str]:
    ca = str(lab.run / "tls" / "ca.pem")
    submission = [
        "--server",
        "corp-msa.example.com",
        "--port",
        "587",
        "--tls",
        "--tls-ca-path",
        ca,
        "--tls-verify",
    ]
    account = ["--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", "alice"]
    return ["swaks", *submission, *account, "--from", ALICE, "--to", BOB, "--h-Subject", "From swaks"]


def _report(lab: Lab, outcome: Outcome, message: bytes) -> bool:
    """Say where the message lies, and whether it is the one that was sent."""
    if outcome.state != "delivered":
        print(f"{outcome.state} at {outcome.host}: {outcome.reply or 'no reply'}")
        return False
    file = lab.run / "hosts" / outcome.host / "mail" / outcome.file
    added = trace_headers(file.read_bytes(), message)
    if added:
        print(
            f"In the mailbox: the same {len(message):,} bytes, behind {len(added)} fields that servers added."
        )
    else:
        print(f"NOT the same bytes: {_near(file)}")
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
