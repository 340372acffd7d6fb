"""The run directory: everything that a lab leaves, and nothing else does.

    run.json         mailbed.run/1: what was run, with what, how long it took, what came of it
    plan.toml        the plan as run
    network.pcapng   the capture
    events.jsonl     mailbed.event/1, one a line
    hosts/HOST/      logs, rendered configuration, zones, spool, Maildirs
    tls/             the lab's certificates and key log
    lab.log          what the lab's own processes had to say

run.json is replaced as a whole, so that a reader never sees half of it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailbed.errors import LabError

SCHEMA = "mailbed.run/1"
UNFINISHED = ("starting", "running")
"""States of run.json in which the lab has not said that it ended; killed, it never does."""


def default_base() -> Path:
    """Return where runs are kept: captures/runs in the checkout, or what MAILBED_RUNS names."""
    named = os.environ.get("MAILBED_RUNS")
    return Path(named) if named else Path(__file__).resolve().parent.parent / "captures" / "runs"


def create(topology: str, *, out: Path | None, now: datetime.datetime) -> Path:
    """Make an empty run directory and return its absolute path.

    With `out` it is that directory, which must be empty or not there. Raises: LabError.
    """
    path = out or default_base() / f"{now:%Y%m%dT%H%M%SZ}-{topology}-{secrets.token_hex(2)}"
    try:
        path.mkdir(parents=True, exist_ok=out is not None)
        if any(path.iterdir()):
            raise LabError(f"{path} is not empty: choose another --out, or remove it")
        for name in ("hosts", "tls"):
            (path / name).mkdir()
    except OSError as error:
        raise LabError(
            f"cannot make the run directory {path}: {error.strerror}; use --out or MAILBED_RUNS"
        ) from None
    return path.resolve()


def write_record(run: Path, record: Mapping[str, Any]) -> None:
    """Replace run.json. Raises: OSError."""
    with tempfile.NamedTemporaryFile(
        "w", dir=run, prefix=".run.json.", delete=False, encoding="utf-8"
    ) as file:
        try:
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, run / "run.json")
        except OSError:
            os.unlink(file.name)
            raise


def read_record(run: Path) -> dict[str, Any]:
    """Return what run.json holds. Raises: LabError."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{run} is no run directory: there is no run.json in it") from None
    except OSError as error:
        raise LabError(f"{run}/run.json cannot be read: {error.strerror}") from None
    except ValueError:
        raise LabError(f"{run} is no run directory: run.json does not read as JSON") from None
    if not isinstance(record, dict):
        raise LabError(f"{run} is no run directory: run.json holds no object")
    return record


def may_run(run: Path, record: Mapping[str, Any]) -> bool:
    """Return whether the lab may be running: it has not said that it ended, and one of its name exists."""
    if record.get("state") not in UNFINISHED:
        return False
    mark = f"@mailbed/{run.stat().st_uid}/{record.get('lab')}"
    sockets = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    return any(line.endswith(mark) for line in sockets.splitlines())


def last() -> Path | None:
    """Return the run that was started last of those in captures/runs; None if there is none."""
    base = default_base()
    found: list[tuple[float, Path]] = []
    for path in base.iterdir() if base.is_dir() else ():
        with contextlib.suppress(LabError):
            record = read_record(path)
            if record.get("schema") == SCHEMA:
                found.append((float(record.get("started", 0.0)), path))
    return max(found)[1] if found else None


def versions() -> dict[str, str]:
    """Return the versions that a run's results depend on."""
    import importlib.metadata
    import platform

    names = ("mailbed", "mininet", "dnslib", "scapy", "cryptography")
    found = {name: importlib.metadata.version(name) for name in names}
    return {**found, "python": platform.python_version(), "kernel": platform.release()}
