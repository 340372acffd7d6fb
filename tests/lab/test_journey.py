"""The journey of real messages, read from real captures, beside what the lab itself knows of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from captures.journeys import Journey
from mailbed import Lab, journeys
from mailbed.cli.telling import of_message
from tests.lab.residue import until

ROOT = Path(__file__).resolve().parents[2]
ALICE, BOB, CAROL = "alice@example.com", "bob@example.org", "carol@example.com"
TEXT = "Subject: hello\n\nHello Bob\n"
INSIDE = ("alice", "corp-msa", "corp-hub", "corp-mta1")

pytestmark = pytest.mark.topology("two-companies", time_scale=600)


def journey_of(lab: Lab, *, to: str = BOB, sender: str = ALICE) -> Journey:
    """Send a message and return its journey once it is known what came of it."""
    sent = lab.send(TEXT, sender=sender, to=to)
    outcome = sent.wait()[to]
    (found,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    # The lab knows it from its events, the journey from the packets.
    assert found.path[1:] == outcome.path
    return found


@pytest.fixture(scope="module")
def first(shared_lab: Lab) -> Journey:
    """The first message of the lab, when no resolver knows anything."""
    return journey_of(shared_lab)


def test_from_alice_to_bob(first: Journey) -> None:
    """The message takes the way of the plan, each letter in its place, and all that knows of it agrees."""
    assert first.path[:4] == INSIDE
    assert re.fullmatch(r"isp-a[12]", first.path[4])
    assert re.fullmatch(r"isp-(b[12]|c1)", first.path[5])
    assert first.path[6:] == ("rcpt-mx1", "rcpt-filt", "rcpt-mda")
    assert "".join(hop.step for hop in first.hops) == "ACCEEEFF"
    assert first.end.state == "delivered"
    assert {check.source: check.agrees for check in first.checks} == {
        "received": True,
        "events": True,
        "mailbox": True,
    }


def test_lookups_from_the_root_down(first: Journey) -> None:
    """The resolver asks a root, a TLD and the domain's server; what it knows then, it asks no more."""
    asked = [(lookup, [query.server.host for query in lookup.upstream]) for lookup in first.hops[0].lookups]
    (lookup, servers) = asked[0]
    assert (lookup.query.name, lookup.query.type) == ("corp-msa.example.com", "A")
    assert [re.sub(r"^[a-m]-|[12]$", "", server) for server in servers[-3:]] == ["root", "com-ns", "com-auth"]
    (known, again), *_ = [(one, [q.server.host for q in one.upstream]) for one in first.hops[1].lookups]
    assert known.query.type == "MX"
    assert [re.sub(r"[12]$", "", server) for server in again] == ["com-auth"]


def test_submission_is_opened(first: Journey) -> None:
    """The session with the submission server is read in spite of TLS, with the keys in the capture."""
    hop = first.hops[0]
    assert hop.attempt is not None
    assert (hop.attempt.port, hop.attempt.tls, hop.attempt.user) == (587, "opened", ALICE)
    assert [exchange.command[:4] for exchange in hop.dialogue] == ["MAIL", "RCPT", "DATA"]


def test_way_across_routers(first: Journey) -> None:
    """Each hop names the hosts that its packets crossed; the recipient's network lies behind its firewall."""
    to_mx = next(hop for hop in first.hops if hop.server and hop.server.host == "rcpt-mx1")
    assert to_mx.attempt is not None
    assert to_mx.attempt.path[0] == to_mx.client.host
    assert to_mx.attempt.path[-2:] == ("rcpt-fw", "rcpt-mx1")
    assert all(host.startswith("core") for host in to_mx.attempt.path[1:-2])


def test_local_mail_stays(shared_lab: Lab, first: Journey) -> None:
    """Mail to a colleague goes no further than the submission server."""
    assert journey_of(shared_lab, to=CAROL).path == ("alice", "corp-msa")


def test_notice_of_failure(shared_lab: Lab, first: Journey) -> None:
    """A message to nobody is refused, and the notice's own journey leads back to the sender."""
    lost = journey_of(shared_lab, to="nobody@example.org")
    assert lost.hops[-1].reached == "refused"
    assert lost.hops[-1].reply is not None
    assert lost.hops[-1].reply.code == 550
    assert lost.end.state == "bounced"

    def arrived() -> Journey | None:
        found = {journey.number: journey for journey in shared_lab.journeys().journeys}
        notice = next((one for one in found.values() if one.about == lost.number), None)
        return notice if notice and notice.end.host == "corp-msa" else None

    notice = until(arrived, 30)
    assert (notice.sender, notice.recipient) == ("", ALICE)
    assert notice.path[-3:] == ("corp-mta1", "corp-hub", "corp-msa")


ASKS_FOR_A_REPORT = f"""
import smtplib
with smtplib.SMTP("corp-mta1.example.com") as session:
    text = "Subject: hello\\r\\nMessage-ID: <report@example.com>\\r\\n\\r\\nHello Bob\\r\\n"
    session.sendmail("{ALICE}", ["{BOB}"], text, ["ENVID=Q1"], ["NOTIFY=SUCCESS"])
"""


def test_report_of_delivery(shared_lab: Lab, first: Journey) -> None:
    """Who asks for it with DSN hears of the delivery from the last server, across all relays."""
    assert shared_lab.exec("corp-hub", sys.executable, "-c", ASKS_FOR_A_REPORT).returncode == 0

    def arrived() -> tuple[Journey, Journey] | None:
        found = {journey.number: journey for journey in shared_lab.journeys().journeys}
        subject = next((one for one in found.values() if one.message_id == "<report@example.com>"), None)
        notice = found[subject.notices[0].journey] if subject and subject.notices else None
        return (subject, notice) if subject and notice and notice.end.host == "corp-msa" else None

    subject, notice = until(arrived, 30)
    assert (subject.end.state, subject.end.host) == ("delivered", "rcpt-mda")
    assert (notice.action, notice.about, notice.recipient) == ("delivered", subject.number, ALICE)
    assert (notice.path[0], notice.sender) == ("rcpt-mda", "")


def test_exchanger_that_is_down(lab: Lab) -> None:
    """With the first MX down the attempt at it is told as unreachable; the second waits for it."""
    with lab.fault("host-down", "rcpt-mx1"):
        sent = lab.send(TEXT, sender=ALICE, to=BOB)
        until(lambda: sent.wait(0)[BOB].state == "deferred" or None, 60)
    path = sent.wait()[BOB].path
    (found,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    assert found.path[1:] == path
    tried = [(hop.server.host, hop.reached) for hop in found.hops if hop.server]
    first = tried.index(("rcpt-mx1", "unreachable"))
    assert tried[first + 1] == ("rcpt-mx2", "accepted")
    assert [hop for hop in tried[first + 2 :] if hop != ("rcpt-mx1", "unreachable")] == [
        ("rcpt-mx1", "accepted"),
        ("rcpt-filt", "accepted"),
        ("rcpt-mda", "accepted"),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a lab that was taken down once a message had arrived."""
    directory = tmp_path_factory.mktemp("ended") / "run"
    with Lab("minimal", out=directory) as lab:
        lab.send(TEXT, sender=ALICE, to=BOB).wait()
    return directory


def command(*argv: str, **options: str) -> subprocess.CompletedProcess[str]:
    program = str(ROOT / "scripts" / "mailbed")
    env = {**os.environ, **options}
    return subprocess.run([program, "journey", *argv], capture_output=True, text=True, timeout=60, env=env)


class TestCommand:
    def test_account(self, run: Path) -> None:
        """The account has a line for each step, under its letter, and names what agrees with it."""
        result = command(str(run))
        assert (result.returncode, result.stderr) == (0, "")
        letters = re.findall(r"^  ([A-G]) +[\d,.]+ ms  \S", result.stdout, re.MULTILINE)
        assert "".join(dict.fromkeys(letters)) == "ABDEG"
        assert "referral to org: tld-ns.nic.net" in result.stdout
        assert "the services' events and the file in the mailbox agree" in result.stdout

    def test_what_it_leaves(self, run: Path) -> None:
        """journeys.json is what --json prints, the page is there, and a second time nothing changes."""
        result = command(str(run), "--json")
        assert json.loads(result.stdout) == json.loads((run / "journeys.json").read_text(encoding="utf-8"))
        assert "bob@example.org" in (run / "journey.html").read_text(encoding="utf-8")
        before = (run / "network.pcapng").read_bytes()
        assert command(str(run), "--brief").returncode == 0
        assert (run / "network.pcapng").read_bytes() == before

    def test_comments_in_the_capture(self, run: Path) -> None:
        """tshark shows the steps as packet comments, on packets that are what the comments say."""
        command(str(run))
        lines = subprocess.run(
            [
                *("tshark", "-r", str(run / "network.pcapng"), "-Y", "frame.comment", "-T", "fields"),
                *("-e", "frame.comment", "-e", "dns.qry.name", "-e", "tcp.dstport"),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        rows = [line.split("\t") for line in lines]
        (mx,) = [row for row in rows if row[0] == "E: MX lookup of example.org at a-root"]
        assert mx[1].lower() == "example.org"
        assert any(row[2] == "25" for row in rows if row[0].startswith("E: corp-mta connects to rcpt-mx"))

    def test_any_capture(self, run: Path, tmp_path: Path) -> None:
        """A capture file without its run directory is read, too, and nothing is left beside it."""
        shutil.copy(run / "network.pcapng", tmp_path / "some.pcapng")
        result = command(str(tmp_path / "some.pcapng"), "--brief")
        assert result.returncode == 0
        assert "delivers it to bob@example.org" in result.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["some.pcapng"]

    def test_last_run(self, run: Path) -> None:
        """Without a name it is the last run's, where no lab is running."""
        alone = (
            ["unshare", "--net"]
            if os.geteuid() == 0
            else ["unshare", "--user", "--map-current-user", "--net"]
        )
        result = subprocess.run(
            [*alone, str(ROOT / "scripts" / "mailbed"), "journey", "--brief"],
            capture_output=True,
            text=True,
            env={**os.environ, "MAILBED_RUNS": str(run.parent)},
        )
        assert result.returncode == 0
        assert "alice@example.com → bob@example.org" in result.stdout

    @pytest.mark.parametrize(
        ("argv", "said", "status"),
        [
            (("/no/such/run",), "there is no /no/such/run", 2),
            (("--message", "7"), "there is no journey 7; there are 1", 1),
            (("--lab", "x"), "name a run or a lab, not both", 2),
        ],
    )
    def test_mistakes(self, run: Path, argv: tuple[str, ...], said: str, status: int) -> None:
        """A mistake is one line that says what is wrong."""
        result = command(*argv if argv[0].startswith("/") else (str(run), *argv))
        assert (result.returncode, result.stderr) == (status, f"mailbed: {said}\n")

    def test_read_by_machines_alone(self, run: Path) -> None:
        """The module of captures reads the same journey, and knows no lab."""
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "captures",
                "journey",
                "--json",
                str(run / "network.pcapng"),
            ],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        ours = json.loads((run / "journeys.json").read_text(encoding="utf-8"))["journeys"][0]
        (found,) = json.loads(result.stdout)["journeys"]
        assert (found["path"], found["hops"]) == (ours["path"], ours["hops"])


def test_a_lab_that_runs(shared_lab: Lab, first: Journey) -> None:
    """The journey of a running lab is told without touching its capture."""
    before = (shared_lab.run / journeys.CAPTURE).stat().st_ino
    result = command("--lab", shared_lab.name, "--message", str(first.number))
    assert result.returncode == 0
    assert "rcpt-mda" in result.stdout
    assert (shared_lab.run / journeys.CAPTURE).stat().st_ino == before
    assert (shared_lab.run / "journeys.json").exists()
