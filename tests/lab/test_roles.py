"""Who does a host's job: our own, NSD, or any program of the user's; and plans that users write."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.pytest_plugin import LabFactory
from tests.lab.residue import until
from tests.lab.worlds import pair, program
from topologies import minimal, planfile
from topologies.plan import Command

TEXT = "Subject: hello\n\nHello Bob\n"
WEB = Command(
    name="web",
    command=(
        "/usr/bin/python3",
        "-m",
        "http.server",
        "--bind",
        "0.0.0.0",
        "--directory",
        "${DIR}/site",
        "80",
    ),
    files={"site/index.html": "<p>${NAME} is ${FQDN} at ${ADDRESS}</p>\n"},
    ready="tcp:80",
)


@pytest.mark.topology("minimal", implementations={"a-root": "nsd"})
def test_nsd_is_the_root(lab: Lab) -> None:
    """NSD serves the root zone from the same files: names resolve and mail is delivered."""
    assert shutil.which("nsd", path="/usr/sbin:/usr/bin"), "NSD is not installed: apt-get install nsd"
    assert list(lab.packets("a-root-eth0")) == []
    answer = lab.exec("bob", "dig", "+norecurse", "@198.41.0.4", "org", "NS").stdout
    assert "tld-ns.nic.net" in answer
    assert "nsd: main" in lab.exec("bob", "ps", "-eo", "comm").stdout
    for sender, to in (("alice@example.com", "bob@example.org"), ("bob@example.org", "alice@example.com")):
        assert lab.send(TEXT, to=to, sender=sender).wait()[to].state == "delivered"
    asked = {packet["IP"].src for packet in lab.packets("a-root-eth0") if packet.haslayer("DNS")}
    assert asked == {"198.18.1.12", "198.18.2.11", "198.18.2.12", "198.41.0.4"}


@pytest.mark.topology(
    "minimal", implementations={"corp-dns": "unbound", "rcpt-dns": "bind", "tld-ns": "bind"}
)
def test_unbound_and_bind(lab: Lab) -> None:
    """Unbound and BIND resolve, and BIND serves a zone; where there is one root server, they are told it."""
    for name in ("unbound", "named"):
        assert shutil.which(name, path="/usr/sbin:/usr/bin"), f"{name} is not installed"
    assert list(lab.packets()) == []
    running = lab.exec("bob", "ps", "-eo", "comm").stdout.split()
    assert (running.count("unbound"), running.count("named")) == (1, 2)
    answer = lab.exec("bob", "dig", "+norecurse", "@tld-ns.nic.net", "example.org", "NS").stdout
    assert re.search(r"^example\.org\.\s.*\sNS\s+auth-ns\.", answer, re.MULTILINE)
    for sender, to in (("alice@example.com", "bob@example.org"), ("bob@example.org", "alice@example.com")):
        assert lab.send(TEXT, to=to, sender=sender).wait()[to].state == "delivered"
    events = [json.loads(line) for line in (lab.run / "events.jsonl").read_text().splitlines()]
    assert {event["kind"] for event in events if event["host"] == "corp-dns"} == {"starting", "ready"}


def test_nsd_that_is_killed_ends_its_service(lab_factory: LabFactory) -> None:
    """The program that does the job is the service: when it dies that is told, and it can be restarted."""
    lab = lab_factory("minimal", implementations={"tld-ns": "nsd"})
    assert lab.exec("bob", "pkill", "-9", "-o", "-f", "nsd -d -c").returncode == 0
    until(lambda: "dead" in {row["state"] for row in lab.ps() if row["host"] == "tld-ns"} or None)
    until(lambda: "nsd" not in lab.exec("bob", "ps", "-eo", "comm").stdout or None)
    with lab.fault("service-down", "tld-ns", "name-server"):
        pass
    outcome = lab.send(TEXT, to="bob@example.org", sender="alice@example.com").wait()
    assert outcome["bob@example.org"].state == "delivered"


def test_a_program_of_the_users(lab_factory: LabFactory) -> None:
    """Its files and its command line are filled in from the plan, and it serves when the lab is up."""
    lab = lab_factory(pair(WEB))
    assert list(lab.packets()) == []
    page = lab.exec("two", "curl", "-s", "http://198.18.1.10/").stdout
    assert page == "<p>one is one.example.org at 198.18.1.10</p>\n"
    assert '"GET / HTTP/1.1" 200' in (lab.run / "hosts" / "one" / "web.log").read_text()
    assert {packet["IP"].src for packet in lab.packets() if packet.haslayer("TCP")} == {
        "198.18.1.10",
        "198.18.1.11",
    }


def test_a_program_that_says_when_it_is_ready(lab_factory: LabFactory) -> None:
    """A line of output may tell readiness, whatever else is printed: long lines, no lines, much of it."""
    talk = program(
        "import sys, time\n"
        "sys.stdout.write('x' * 300_000)\n"
        "sys.stdout.write('\\nserving now\\n' + 'y' * 300_000)\n"
        "sys.stdout.flush()\n"
        "print('still here', flush=True)\n"
        "time.sleep(60)\n",
        ready="log:^serving",
    )
    lab = lab_factory(pair(talk))
    log = lab.run / "hosts" / "one" / "program.log"
    until(lambda: log.read_bytes().endswith(b"y" * 300_000 + b"still here\n") or None)
    assert [row["state"] for row in lab.ps()] == ["ready"]


def test_a_program_that_goes_into_the_background(lab_factory: LabFactory) -> None:
    """A service is what stays in the foreground: when that ends, what it left behind is killed."""
    leave = program("import subprocess, time; subprocess.Popen(['sleep', '4711']); time.sleep(1)")
    lab = lab_factory(pair(leave))
    until(lambda: [row["state"] for row in lab.ps()] == ["dead"] or None, 15)
    assert "ended with status 0" in lab.ps()[0]["reason"]
    until(lambda: lab.exec("one", "pgrep", "-f", "sleep 4711").returncode == 1 or None)


def test_a_plan_from_a_file(lab_factory: LabFactory, tmp_path: Path) -> None:
    """A user's TOML file is a topology like any other, and the plan in the run directory loads back equal."""
    path = tmp_path / "world.toml"
    path.write_text(
        """
        name = "web"
        title = "a web server and who reads it"
        networks = [{ name = "lan", subnet = "198.18.9.0/24" }]
        links = [{ a = "server", b = "lan", rate_mbit = 10 }, { a = "reader", b = "lan" }]

        [[hosts]]
        name = "server"
        fqdn = "server.example.org"

        [[hosts.roles]]
        kind = "command"
        name = "web"
        command = ["/usr/bin/python3", "-m", "http.server", "8080"]
        ready = "tcp:8080"
        files = { "index.html" = "hello from ${NAME}" }

        [[hosts]]
        name = "reader"
        fqdn = "reader.example.org"
        """,
        encoding="utf-8",
    )
    lab = lab_factory(str(path))
    assert lab.exec("reader", "curl", "-s", "http://198.18.9.10:8080/").stdout == "hello from server"
    assert planfile.loads((lab.run / "plan.toml").read_text(encoding="utf-8")) == lab.plan
    assert lab.plan.title == "a web server and who reads it"


def test_a_whole_world_from_a_file(lab_factory: LabFactory, tmp_path: Path) -> None:
    """`minimal`, written out and changed as a user would, delivers mail."""
    text = planfile.dumps(minimal.build()).replace("198.18.1.0/24", "198.18.77.0/24")
    text = text.replace("corp-mta", "desk").replace('name = "minimal"', 'name = "mine"', 1)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    lab = lab_factory(str(path))
    outcome = lab.send(TEXT, to="bob@example.org", sender="alice@example.com").wait()["bob@example.org"]
    assert (outcome.state, outcome.path) == ("delivered", ("desk", "rcpt-mx"))
    assert lab.run.joinpath("hosts", "desk", "mail-server.toml").exists()
