"""Reading a configuration, and what is said of a wrong one."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.errors import ConfigError
from services.smtp.address import parse_address
from services.smtp.config import ContentFilter, Domain, MtaConfig, Route, TlsConfig, User, load

WHOLE = """
hostname = "mx.example.org"
host = "rcpt-mx1"
listen = ["127.0.0.1", "127.0.0.2"]
smtp_port = 2525
submission_port = 2587
remote_port = 2526
spool = "queue"
mailboxes = "/var/mail"
nameservers = ["10.1.0.53"]
nameserver_port = 5353
seed = 7
relay_from = ["10.1.0.0/24"]
time_scale = 60
size_limit = 1000
[tls]
cert = "tls/cert.pem"
key = "tls/key.pem"
[[domains]]
name = "Example.org."
kind = "local"
[[users]]
address = "bob@example.org"
password = "secret"
[[routes]]
domain = "*"
via = "isp.example"
[[routes]]
domain = "example.net"
via = ["b.example", "c.example"]
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "mx.toml"
    path.write_text(text)
    return path


def test_a_whole_configuration(tmp_path: Path) -> None:
    """Every value is read, and relative paths are relative to the file."""
    config = load(written(tmp_path, WHOLE))
    assert (config.hostname, config.host, config.seed, config.time_scale) == (
        "mx.example.org",
        "rcpt-mx1",
        7,
        60.0,
    )
    assert (config.smtp_port, config.submission_port, config.remote_port) == (2525, 2587, 2526)
    assert (config.spool, config.mailboxes) == (tmp_path / "queue", Path("/var/mail"))
    assert config.tls == TlsConfig(cert=tmp_path / "tls/cert.pem", key=tmp_path / "tls/key.pem")
    assert config.relay_from == (ip_network("10.1.0.0/24"),)
    assert config.domains == (Domain(name="example.org", kind="local"),)
    assert config.users == (User(address=parse_address("bob@example.org"), password="secret"),)
    assert config.routes == (
        Route(domain="*", via=("isp.example",)),
        Route(domain="example.net", via=("b.example", "c.example")),
    )
    assert "secret" not in repr(config)


def test_the_least_configuration(tmp_path: Path) -> None:
    """A name is enough: an MTA on port 25 that takes mail for nobody but its postmaster."""
    config = load(written(tmp_path, 'hostname = "mx.example"'))
    assert (config.host, config.smtp_port, config.submission_port) == ("mx.example", 25, 0)
    assert (config.spool, config.mailboxes, config.tls) == (tmp_path / "spool", tmp_path / "mail", None)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('hostname = "mx.example.org"', "", "hostname is missing"),
        ('hostname = "mx.example.org"', 'hostname = ""', "hostname is empty"),
        ("smtp_port = 2525", 'smtp_port = "25"', "smtp_port is '25', which is no whole number"),
        ("smtp_port = 2525", "smtp_port = true", "smtp_port is True, which is no whole number"),
        ("smtp_port = 2525", "smtp_port = 65536", "smtp_port is 65536, not between 0 and 65535"),
        ("smtp_port = 2525", "smpt_port = 2525", "smpt_port is not a key that is known here"),
        ("time_scale = 60", "time_scale = 0", "time_scale is 0, which is no number above 0"),
        ('["10.1.0.53"]', '"10.1.0.53"', "nameservers is '10.1.0.53', which is no list"),
        ('["10.1.0.0/24"]', '["10.1.0.1/24"]', "relay_from is wrong: 10.1.0.1/24 has host bits set"),
        ('kind = "local"', 'kind = "lokal"', "domains[0]: kind is 'lokal', not 'local' or 'relay'"),
        ('"bob@example.org"', '"bob"', "users[0]: address is wrong: not a mailbox: bob"),
        ('"isp.example"', "[]", "routes[0]: via names no domain"),
        ('key = "tls/key.pem"', "", "tls: key is missing"),
        ('[tls]\ncert = "tls/cert.pem"\nkey = "tls/key.pem"', "", "submission_port needs [tls]"),
        ('via = "isp.example"', 'via = "x"\nweights = {"mx.x" = 0}', "weights.mx.x is 0, which is no whole"),
        ("seed = 7", "seed = 7 8", "line 12"),
        ("seed = 7", "seed = 7\nopportunistic_tls = 1", "opportunistic_tls is 1, which is no boolean"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    """A mistake is told in one line that names the file and the key."""
    assert old in WHOLE
    path = written(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_content_filter(tmp_path: Path) -> None:
    """A table is enough to have one: its name is the host's, its directories lie beside the file."""
    config = load(written(tmp_path, 'hostname = "mx.example"\n[content_filter]\ninside = ["10.2.0.0/24"]\n'))
    assert config.content_filter == ContentFilter(
        authserv_id="mx.example",
        quarantine=tmp_path / "quarantine",
        reports=tmp_path / "dmarc",
        inside=(ip_network("10.2.0.0/24"),),
    )
    with pytest.raises(
        ConfigError, match=r"content_filter: inside is wrong: 10\.2\.0\.1/24 has host bits set"
    ):
        load(written(tmp_path, 'hostname = "mx.example"\n[content_filter]\ninside = ["10.2.0.1/24"]\n'))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """So is a file that cannot be read."""
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"relay_from": ("127.0.0.0/8",)}, "relay_from has '127.0.0.0/8' in it, which is no Network"),
        ({"relay_from": "127.0.0.0/8"}, "relay_from is '127.0.0.0/8', which is no tuple of Network"),
        ({"listen": "127.0.0.1"}, "listen is '127.0.0.1', which is no tuple of str"),
        ({"smtp_port": "25"}, "smtp_port is '25', which is no int"),
        ({"smtp_port": True}, "smtp_port is True, which is no int"),
        ({"spool": "spool"}, "spool is 'spool', which is no Path"),
        ({"domains": ("example.org",)}, "domains has 'example.org' in it, which is no Domain"),
    ],
)
def test_values_of_another_type(tmp_path: Path, values: dict[str, Any], complaint: str) -> None:
    """A configuration that is made in Python says so at once, in one line, not when a client comes."""
    whole: dict[str, Any] = {"hostname": "mx", "host": "mx", "spool": tmp_path, "mailboxes": tmp_path}
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}$"):
        MtaConfig(**{**whole, **values})
