"""The command line without a lab: what it refuses, what it says, and what it decides."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mailbed import rundir
from mailbed.cli import app, cleaning, delivery, messages, output, programs, starting, targets
from mailbed.errors import UsageError
from topologies import catalog, minimal, two_companies

VERBS = ("list", "doctor", "run", "up", "down", "ps", "send", "journey", "exec", "clean")
FAULT_VERBS = ("add", "list", "clear")
CACHE_VERBS = ("show", "flush")
QUEUE_VERBS = ("list", "show", "flush", "hold", "release", "remove")
NOUNS = {"fault": FAULT_VERBS, "cache": CACHE_VERBS, "queue": QUEUE_VERBS}
NOUN_VERBS = tuple((noun, *verb) for noun, verbs in NOUNS.items() for verb in ((), *((v,) for v in verbs)))
NOWHERE = ("--lab", "no-such-lab")
NO_LAB = (["ps"], ["down"], ["send"], ["fault", "list"], ["queue", "flush", "x"], ["exec", "alice", "ls"])


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs are kept in the test's own directory."""
    monkeypatch.setenv("MAILBED_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


class TestHelp:
    @pytest.mark.parametrize("argv", [(), *((verb,) for verb in VERBS), *NOUN_VERBS])
    def test_every_verb_has_examples(self, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        """`--help` ends well and shows examples that begin with `mailbed`."""
        assert app.run_command([*argv, "--help"]) == 0
        _, mark, lines = capsys.readouterr().out.partition("Examples:\n")
        assert mark
        assert "mailbed" in lines

    @pytest.mark.parametrize("argv", [[], ["fault"], ["cache"], ["queue"]])
    def test_without_a_verb(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """A command that needs a verb shows its help on standard error, as a usage error."""
        assert app.run_command(argv) == 2
        captured = capsys.readouterr()
        assert "Usage: mailbed" in captured.err
        assert captured.out == ""

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--version` is one line."""
        assert app.run_command(["--version"]) == 0
        assert capsys.readouterr().out.split()[0] == "mailbed"

    def test_list_shows_every_topology(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each has a line with its size, and what it takes stands below; in JSON with the range of it."""
        assert app.run_command(["list"]) == 0
        shown = capsys.readouterr().out
        assert all(f"\n{name} " in shown for name in catalog.BUILT_IN)
        assert "\ninternet:DOMAINS=N  10       mail domains, 1 to 5000\n" in shown
        assert app.run_command(["list", "--json"]) == 0
        found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["topologies"]}
        assert list(found) == list(catalog.BUILT_IN)
        assert found["internet"]["parameters"] == {
            "DOMAINS": {"default": 10, "least": 1, "most": 5000, "meaning": "mail domains"}
        }
        assert found["minimal"]["parameters"] == {}

    @pytest.mark.parametrize("argv", [["--help"], ["ps", "--lab", "no-such-lab"]])
    def test_it_starts_lightly(self, argv: list[str]) -> None:
        """What a command does not need is not imported: rich and pydantic not in a pipe, scapy never."""
        code = (
            "import sys; from mailbed.cli import app; app.run_command(sys.argv[1:]);"
            "print([m for m in ('pydantic', 'rich', 'scapy', 'mininet', 'cryptography') if m in sys.modules])"
        )
        result = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
        assert result.stdout.splitlines()[-1] == "[]"


class TestMistakes:
    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            pytest.param(["frob"], "No such command 'frob'", id="an unknown verb"),
            pytest.param(["run", "minimal", "--frob"], "No such option", id="an unknown option"),
            pytest.param(["run", "minmal"], "Did you mean minimal?", id="a near name"),
            pytest.param(["up", "internett:DOMAINS=3"], "Did you mean internet?", id="near, with parameters"),
            pytest.param(["up", "internet:DOMAINS=0"], "whole number from 1 to 5000", id="out of range"),
            pytest.param(["up", "internet:SIZE=3"], "it takes DOMAINS=N, mail", id="no such parameter"),
            pytest.param(["up", "minimal:DOMAINS=3"], "minimal takes no parameters", id="no parameters"),
            pytest.param(["run", "dns"], "nobody in dns has a mail client", id="nobody to send from"),
            pytest.param(["run", "world.toml"], "world.toml: No such file", id="no such plan"),
            pytest.param(["run", "minimal", "--seed", "x"], "'x' is not a whole number", id="seed"),
            pytest.param(["run", "minimal", "--timeout", "-1"], "-1 is not at least 0", id="timeout"),
            pytest.param(["run", "minimal", "--timeout", "nan"], "nan is not at least 0", id="no number"),
            pytest.param(["run", "minimal", "--time-scale", "0"], "more than 0", id="time scale"),
            pytest.param(["run", "minimal", "--use", "a-root"], "HOST=IMPLEMENTATION", id="half a choice"),
            pytest.param(["run", "minimal", "--use", "x=nsd"], "no host x", id="an unknown host"),
            pytest.param(["run", "minimal", "--use", "a-root=x"], "'x' implements", id="unknown to all"),
            pytest.param(
                ["run", "minimal", "--message", "x.eml"], "x.eml: No such file", id="no such message"
            ),
            pytest.param(["run", "minimal", "--from", "eve@example.com"], "sends mail as eve", id="sender"),
            pytest.param(["run", "minimal", "--from", "alice@example.edu"], "alice@example.com", id="domain"),
            pytest.param(["run", "minimal", "--to", "bob"], "not a mailbox: bob", id="no address"),
            pytest.param(["run", "minimal", "--lab", "a/b"], "no name for a lab", id="no name"),
            pytest.param(["exec", "alice"], "Missing argument 'COMMAND'", id="nothing to execute"),
            pytest.param(["fault", "frob"], "No such command 'frob'", id="an unknown verb of a noun"),
            pytest.param(["cache", "show"], "Missing argument 'HOST'", id="a cache without a host"),
            pytest.param(["queue", "hold", "x"], "ID, --domain DOMAIN or --all", id="hold what"),
            pytest.param(["queue", "remove", "x", "--all", "Y"], "--all means all", id="all and one"),
            pytest.param(["queue", "list", "--run", "x", "--lab", "y"], "not both", id="a run and a lab"),
            pytest.param(["fault", "clear", "x"], "'x' is not a whole number", id="a fault's number"),
            pytest.param(["clean", "--keep", "-1"], "-1 is not at least 0", id="keep"),
        ],
    )
    def test_what_makes_no_sense(
        self, argv: list[str], said: str, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line on standard error, exit status 2, and nothing was made."""
        assert app.run_command(argv) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("mailbed: ")
        assert len(captured.err.splitlines()) == 1
        assert said in captured.err
        assert captured.out == ""
        assert not runs.exists()

    @pytest.mark.parametrize("argv", NO_LAB)
    def test_no_such_lab(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """A lab that does not run is a failure, not a mistake: exit status 1."""
        cut = 1 + (argv[0] in NOUNS)
        assert app.run_command([*argv[:cut], *NOWHERE, *argv[cut:]]) == 1
        assert "no lab called no-such-lab is running" in capsys.readouterr().err

    def test_a_directory_that_cannot_be_made(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Where --out cannot be written the command fails in one line, and the lab's name is free again."""
        Path("file").touch()
        argv = ["up", "minimal", "--lab", f"unit-{os.getpid()}", "--out", "file/run"]
        for _ in range(2):
            assert app.run_command([*argv, "--foreground"]) == 1
            assert "cannot make the run directory" in capsys.readouterr().err

    def test_a_plan_with_mistakes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Every mistake of a plan is told, each on a line of its own."""
        Path("world.toml").write_text(
            'name = "world"\n[[hosts]]\nname = "one"\nfqdn = "one.example.org"\n'
            '[[links]]\na = "one"\nb = "nobody"\n[[links]]\na = "none"\nb = "one"\n'
        )
        assert app.run_command(["run", "world.toml"]) == 2
        first, *mistakes = capsys.readouterr().err.splitlines()
        assert first == "mailbed: world.toml has mistakes:"
        assert len(mistakes) >= 2
        assert all(any(name in line for line in mistakes) for name in ("nobody", "none"))

    def test_in_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With --json a failure is a document, too: the error's class and its message."""
        assert app.run_command(["ps", "--json", *NOWHERE]) == 1
        captured = capsys.readouterr()
        error = json.loads(captured.out)["error"]
        assert error["kind"] == "NotRunning"
        assert captured.err == f"mailbed: {error['message']}\n"

    def test_json_of_the_command_is_not_ours(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Options after HOST belong to the command that `exec` runs."""
        assert app.run_command(["exec", *NOWHERE, "alice", "ls", "--json", "--help"]) == 1
        assert capsys.readouterr().out == ""

    def test_a_reader_that_went_away(self) -> None:
        """A pipe that nobody reads ends the command without a word."""
        read, write = os.pipe()
        os.close(read)
        code = "from mailbed.cli import main; main()"
        result = subprocess.run(
            [sys.executable, "-c", code, "list"], stdout=write, stderr=subprocess.PIPE, text=True
        )
        os.close(write)
        assert (result.returncode, result.stderr) == (1, "")


class TestMessages:
    @pytest.mark.parametrize(
        ("content", "wrong"),
        [
            pytest.param(b"Subject: hello\n\nHello\n", None, id="a message"),
            pytest.param(b"Subject: hello\r\n\r\nHello\r\n", None, id="CRLF"),
            pytest.param(b"Subject: a\n folded\n\tfield\nTo: b\n\nHello\n", None, id="folded"),
            pytest.param("Subject: Grüße\n\nHello: no field\n".encode(), None, id="beyond ASCII"),
            pytest.param(b"Subject: no body\n", None, id="no body"),
            pytest.param(b"Subject: a\n\nno field, but the body\n", None, id="the body is free"),
            pytest.param(b"", "empty", id="empty"),
            pytest.param(b" \n\n", "empty", id="blank"),
            pytest.param(b"\nSubject: late\n", "empty line", id="an empty line first"),
            pytest.param(b"Hello Bob\n\nSubject: x\n", "line 1", id="no header"),
            pytest.param(b"Subject: a\nHello Bob\n\n", "line 2", id="a line without a colon"),
            pytest.param(b"Subject: a\nBad name: b\n\n", "line 2", id="a space in a name"),
            pytest.param(b" folded: first\n\n", "line 1", id="folding what is not there"),
            pytest.param(b"Subject: a\0b\n\n", "NUL", id="NUL in the header"),
            pytest.param(b"Subject: a\n\nb\0\n", "NUL", id="NUL in the body"),
            pytest.param(b"From alice Mon Nov 24\nSubject: a\n\n", "mbox", id="a mailbox file"),
        ],
    )
    def test_what_is_a_message(self, content: bytes, wrong: str | None) -> None:
        """A file without a header section, with a line that is no field, or with NUL is refused."""
        found = messages.mistake(content)
        assert (found is None) if wrong is None else (found is not None and wrong in found)

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`-` reads the message from standard input, byte for byte."""
        content = b"Subject: a\r\n\r\n\xff\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert messages.read_message("-").content == content

    @pytest.mark.parametrize(
        ("sender", "to", "host", "expected"),
        [
            (None, None, None, ("alice@example.com", ["bob@example.org"])),
            ("bob@example.org", None, None, ("bob@example.org", ["alice@example.com"])),
            (None, None, "bob", ("bob@example.org", ["alice@example.com"])),
            (None, ["x@y.test", "z@y.test"], None, ("alice@example.com", ["x@y.test", "z@y.test"])),
            ("ceo@example.com", None, "alice", ("ceo@example.com", ["bob@example.org"])),
        ],
    )
    def test_envelope(
        self, sender: str | None, to: list[str] | None, host: str | None, expected: tuple[str, list[str]]
    ) -> None:
        """What is not named is chosen: the first client's user, and the first one's of another domain."""
        assert messages.envelope(minimal.build(), sender, to, host) == expected

    def test_a_host_without_a_client(self) -> None:
        """Only a host with a mail client can submit."""
        with pytest.raises(UsageError, match="host core1 has no mail client"):
            messages.envelope(minimal.build(), None, None, "core1")


class TestTargets:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("alice", ["alice"]),
            ("corp-*", ["corp-mta", "corp-dns"]),
            ("*-dns", ["corp-dns", "rcpt-dns"]),
            ("[ab]*", ["alice", "a-root", "auth-ns", "bob"]),
        ],
    )
    def test_hosts(self, pattern: str, expected: list[str]) -> None:
        """HOST is a shell pattern over the plan's hosts, in the plan's order."""
        assert targets.hosts(minimal.build(), pattern) == expected

    @pytest.mark.parametrize(
        ("pattern", "hint"), [("alcie", "did you mean alice"), ("zz*", "there are alice")]
    )
    def test_nobody_matches(self, pattern: str, hint: str) -> None:
        """A pattern that means nobody is a mistake, and what was meant is guessed."""
        with pytest.raises(UsageError, match=hint):
            targets.hosts(minimal.build(), pattern)

    @pytest.mark.parametrize(
        ("pattern", "said"),
        [
            ("nohost", "did you mean .*or .*mailbed exec '\\*' hostname lists all 62"),
            ("corp-mta", "did you mean corp-mta[12]"),
            ("qqq*", "in two-companies; mailbed exec '\\*' hostname lists all 62$"),
        ],
    )
    def test_nobody_of_many_matches(self, pattern: str, said: str) -> None:
        """Where there are many the nearest are named, and how to list them; not all of them."""
        plan = two_companies.build()
        with pytest.raises(UsageError, match=said) as raised:
            targets.hosts(plan, pattern)
        assert len(str(raised.value)) < 160

    @pytest.mark.parametrize(
        ("kind", "arguments", "expected"),
        [
            ("host-down", ["corp-*"], [("corp-mta",), ("corp-dns",)]),
            ("host-down", ["bob", "b*", "alice"], [("bob",), ("alice",)]),
            ("service-down", ["*", "resolver"], [("corp-dns", "resolver"), ("rcpt-dns", "resolver")]),
            ("service-down", ["rcpt-mx", "mail-*"], [("rcpt-mx", "mail-server")]),
            ("link-down", ["core1", "*-lan"], [("core1", "corp-lan"), ("core1", "rcpt-lan")]),
            ("link-down", ["corp-lan", "alice"], [("corp-lan", "alice")]),
            ("flood", ["x"], [("x",)]),
            ("link-down", ["core1"], [("core1",)]),
        ],
    )
    def test_faults(self, kind: str, arguments: list[str], expected: list[tuple[str, ...]]) -> None:
        """Patterns make a fault each; what is not known here is left for the lab to refuse."""
        assert targets.fault_targets(minimal.build(), kind, arguments) == expected

    @pytest.mark.parametrize(
        ("kind", "arguments", "said"),
        [
            ("link-down", ["alice", "bob"], "no link between alice and bob"),
            ("service-down", ["alice", "mail-client"], "there is none"),
            ("service-down", ["corp-dns", "mail-server"], "there is resolver"),
        ],
    )
    def test_nothing_to_break(self, kind: str, arguments: list[str], said: str) -> None:
        """What is not there cannot be broken."""
        with pytest.raises(UsageError, match=said):
            targets.fault_targets(minimal.build(), kind, arguments)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["delivered", "delivered"], "delivered"),
        (["delivered", "bounced"], "bounced"),
        (["pending", "delivered"], "pending"),
        (["deferred", "pending", "bounced", "refused"], "refused"),
        ([], "pending"),
    ],
)
def test_the_outcome_of_several(states: list[str], expected: str) -> None:
    """It is `delivered` only if all are; else what is most final of what went wrong."""
    assert delivery.worst(states) == expected


def test_implementations() -> None:
    """`--use` may be given several times; a value may hold an equals sign."""
    assert starting.implementations(["a=nsd", "b=x=y"]) == {"a": "nsd", "b": "x=y"}


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 3), (-9, 137), (-2, 130)])
def test_shell_status(status: int, expected: int) -> None:
    """A program that a signal ended has the status that a shell would give."""
    assert programs.shell_status(status) == expected


def test_output_of_several_hosts() -> None:
    """Each line gets the host's name before it, the last one too if it has no end."""
    out = io.BytesIO()
    programs.prefixed(io.BytesIO(b"one\n\ntwo\xff"), b"bob  ", out)
    assert out.getvalue() == b"bob  one\nbob  \nbob  two\xff\n"


def test_a_table_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a row is a line, however long: no colours, and no blanks at its end."""
    output.table(("A", "LONG"), [("1", "x" * 300), (output.marked("22", good=True), "")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["A", "LONG"], ["1", "x" * 300], ["22"]]
    assert lines[0].index("LONG") == lines[1].index("x") == len("22  ")
    assert all(line == line.rstrip() for line in lines)


def _make_run(base: Path, name: str, started: float, state: str = "ended", lab: str = "old") -> Path:
    path = base / name
    (path / "hosts").mkdir(parents=True)
    record = {"schema": rundir.SCHEMA, "started": started, "state": state, "topology": "t", "lab": lab}
    rundir.write_record(path, record)
    return path


class TestClean:
    @pytest.mark.parametrize(
        ("keep", "older_than_s", "expected"),
        [(0, 0, "abc"), (1, 0, "ab"), (5, 0, ""), (0, 60, "ab"), (0, 95, "a"), (2, 60, "a")],
    )
    def test_which_runs(self, keep: int, older_than_s: float, expected: str) -> None:
        """The newest are kept, and what is younger than asked; the oldest is named first."""
        runs = [
            cleaning.Run(path=Path(name), topology="t", state="ended", started=started)
            for name, started in (("b", 30.0), ("c", 90.0), ("a", 0.0))
        ]
        chosen = cleaning.select(runs, keep=keep, older_than_s=older_than_s, now=100.0)
        assert "".join(run.path.name for run in chosen) == expected

    def test_only_what_is_a_run(self, runs: Path, tmp_path: Path) -> None:
        """Directories without a run.json, files, links and other people's things are left alone."""
        _make_run(runs, "run", 1.0)
        (runs / "mine").mkdir()
        (runs / "notes.txt").touch()
        (runs / "other").mkdir()
        (runs / "other" / "run.json").write_text('{"schema": "somebody-elses/1"}')
        (runs / "link").symlink_to(_make_run(tmp_path / "elsewhere", "far", 1.0))
        assert [run.path.name for run in cleaning.finished(runs)] == ["run"]

    def test_a_lab_that_may_run(self, runs: Path) -> None:
        """A run that has not ended in its own words is kept while a lab of that name exists."""
        name = f"unit-{os.getpid()}"
        _make_run(runs, "live", 1.0, state="running", lab=name)
        with socket.socket(socket.AF_UNIX) as held:
            # Of another user, whom we cannot ask.
            held.bind(f"\0mailbed/{(runs / 'live').stat().st_uid}/{name}")
            assert cleaning.finished(runs) == []
        assert [run.state for run in cleaning.finished(runs)] == ["died"]

    def test_nobody_agreed(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a terminal and without --yes it shows what would go, and removes nothing."""
        path = _make_run(runs, "run", 1.0)
        assert app.run_command(["clean"]) == 0
        out = capsys.readouterr().out
        assert "runs/run" in out
        assert "Nothing was removed" in out
        assert path.exists()

    def test_agreed(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """With --yes the chosen runs are gone, and the others are there."""
        old, new = _make_run(runs, "old", 1.0), _make_run(runs, "new", 2.0)
        assert app.run_command(["clean", "--yes", "--keep", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [run["run"] for run in document["removed"]] == [str(old)]
        assert document["would_remove"] == []
        assert (old.exists(), new.exists()) == (False, True)
