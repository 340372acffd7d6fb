"""Zones in a running lab: changed, carried to the secondaries, and what happens when a server is off."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.errors import UsageError
from mailbed.pytest_plugin import LabFactory
from mailbed.zonehandle import ZoneChange
from tests.lab.residue import until
from topologies.zonedata import SERIAL

ROOT = Path(__file__).resolve().parents[2]
ALICE, BOB = "alice@example.com", "bob@example.org"
ORG = ("198.19.0.34", "198.19.0.36")
"""org-auth1, the primary of example.org, and org-auth2 in `dns`."""


def dig(lab: Lab, server: str, *question: str, host: str = "client") -> str:
    """What `dig +short` prints, or the code if it is an error."""
    argv = ("dig", f"@{server}", "+norecurse", "+tries=1", "+time=1", *question)
    code = re.search(r"status: (\w+)", lab.exec(host, *argv).stdout)
    short = lab.exec(host, *argv, "+short").stdout.strip()
    return short or (code[1] if code else "")


def transferred(lab: Lab, host: str, server: str, zone: str) -> set[str]:
    """The records that `dig axfr` on a host gets, in one spelling."""
    result = lab.exec(host, "dig", f"@{server}", zone, "AXFR", "+noall", "+answer", "+onesoa", "+nocrypto")
    assert "failed" not in result.stdout, result.stdout
    return {" ".join(line.split()).lower() for line in result.stdout.splitlines() if line and line[0] != ";"}


def everywhere(change: ZoneChange) -> None:
    """Each server of the zone has the change."""
    assert change.changed
    assert change.behind == ()


@pytest.mark.topology("two-companies")
def test_a_changed_mx_changes_the_way(lab: Lab) -> None:
    """The next message that is sent after a change of the MX takes the new way, as soon as caches allow."""

    def way() -> tuple[str, ...]:
        sent = lab.send("Subject: which way?\n\nThis one.\n", sender=ALICE, to=BOB)
        outcome = sent.wait()[BOB]
        assert outcome.state == "delivered"
        return outcome.path

    zone = lab.zone("example.org")
    everywhere(zone.put("@ 1 MX 10 rcpt-mx1", "@ 1 MX 20 rcpt-mx2"))
    assert "rcpt-mx1" in way()
    change = zone.put("@ MX 5 rcpt-mx2")
    everywhere(change)
    assert (change.serial, change.remembered_s) == (SERIAL + 2, 1)
    assert [server.host for server in change.servers] == ["org-auth1", "org-auth2"]
    time.sleep(1.1)
    path = way()
    assert "rcpt-mx2" in path
    assert "rcpt-mx1" not in path


@pytest.mark.topology("dns")
def test_the_root_has_the_change_at_thirteen_servers(lab: Lab) -> None:
    """Nobody says anything when the lab starts; after a change each root server has it, in seconds."""
    assert list(lab.packets("a-root-eth0")) == []
    change = lab.zone(".").add("test NS org-ns1.nic.net.")
    everywhere(change)
    assert len(change.servers) == 13
    referral = lab.exec("client", "dig", "+norecurse", "@202.12.27.33", "test", "NS").stdout
    assert "test.\t\t\t3600\tIN\tNS\torg-ns1.nic.net." in referral
    copy = lab.run / "hosts" / "m-root" / "zones" / "root.zone"
    assert "test. 3600 NS org-ns1.nic.net." in copy.read_text()
    assert {state.servers[12].serial for state in lab.zones() if state.zone == "."} == {SERIAL + 1}


@pytest.mark.topology("dns")
def test_who_may_transfer(lab: Lab) -> None:
    """A zone is given to its servers and on the server's own host; strangers are refused."""
    ours = transferred(lab, "org-auth1", "127.0.0.1", "example.org")
    assert "www.example.org. 3600 in cname org-auth1.example.org." in ours
    assert transferred(lab, "org-auth2", ORG[0], "example.org") == ours
    assert "Transfer failed" in lab.exec("client", "dig", f"@{ORG[0]}", "example.org", "AXFR").stdout
    assert "Transfer failed" in lab.exec("org-auth1", "dig", "@127.0.0.1", "example.com", "AXFR").stdout


@pytest.mark.topology("dns")
def test_a_secondary_serves_while_its_primary_is_off(lab: Lab) -> None:
    """A change made meanwhile waits in the file; when the primary is back, everybody gets it."""
    zone = lab.zone("example.org")
    with lab.fault("host-down", "org-auth1"):
        assert dig(lab, ORG[1], "www.example.org", "CNAME") == "org-auth1.example.org."
        change = zone.add("new A 198.18.1.77")
        assert [(server.host, server.serial, server.reason) for server in change.servers] == [
            ("org-auth1", None, "down"),
            ("org-auth2", SERIAL, ""),
        ]
    until(lambda: dig(lab, ORG[1], "new.example.org", "A") == "198.18.1.77" or None)
    with lab.fault("host-down", "org-auth2"):
        (missing,) = zone.add("newer A 198.18.1.78").behind
        assert (missing.host, missing.reason) == ("org-auth2", "down")
        assert dig(lab, ORG[0], "newer.example.org", "A") == "198.18.1.78"
    # A server that was off asks as soon as it is on again.
    until(lambda: dig(lab, ORG[1], "newer.example.org", "A") == "198.18.1.78" or None)


@pytest.mark.topology("dns", time_scale=300_000)
def test_a_zone_expires_as_its_soa_says(lab: Lab) -> None:
    """Two weeks without the primary, here four seconds: SERVFAIL, until the primary is back."""
    assert dig(lab, ORG[1], "www.example.org", "CNAME") == "org-auth1.example.org."
    with lab.fault("service-down", "org-auth1", "name-server"):
        assert dig(lab, ORG[1], "www.example.org", "CNAME") == "org-auth1.example.org."
        until(lambda: dig(lab, ORG[1], "www.example.org", "CNAME") == "SERVFAIL" or None)
        (state,) = (state for state in lab.zones() if state.zone == "example.org")
        assert [server.reason for server in state.servers] == ["down", "SERVFAIL"]
    until(lambda: dig(lab, ORG[1], "www.example.org", "CNAME") == "org-auth1.example.org." or None)


@pytest.mark.parametrize(("other", "program"), [("nsd", "nsd"), ("bind", "named")])
def test_others_beside_ours(lab_factory: LabFactory, other: str, program: str) -> None:
    """NSD and BIND as the primary of ours, and as a secondary of ours: changes go through by NOTIFY."""
    assert shutil.which(program, path="/usr/sbin:/usr/bin"), f"{program} is not installed"
    lab = lab_factory("dns", implementations=dict.fromkeys(("org-auth1", "com-auth2", "m-root"), other))
    for zone, record, servers in (
        ("example.org", "new A 198.18.1.77", ("org-auth1", "org-auth2")),
        ("example.com", 'new TXT "a  b" "c;d"', ("com-auth1", "com-auth2")),
    ):
        everywhere(lab.zone(zone).add(record))
        one, another = (transferred(lab, host, "127.0.0.1", zone) for host in servers)
        assert one == another
        assert any(line.startswith("new.") for line in one)
    change = lab.zone(".").add("test NS org-ns1.nic.net.")
    everywhere(change)
    assert change.servers[12].host == "m-root"


@pytest.mark.topology("dns")
def test_mistakes_change_nothing(lab: Lab, tmp_path: Path) -> None:
    """What makes no sense is refused, with file and line where there is a file, and the zone stays."""
    zone = lab.zone("example.org")
    text = zone.text
    path = tmp_path / "my.zone"
    path.write_text(text + "x A 1.2.3\n")
    with pytest.raises(
        UsageError, match=rf"^{re.escape(str(path))}:{len(text.splitlines()) + 1}: A: '1.2.3' is no"
    ):
        zone.load(path)
    with pytest.raises(UsageError, match=r"^zone example\.org: www\.example\.org is an alias and has A too$"):
        zone.add("www A 198.18.1.1")
    with pytest.raises(
        UsageError, match=r"^there is no zone example\.nowhere in dns; there are \., root-serv"
    ):
        _ = lab.zone("example.nowhere").text
    assert zone.text == text
    assert not zone.put("www CNAME org-auth1").changed


@pytest.mark.topology("dns")
def test_the_command(lab: Lab, tmp_path: Path) -> None:
    """`mailbed zone`: list, show, add, remove, set, load and edit."""

    def zone(*argv: str, editor: str = "false") -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts" / "mailbed"), "zone", argv[0], "--lab", lab.name, *argv[1:]]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={"EDITOR": editor, "PATH": "/usr/bin:/bin"},
        )

    assert zone("add", "example.org", "new A 198.18.1.77").stdout == (
        f"zone example.org: serial {SERIAL + 1} at org-auth1, org-auth2\n"
    )
    assert "new.example.org. A 198.18.1.77" in zone("show", "example.org").stdout
    zone("set", "example.org", "new A 198.18.1.78")
    zone("remove", "example.org", "new")
    listed = {line.split()[0]: line.split()[1:] for line in zone("list").stdout.splitlines()}
    assert listed["example.org"] == [str(SERIAL + 3), "org-auth1", "org-auth2"]
    assert listed["."] == [str(SERIAL), "a-root", "b-root", "…", "m-root", "(12)"]
    file = tmp_path / "my.zone"
    file.write_text(
        zone("show", "example.com").stdout.replace("example.com", "example.org") + "my A 1.2.3.4\n"
    )
    assert f"serial {SERIAL + 4} at" in zone("load", "example.org", str(file)).stdout
    assert dig(lab, ORG[1], "my.example.org", "A") == "1.2.3.4"
    assert f"serial {SERIAL + 5} at" in zone("edit", "example.org", editor="sed -i s/1.2.3.4/1.2.3.5/").stdout
    assert dig(lab, ORG[1], "my.example.org", "A") == "1.2.3.5"
    refused = zone("edit", "example.org", editor="sed -i s/1.2.3.5/x/")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.search(
        r"^mailbed: (.*\.zone):\d+: A: 'x' is no IPv4 address \(what was written is kept in \1\)$",
        refused.stderr,
        re.MULTILINE,
    )
    Path(re.findall(r"mailbed: (.*\.zone):", refused.stderr)[0]).unlink()
