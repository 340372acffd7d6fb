"""The command line as people use it: the real program, real labs, pipes and signals.

Other labs may run at the same time, so each lab here has a name of its own, and every command names it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailbed import sandbox
from tests.lab.residue import Witness, until
from topologies import minimal

ROOT = Path(__file__).resolve().parents[2]
MAILBED = str(ROOT / "scripts" / "mailbed")
_numbers = itertools.count(1)


def mailbed(*argv: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program and return what it printed; its input is a pipe."""
    return subprocess.run(
        [MAILBED, *argv], input=stdin, capture_output=True, text=True, timeout=60, **options
    )


@dataclass(kw_only=True)
class Named:
    """A lab of that name, running or not; its run directory is known before it exists."""

    run: Path
    name: str = field(default_factory=lambda: f"cli-{os.getpid()}-{next(_numbers)}")

    def command(self, verb: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a verb on the lab."""
        first, _, second = verb.partition(" ")
        return mailbed(first, *([second] if second else []), "--lab", self.name, *argv, stdin=stdin)

    def document(self, verb: str, *argv: str) -> Any:
        """Run a verb on the lab; return the one document that it printed."""
        return json.loads(self.command(verb, "--json", *argv).stdout)

    def new(self, verb: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run `run` or `up` for the lab."""
        return mailbed(*self.start(verb, *argv))

    def start(self, verb: str, *argv: str) -> list[str]:
        """The arguments of `run` or `up` for the lab."""
        return [verb, "minimal", "--lab", self.name, "--out", str(self.run), *argv]

    @property
    def witness(self) -> Witness:
        return Witness(run=self.run, name=self.name, plan=minimal.build())

    def owner(self) -> int:
        """The process that owns the lab since `up` returned; the run directory is in its command line."""
        mark = str(self.run).encode()
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with contextlib.suppress(OSError):
                comm, line = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("comm", "cmdline"))
                if comm == b"mailbed-up\n" and mark in line:
                    return pid
        raise AssertionError(f"nobody owns {self.name}")

    def record(self) -> dict[str, Any]:
        """What run.json holds."""
        found: dict[str, Any] = json.loads((self.run / "run.json").read_text())
        return found


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Named]:
    """A name for a lab, which is down after the test."""
    lab = Named(run=tmp_path / "run")
    yield lab
    if lab.name in sandbox.running():
        lab.command("down")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    """A running lab for the tests that leave it as they found it."""
    lab = Named(run=tmp_path_factory.mktemp("shared") / "run")
    assert lab.new("up").returncode == 0
    yield lab
    assert lab.command("down").returncode == 0


class TestRun:
    def test_json(self, named: Named, tmp_path: Path) -> None:
        """A file goes to every recipient; the document says how it went, and run.json agrees."""
        (tmp_path / "letter.eml").write_bytes(b"Subject: hello\r\n\r\nHello\r\n")
        argv = ("--message", "letter.eml", "--to", "bob@example.org", "--to", "dave@example.org", "--json")
        result = mailbed(*named.start("run", *argv), cwd=tmp_path)
        assert result.returncode == 0
        document = json.loads(result.stdout)
        assert document["outcome"] == "delivered"
        assert document["capture"]["packets"] > 50
        assert document["capture"]["dropped"] == 0
        timing = document["timing"]
        assert all(timing[key] > 0 for key in ("up_s", "delivered_s", "down_s"))
        (message,) = document["messages"]
        assert [outcome["recipient"] for outcome in message["outcomes"]] == list(message["recipients"])
        for outcome in message["outcomes"]:
            assert Path(outcome["mailbox_file"]).read_bytes().endswith(b"Subject: hello\r\n\r\nHello\r\n")
        record = named.record()
        assert (record["outcome"], record["timing"], record["state"]) == ("delivered", timing, "ended")
        named.witness.wait_until_gone()

    def test_for_people(self, named: Named) -> None:
        """The journey is on standard output: its steps in order, where the message lies, the capture."""
        result = named.new("run")
        assert (result.returncode, result.stderr) == (0, "")
        for earlier, later in itertools.pairwise(
            [
                "10 hosts, 9 services, ready in",
                "alice     asks corp-dns for corp-mta.example.com A",
                "alice     → corp-mta: submission on port 587, TLS 1.3, as alice@example.com",
                "corp-mta  has accepted it",
                "corp-mta  asks corp-dns for example.org MX",
                "corp-mta  → rcpt-mx, by way of core1",
                "rcpt-mx   delivers it to bob@example.org",
                "delivered to bob@example.org after",
                "0 dropped",
                "wireshark",
            ]
        ):
            assert result.stdout.index(earlier) < result.stdout.index(later)
        file = result.stdout.partition(" mailbox  ")[2].split()[0]
        assert b"Subject: " in Path(file).read_bytes()
        assert "\x1b" not in result.stdout

    def test_a_bounce(self, named: Named) -> None:
        """A message that one recipient did not get makes the outcome `bounced`, and the exit status 1."""
        argv = ("--to", "bob@example.org", "--to", "nobody@example.org", "--json")
        result = named.new("run", *argv)
        document = json.loads(result.stdout)
        assert (result.returncode, document["outcome"]) == (1, "bounced")
        assert document["timing"]["delivered_s"] is None
        states = {o["recipient"]: o["state"] for o in document["messages"][0]["outcomes"]}
        assert states == {"bob@example.org": "delivered", "nobody@example.org": "bounced"}

    def test_another_implementation(self, named: Named) -> None:
        """`--use` has NSD serve the root, and the message arrives all the same."""
        result = named.new("run", "--use", "a-root=nsd")
        assert (result.returncode, result.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("verb", "number", "status"),
        [
            ("run", signal.SIGINT, 130),
            ("run", signal.SIGTERM, 143),
            ("up", signal.SIGINT, 130),
            ("up", signal.SIGTERM, 143),
        ],
    )
    def test_interrupted_while_it_starts(
        self, named: Named, verb: str, number: signal.Signals, status: int
    ) -> None:
        """Ctrl-C and SIGTERM take down what has started so far, and nothing is left."""
        process = subprocess.Popen(
            [MAILBED, *named.start(verb)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until(lambda: (named.run / "run.json").exists() or None)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert process.returncode == status
        assert b"Traceback" not in said
        named.witness.wait_until_gone()


class TestUpAndDown:
    def test_round_trip(self, named: Named) -> None:
        """`up` returns when all is ready and holds no pipe of its caller; `down` when nothing is left."""
        up = named.new("up", "--json", "--seed", "7")
        assert up.returncode == 0
        assert json.loads(up.stdout)["run"] == str(named.run)
        witness = named.witness
        owner = named.owner()
        fields = Path(f"/proc/{owner}/stat").read_text().rpartition(")")[2].split()
        session, terminal = int(fields[3]), int(fields[4])
        assert (session, terminal) == (owner, 0)
        witness.look()

        down = named.document("down")
        assert witness.left() == []
        assert (down["state"], down["seed"]) == ("ended", 7)
        assert down["timing"]["down_s"] > 0
        assert named.record() == {key: value for key, value in down.items() if key != "run"}

    def test_list(self, shared: Named) -> None:
        """`list` shows what is built in and what is running."""
        document = json.loads(mailbed("list", "--json").stdout)
        assert "minimal" in [topology["name"] for topology in document["topologies"]]
        (found,) = (lab for lab in document["labs"] if lab["lab"] == shared.name)
        assert (found["topology"], found["run"]) == ("minimal", str(shared.run))
        text = mailbed("list").stdout
        assert shared.name in text

    def test_name_in_use(self, shared: Named, tmp_path: Path) -> None:
        """A name that is taken is refused in one line, and nothing is made."""
        for verb in ("up", "run"):
            result = mailbed(verb, "minimal", "--lab", shared.name, "--out", str(tmp_path / "other"))
            assert result.returncode == 1
            assert f"a lab called {shared.name} is running" in result.stderr
            assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "other").exists()

    @pytest.mark.parametrize("verb", ["run", "up"])
    def test_unwritable(self, named: Named, verb: str) -> None:
        """A run directory that cannot be made is told in one line, by the process that was asked for it."""
        named.run.touch()
        result = named.new(verb)
        assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
        assert f"cannot make the run directory {named.run}" in result.stderr
        assert named.name not in sandbox.running()

    def test_in_the_foreground(self, named: Named) -> None:
        """`up --foreground` stays until Ctrl-C, which is how it is meant to end."""
        argv = [MAILBED, *named.start("up", "--foreground")]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, process.communicate()[1]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert f"{named.name} is down" in out
        assert named.record()["state"] == "ended"
        named.witness.wait_until_gone()

    def test_the_command_is_killed_while_it_starts(self, named: Named) -> None:
        """When nobody is left to be told that the lab is up, it is taken down."""
        process = subprocess.Popen(
            [MAILBED, *named.start("up")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: (named.run / "run.json").exists() or None)
        process.kill()
        process.wait()
        named.witness.wait_until_gone()

    def test_a_lab_that_dies(self, named: Named) -> None:
        """When the lab dies its owner ends, too, and notes it; commands say that it is not running."""
        assert named.new("up").returncode == 0
        witness = named.witness
        supervisor = until(lambda: witness.called("mailbed-lab"))
        os.kill(supervisor, signal.SIGKILL)
        witness.wait_until_gone()
        assert named.record()["state"] == "died"
        result = named.command("ps")
        assert (result.returncode, result.stdout) == (1, "")
        assert f"no lab called {named.name} is running" in result.stderr

    def test_the_owner_is_told_to_end(self, named: Named) -> None:
        """SIGTERM to the process that owns the lab is an orderly end."""
        assert named.new("up").returncode == 0
        witness = named.witness
        os.kill(named.owner(), signal.SIGTERM)
        witness.wait_until_gone()
        assert named.record()["state"] == "ended"

    def test_clean_spares_what_runs(self, named: Named, tmp_path: Path) -> None:
        """`clean` removes the run of a lab only when that has ended."""
        environment = {**os.environ, "MAILBED_RUNS": str(tmp_path / "runs")}
        argv = ("up", "minimal", "--lab", named.name, "--json")
        named.run = Path(json.loads(mailbed(*argv, env=environment).stdout)["run"])
        assert json.loads(mailbed("clean", "--yes", "--json", env=environment).stdout)["removed"] == []
        assert named.document("ps")["services"]
        named.command("down")
        (removed,) = json.loads(mailbed("clean", "--yes", "--json", env=environment).stdout)["removed"]
        assert removed["run"] == str(named.run)
        assert not named.run.exists()


class TestPs:
    def test_services(self, shared: Named) -> None:
        """Every service of the plan is ready, and its memory is known."""
        services = shared.document("ps")["services"]
        assert len(services) == 9
        assert all(service["state"] == "ready" and service["pss_kib"] > 0 for service in services)

    def test_a_pattern(self, shared: Named) -> None:
        """A pattern chooses hosts; text has a heading and a line each."""
        lines = shared.command("ps", "corp-*").stdout.splitlines()
        assert [line.split()[:3] for line in lines[1:]] == [
            ["corp-mta", "mail-server", "ready"],
            ["corp-mta", "imap-server", "ready"],
            ["corp-dns", "resolver", "ready"],
        ]


class TestSend:
    def test_from_a_pipe(self, shared: Named) -> None:
        """`-` sends what comes in a pipe; the message is delivered as it is."""
        result = shared.command("send", "-", "--json", stdin="Subject: piped\n\nHello\n")
        document = json.loads(result.stdout)
        assert (result.returncode, document["outcome"]) == (0, "delivered")
        content = Path(document["outcomes"][0]["mailbox_file"]).read_bytes()
        assert content.endswith(b"Subject: piped\r\n\r\nHello\r\n")

    def test_for_people(self, shared: Named) -> None:
        """Without a file a sample goes from the first user to the first of another domain."""
        result = shared.command("send")
        assert result.returncode == 0
        assert "alice@example.com → bob@example.org" in result.stdout
        assert "rcpt-mx   delivers it to bob@example.org" in result.stdout

    def test_without_waiting(self, shared: Named) -> None:
        """With --no-wait it is enough that the submission server took it."""
        result = shared.command("send", "--no-wait", "--from", "bob@example.org", "--to", "carol@example.com")
        assert result.returncode == 0
        assert "rcpt-mx said: 250 2.0.0" in result.stdout

    @pytest.mark.parametrize(
        ("argv", "stdin", "said"),
        [
            (["-"], "no header here\n", "standard input is no message"),
            (["nowhere.eml"], "", "nowhere.eml: No such file"),
            (["--from", "eve@example.com"], "", "nobody in minimal sends mail as eve@example.com"),
            (["--host", "core1"], "", "host core1 has no mail client"),
        ],
    )
    def test_what_makes_no_sense(self, shared: Named, argv: list[str], stdin: str, said: str) -> None:
        """A mistake is one line, exit status 2."""
        result = shared.command("send", *argv, stdin=stdin)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert said in result.stderr

    def test_refused(self, shared: Named) -> None:
        """What the submission server refuses is told with its reply, exit status 1."""
        result = shared.command("send", "--host", "alice", "--from", "ceo@example.com", "--json")
        document = json.loads(result.stdout)
        assert (result.returncode, document["outcome"]) == (1, "refused")
        assert "553" in document["reason"]


class TestExec:
    def test_streams_and_status(self, shared: Named) -> None:
        """The program has our streams, its own options, and its exit status is ours."""
        script = "tr a-z A-Z; echo $0 $1 >&2; exit 7"
        result = shared.command("exec", "alice", "sh", "-c", script, "--json", "--help", stdin="hello\n")
        assert (result.returncode, result.stdout, result.stderr) == (7, "HELLO\n", "--json --help\n")

    def test_double_dash(self, shared: Named) -> None:
        """A `--` before the command is not the command's."""
        assert shared.command("exec", "alice", "--", "hostname").stdout == "alice\n"

    @pytest.mark.parametrize(("script", "status"), [("kill -9 $$", 137), ("exec /no/such/program", 127)])
    def test_how_it_ended(self, shared: Named, script: str, status: int) -> None:
        """A signal is told as shells tell it."""
        assert shared.command("exec", "alice", "sh", "-c", script).returncode == status

    def test_several_hosts(self, shared: Named) -> None:
        """Each line begins with its host; the exit status is the first that is not 0."""
        script = "hostname; echo err >&2; printf rest; test $(hostname) = corp-mta"
        result = shared.command("exec", "corp-*", "sh", "-c", script)
        assert result.stdout.splitlines() == [
            "corp-mta  corp-mta",
            "corp-mta  rest",
            "corp-dns  corp-dns",
            "corp-dns  rest",
        ]
        assert result.stderr.splitlines() == ["corp-mta  err", "corp-dns  err"]
        assert result.returncode == 1

    def test_json(self, shared: Named) -> None:
        """With --json what the programs printed is in the document."""
        results = shared.document("exec", "*-dns", "sh", "-c", "echo out; echo err >&2; exit 3")["results"]
        assert [result["host"] for result in results] == ["corp-dns", "rcpt-dns"]
        assert all((r["status"], r["stdout"], r["stderr"]) == (3, "out\n", "err\n") for r in results)

    def test_ctrl_c(self, shared: Named) -> None:
        """Ctrl-C goes to the program, which may tidy up; the lab goes on."""
        script = 'trap "echo tidy; exit 5" INT; echo ready; while :; do sleep 0.05; done'
        process = subprocess.Popen(
            [MAILBED, "exec", "--lab", shared.name, "alice", "sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "tidy\n"
        assert process.returncode == 5
        assert shared.command("exec", "alice", "true").returncode == 0

    def test_a_terminal(self, shared: Named) -> None:
        """On a terminal the program has that terminal."""
        ours, theirs = os.openpty()
        try:
            argv = [
                MAILBED,
                "exec",
                "--lab",
                shared.name,
                "alice",
                "sh",
                "-c",
                "test -t 0 && test -t 1 && tty",
            ]
            result = subprocess.run(argv, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30)
            assert result.returncode == 0
            assert os.read(ours, 1000).decode().strip() == os.ttyname(theirs)
        finally:
            os.close(ours)
            os.close(theirs)


class TestFaults:
    def test_round_trip(self, shared: Named) -> None:
        """A pattern makes a fault for each host; cleared, everything serves again."""
        added = shared.document("fault add", "host-down", "rcpt-*")["faults"]
        try:
            assert [fault["target"] for fault in added] == [["rcpt-mx"], ["rcpt-dns"]]
            assert shared.document("fault list")["faults"] == added
            states = {s["host"]: s["state"] for s in shared.document("ps")["services"]}
            assert (states["rcpt-mx"], states["corp-mta"]) == ("down", "ready")
            (cleared,) = shared.document("fault clear", str(added[0]["number"]))["faults"]
            assert cleared["target"] == ["rcpt-mx"]
        finally:
            assert shared.command("fault clear").returncode == 0
        assert "No fault is in force" in shared.command("fault list").stdout
        assert all(s["state"] == "ready" for s in shared.document("ps")["services"])

    def test_all_or_none(self, shared: Named) -> None:
        """If one of several is refused, those before it are taken back."""
        shared.command("fault add", "link-down", "core1", "rcpt-lan")
        try:
            result = shared.command("fault add", "link-down", "core1", "*-lan")
            assert result.returncode == 2
            assert "in force already" in result.stderr
            assert len(shared.document("fault list")["faults"]) == 1
        finally:
            shared.command("fault clear")

    def test_an_unknown_kind(self, shared: Named) -> None:
        """A kind that is not there is a mistake; the kinds are named."""
        result = shared.command("fault add", "flood", "alice")
        assert result.returncode == 2
        assert "host-down, link-down, service-down" in result.stderr


def test_doctor() -> None:
    """Where labs run, the doctor finds everything that they need."""
    result = mailbed("doctor", "--json")
    document = json.loads(result.stdout)
    assert (result.returncode, document["ok"]) == (0, True)
    assert {"sandbox", "htb", "nftables", "unshare"} <= {f["name"] for f in document["findings"]}


def test_which_lab_is_meant(shared: Named, named: Named) -> None:
    """With several labs running, a command that names none is refused, and says which there are."""
    assert named.new("up").returncode == 0
    result = mailbed("ps")
    assert result.returncode == 2
    assert shared.name in result.stderr
    assert named.name in result.stderr


def test_the_only_lab_is_meant(tmp_path: Path) -> None:
    """With one lab running, no command needs its name; `run` needs no name at all."""
    # In a network namespace of its own, where the labs of others are out of sight and reach.
    alone = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]
    script = '"$0" up minimal >&2 && "$0" send >&2 && "$0" exec alice hostname && "$0" down >&2'
    result = subprocess.run(
        [*alone, "sh", "-c", script, MAILBED],
        capture_output=True,
        text=True,
        env={**os.environ, "MAILBED_RUNS": str(tmp_path)},
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (0, "alice\n"), result.stderr
