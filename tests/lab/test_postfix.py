"""Postfix among our own mail servers, as an exchanger and as relays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mailbed import Lab
from mailbed.errors import StartFailed

TEXT = "Subject: hello\n\nHello Bob\n"
RELAYS = ("isp-b1", "isp-b2", "isp-c1")


def test_postfix_is_a_relay_and_an_exchanger(tmp_path: Path) -> None:
    """A message goes through both, as tracking tells; with one user alone it says what it needs."""
    assert shutil.which("postfix", path="/usr/sbin:/usr/bin"), "Postfix is not installed"
    implementations = dict.fromkeys(("rcpt-mx1", *RELAYS), "postfix")
    refused, outcome = "", None
    try:
        with Lab("two-companies", implementations=implementations, out=tmp_path / "run") as lab:
            sent = lab.send(TEXT, to="bob@example.org", sender="alice@example.com")
            outcome = sent.wait()["bob@example.org"]
    except StartFailed as error:
        refused = str(error)
    if os.geteuid() != 0 and refused:
        assert "subordinate ids" in refused
    else:
        assert outcome is not None, refused
        assert outcome.state == "delivered"
        assert set(outcome.path) & set(RELAYS)
        assert "rcpt-mx1" in outcome.path
