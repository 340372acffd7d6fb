"""swaks, a mail tester of another make, against our servers: the ESMTP extensions that it can use."""

from __future__ import annotations

import tomllib

import pytest

from mailbed import Lab

pytestmark = pytest.mark.topology("minimal")

TO, SENDER = "bob@example.org", "alice@example.com"
ADVERTISED = (
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "CHUNKING",
    "STARTTLS",
)


def swaks(lab: Lab, server: str, *options: str) -> str:
    """Return the session as swaks shows it."""
    common = ("--server", server, "--to", TO, "--from", SENDER)
    return lab.exec("alice", "swaks", *common, *options).stdout


def test_extensions_are_advertised(shared_lab: Lab) -> None:
    """EHLO names each extension that there is."""
    said = swaks(shared_lab, "rcpt-mx.example.org", "--quit-after", "EHLO")
    assert [name for name in ADVERTISED if f"250-{name}" not in said and f"250 {name}" not in said] == []


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), " -> RCPT TO:<bob@example.org>"),
        (("--pipeline",), " -> DATA\n<-  250 2.1.0 Ok"),
        (("--tls",), "=== TLS started with cipher TLSv1.3"),
        (("--body", "Grüße"), "Grüße"),
    ],
)
def test_mail_comes_in(shared_lab: Lab, options: tuple[str, ...], shown: str) -> None:
    """The exchanger takes the message, and swaks did what it was told to."""
    said = swaks(shared_lab, "rcpt-mx.example.org", *options)
    assert shown in said
    assert "250 2.0.0 Ok: queued as" in said


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_user_submits(shared_lab: Lab, mechanism: str) -> None:
    """Who has authenticated after STARTTLS may send; without that, nobody may."""
    settings = tomllib.loads((shared_lab.run / "hosts/alice/mail-client.toml").read_text(encoding="utf-8"))
    server = (settings["server"], "--port", "587")
    login = (
        "--auth",
        mechanism,
        "--auth-user",
        settings["username"],
        "--auth-password",
        settings["password"],
    )
    said = swaks(shared_lab, *server, "--tls", *login)
    assert "235 2.7.0" in said
    assert "250 2.0.0 Ok: queued as" in said
    assert "queued as" not in swaks(shared_lab, *server)
