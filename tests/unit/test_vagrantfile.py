"""The Vagrantfile: what it offers, and that the machine gets what `scripts/setup` gives."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "Vagrantfile").read_text(encoding="utf-8")
HEAD, _, CODE = TEXT.partition("\nbox = ")
SETTINGS = {
    "MAILBED_BOX",
    "MAILBED_VM_DRIVER",
    "MAILBED_BOOT_TIMEOUT",
    "MAILBED_VM_MEMORY",
    "MAILBED_VM_CPUS",
}


def test_settings() -> None:
    """Each setting that its head describes is read from the environment, and no other."""
    assert set(re.findall(r"MAILBED_[A-Z_]+", HEAD)) == SETTINGS
    assert set(re.findall(r'ENV(?:\.fetch\(|\[)"([A-Z_]+)"', "box = " + CODE)) == SETTINGS


def test_boxes() -> None:
    """Debian 13 for either provider, unless the setting names another box for both."""
    assert 'config.vm.box = box || "bento/debian-13"' in CODE
    assert 'override.vm.box = box || "cloud-image/debian-13"' in CODE


def test_what_is_carried_over() -> None:
    """The checkout goes over by rsync, without the host's .venv and runs."""
    (excluded,) = re.findall(r"rsync__exclude: \[(.*)\]", CODE)
    assert {".venv/", "captures/runs/"} <= set(re.findall(r'"([^"]+)"', excluded))
    assert 'type: "rsync"' in CODE


def test_provisioning() -> None:
    """The machine is set up by the same script as any other, and has `mailbed` on its PATH."""
    assert re.search(r"^ +scripts/setup$", CODE, re.MULTILINE)
    assert "/vagrant/scripts/mailbed /usr/local/bin/mailbed" in CODE


@pytest.mark.long
def test_vagrant_accepts_it() -> None:
    """`vagrant validate` finds no fault in it."""
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed")
    command = ["vagrant", "validate", "--ignore-provider"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
