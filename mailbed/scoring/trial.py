"""A trial: one lab, one spam engine, the corpus.

Theory of operation. The world is `two-companies`, whose filter host gets the engine. That is taught with
the corpus's training messages; then the testing messages are sent, each on the way that such mail takes:

    account      alice or carol submits it to her company's server
    list         likewise, to the list; bob's copy counts
    bulk         a host of example.edu's provider hands it to the recipient's MX
    open relay   mallory hands it to one open relay, or to a chain of two

The verdicts are read from the lab's events. All of them must be there before the lab ends.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mailbed.corpus.generate import Labelled, write
from mailbed.errors import LabError
from mailbed.lab import Lab
from mailbed.scoring.outcome import Judged, Place, Traces, judged
from topologies import two_companies
from topologies.plan import Host, MailClient, MailServer, Plan, SpamEngine

FILTER, BULK, READER = "rcpt-filt", "isp-b1", "bob@example.org"
_RELAYS = (("open-1",), ("open-1", "open-2"), ("open-2",))
_WITHIN_S = 300.0
_LOOK_S = 0.5

Progress = Callable[[str], None]


def world(engine: str) -> Plan:
    """Return the plan of `two-companies` with that spam engine (an implementation) at the filter."""
    plan = two_companies.build()
    role = SpamEngine(implementation=engine, block_lists=(two_companies.BLOCK_LIST,))
    at = {FILTER: _judging(plan.host(FILTER), role), BULK: _mailing(plan.host(BULK))}
    return dataclasses.replace(plan, hosts=tuple(at.get(host.name, host) for host in plan.hosts))


def _judging(host: Host, engine: SpamEngine) -> Host:
    others = tuple(role for role in host.roles if not isinstance(role, SpamEngine))
    return dataclasses.replace(host, roles=(*others, engine))


def _mailing(host: Host) -> Host:
    """A provider's host from which a customer sends letters to many, straight to their servers."""
    roles = (
        dataclasses.replace(role, submission=True) if isinstance(role, MailServer) else role
        for role in host.roles
    )
    return dataclasses.replace(host, roles=(*roles, MailClient(user="erin@example.edu", server=BULK)))


def run(
    engine: str, messages: Sequence[Labelled], *, seed: int, out: Path, progress: Progress = lambda _: None
) -> list[Judged]:
    """Return what the filter did with each testing message; the run directory is `out`.

    Raises: MailbedError, also if a message has no verdict within some minutes.
    """
    training = [message for message in messages if message.use == "training"]
    testing = [message for message in messages if message.use == "testing"]
    with Lab(world(engine), seed=seed, out=out) as lab:
        progress(f"{engine}: taught with {len(training)} messages")
        _teach(lab, training)
        places = []
        for number, message in enumerate(testing, 1):
            places.append(_send(lab, message))
            if number % 20 == 0:
                progress(f"{engine}: {number} of {len(testing)} messages sent")
        progress(f"{engine}: the last messages are judged")
        return _verdicts(lab, testing, places)


def _teach(lab: Lab, training: Sequence[Labelled]) -> None:
    directory = lab.run / "corpus"
    write(training, directory)
    kinds = [("--ham" if message.is_ham else "--spam", message) for message in training]
    named: list[str] = []
    for option in ("--ham", "--spam"):
        below = directory / option.removeprefix("--")
        below.mkdir()
        for kind, message in kinds:
            if kind == option:
                (below / message.path.replace("/", "-")).symlink_to(directory / message.path)
        named += [option, str(below)]
    result = lab.exec(FILTER, sys.executable, "-m", "services.filters.spam", "--train", "--json", *named)
    if result.returncode != 0:
        raise LabError((result.stderr.strip().splitlines() or ["the engine could not be taught"])[-1])


def _send(lab: Lab, message: Labelled) -> Place:
    if message.way in ("account", "list"):
        sent = lab.send(message.content, sender=message.sender, to=message.recipient)
    else:
        relays = _RELAYS[message.number % len(_RELAYS)]
        host, via = (BULK, ("rcpt-mx1",)) if message.way == "bulk" else ("mallory", relays)
        sent = lab.send(message.content, sender=message.sender, to=message.recipient, host=host, via=via)
    return sent.host, sent.queue_id


def _verdicts(lab: Lab, testing: Sequence[Labelled], places: Sequence[Place]) -> list[Judged]:
    hosts = {host.fqdn: host.name for host in lab.plan.hosts}
    deadline = time.monotonic() + _WITHIN_S
    while True:
        traces = Traces(events(lab.run / "events.jsonl"), hosts)
        found = [
            traces.verdict(place, READER if message.way == "list" else message.recipient)
            for place, message in zip(places, testing, strict=True)
        ]
        missing = [message.path for message, one in zip(testing, found, strict=True) if one is None]
        if not missing:
            break
        if time.monotonic() > deadline:
            raise LabError(f"{len(missing)} messages have no verdict, {missing[0]} among them; see {lab.run}")
        time.sleep(_LOOK_S)
    return [
        judged(message.path, message.category, is_ham=message.is_ham, found=one)
        for message, one in zip(testing, found, strict=True)
        if one is not None
    ]


def events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run so far."""
    with path.open("rb") as file:
        for line in file:
            # The last one may still be being written.
            if line.endswith(b"\n"):
                yield json.loads(line)
