"""How many messages our spam engine judges, beside SpamAssassin's spamd on the same core.

Both are asked over loopback for a report on the same messages of 4 KB, half of them HTML, a few at a time,
with network tests off. Each message is another one. Both have a classifier, taught with the same messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tomli_w

from mailbed.roles.spam import PLUGINS
from scripts.benchmarks.virusengines import free_port, running
from services.filters.spam import training
from services.filters.spam.database import Kind
from services.filters.spam.protocol import OK, read_response, request
from services.filters.spam.report import read

TARGET = 5.0
"""At least so many times spamd's messages a second."""

_MESSAGES = 60
_AT_ONCE = 4
_TAUGHT = 40
_SIZE = 4096
_WORDS = re.split(
    r"\s+",
    """the and of to in for that with this you we are have from will your meeting report letter house garden
    train window river table morning evening number answer question together already although please thanks
    regards project version release server network message document attached review tomorrow week invoice""",
)
_LOCAL_CF = """\
dns_available no
report_safe 0
bayes_path {directory}/bayes
bayes_auto_learn 0
bayes_min_spam_num 20
bayes_min_ham_num 20
"""


def measure(directory: Path, *, runs: int, core: int) -> dict[str, Any]:
    """Return the median messages a second of both engines, once they have started."""
    rng = random.Random(runs)
    rates: dict[str, list[float]] = {"mailbed": [], "spamd": []}
    with _both(directory, core) as ports:
        _teach(directory, rng, ports)
        for port in ports.values():
            _judge_all(port, [_message(rng) for _ in range(10)])
        for _ in range(runs):
            messages = [_message(rng) for _ in range(_MESSAGES)]
            for name, port in ports.items():
                # The quick one is given more, so that both are looked at for a while.
                share = messages * 5 if name == "mailbed" else messages
                rates[name].append(len(share) / _judge_all(port, share))
    return {"messages_per_s": {name: statistics.median(found) for name, found in rates.items()}}


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured, as text."""
    ours, theirs = result["messages_per_s"]["mailbed"], result["messages_per_s"]["spamd"]
    yield f"{'spam engine':<40}{'Mailbed':>10}{'spamd':>10}{'ratio':>8}  target"
    yield f"{'4 KB messages/s':<40}{ours:>10.1f}{theirs:>10.1f}{ours / theirs:>8.2f}  at least {TARGET:g}"


def met(result: Mapping[str, Any]) -> bool:
    """Return whether the target is met."""
    rates = result["messages_per_s"]
    return bool(rates["mailbed"] >= TARGET * rates["spamd"])


def _message(rng: random.Random) -> bytes:
    """A message of 4 KB: as people write them, or as newsletters look."""
    number = rng.randrange(10**9)
    head = (
        "Received: from mail.example.com (mail.example.com [192.0.2.7])\r\n\tby mx.example.org with ESMTP id "
        f"{number:X}; Tue, 24 Nov 2026 10:00:00 +0000\r\nFrom: Alice <alice@example.com>\r\n"
        f"To: Bob <bob@example.org>\r\nSubject: {_text(rng, 5)}\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@example.com>\r\nMIME-Version: 1.0\r\n"
    )
    if number % 2:
        text = head + "Content-Type: text/plain; charset=utf-8\r\n\r\n"
        while len(text) < _SIZE:
            text += _text(rng, 11) + "\r\n"
        return text.encode()
    text = head + "Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><table>"
    while len(text) < _SIZE:
        link = f"https://www.example.com/{rng.randrange(10**6)}"
        cells = f'<td style="color: #333">{_text(rng, 9)}</td><td><a href="{link}">{_text(rng, 2)}</a></td>'
        text += f"<tr>{cells}</tr>\r\n"
    return (text + "</table></body></html>\r\n").encode()


def _text(rng: random.Random, count: int) -> str:
    return " ".join(
        rng.choice(_WORDS) + (str(rng.randrange(100)) if rng.random() < 0.1 else "") for _ in range(count)
    )


def _teach(directory: Path, rng: random.Random, ports: Mapping[str, int]) -> None:
    files: list[tuple[Path, Kind]] = []
    kinds: tuple[Kind, ...] = ("spam", "ham")
    for kind in kinds:
        for number in range(_TAUGHT):
            path = directory / f"{kind}-{number}.eml"
            path.write_bytes(_message(rng))
            files.append((path, kind))
    for port in ports.values():
        asyncio.run(training.train(files, port=port))


def _judge_all(port: int, messages: list[bytes]) -> float:
    """Return how long it takes until all are judged, s."""
    began = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda message: _judge(port, message), messages))
    return time.perf_counter() - began


def _judge(port: int, message: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request("REPORT", message))
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    response = read_response(answer)
    if response.code != OK or read(response.body.decode("utf-8", "replace")) is None:
        raise RuntimeError(f"an engine says {answer[:200]!r}")


@contextlib.contextmanager
def _both(directory: Path, core: int) -> Iterator[dict[str, int]]:
    """Within it both engines serve on the core; their ports by name."""
    ports = {"mailbed": free_port(), "spamd": free_port()}
    ours = directory / "engine.toml"
    config = {"hostname": "mx.example.org", "port": ports["mailbed"], "database": "taught.sqlite3"}
    ours.write_text(tomli_w.dumps(config), encoding="utf-8")
    site = directory / "spamassassin"
    site.mkdir()
    (site / "local.cf").write_text(_LOCAL_CF.format(directory=site), encoding="utf-8")
    plugins = "".join(f"loadplugin Mail::SpamAssassin::Plugin::{name}\n" for name in PLUGINS)
    (site / "lab.pre").write_text(plugins, encoding="utf-8")
    spamd = shutil.which("spamd", path="/usr/sbin:/usr/bin")
    if spamd is None:
        raise RuntimeError("spamd is missing: run scripts/setup --test")
    theirs = [
        # As root it would want to become somebody else.
        *("unshare", "--user", "--map-user=65534", "--map-group=65534", spamd, "--nouser-config", "--local"),
        *("--allow-tell", "--listen=127.0.0.1", f"--port={ports['spamd']}", "--syslog=stderr"),
        *(f"--max-children={_AT_ONCE}", f"--min-children={_AT_ONCE}", "--configpath=/usr/share/spamassassin"),
        *(f"--siteconfigpath={site}", f"--helper-home-dir={site}", f"--pidfile={site}/spamd.pid"),
    ]
    commands = {
        "mailbed": [sys.executable, "-m", "services.filters.spam", "--serve", str(ours)],
        "spamd": theirs,
    }
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            stack.enter_context(running(name, command, ports[name], core, directory))
        yield ports
