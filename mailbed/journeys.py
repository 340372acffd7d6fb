"""The journeys of a run: read from its capture, then held against its events and Maildirs.

Theory of operation. The packets say where a message went (captures.journeys). What a host did with a
message that it passed on to nobody is not on the wire; there its events are asked, and the Maildir file
that they name is opened. Wherever both can speak, they must agree: each comparison becomes a `Check`, which
says how they differ.

    journeys.json    mailbed.journey/1
    journey.html     the same as a page
    network.pcapng   gets a comment on each packet that the account names, once the lab has ended
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from captures import pcapng
from captures.errors import CaptureError
from captures.journeys import Check, End, Hop, Journey, Journeys, Place, State, document, read_journeys
from captures.smtp import received_ids
from mailbed import rundir
from mailbed.errors import LabError
from mailbed.fetches import Fetches
from mailbed.tracking import Outcome, Tracker
from mailbed.verdicts import Verdicts
from services.mailbox import folder, maildir
from topologies import planfile
from topologies.addressing import assign
from topologies.errors import TopologyError

CAPTURE = "network.pcapng"
_HEADER_BYTES = 1 << 18


def read(run: Path) -> Journeys:
    """Return the journeys of a run, ended or not. Raises: LabError if it has no capture that can be read."""
    found = read_capture(run / CAPTURE)
    with contextlib.suppress(OSError, TopologyError):
        tracker, verdicts, fetches = _told(run)
        return dataclasses.replace(
            found,
            journeys=tuple(
                fetches.added(verdicts.added(checked(journey, tracker, run))) for journey in found.journeys
            ),
        )
    return found


def read_capture(path: Path) -> Journeys:
    """Return the journeys in a capture file of any origin. Raises: LabError."""
    try:
        with pcapng.open_capture(path) as reader:
            return read_journeys(reader)
    except CaptureError as error:
        raise LabError(str(error)) from None
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from None


def save(run: Path, found: Journeys, *, comment: bool) -> None:
    """Write journeys.json and journey.html; with `comment` the capture's packets say which step they are.

    Each file is replaced as a whole. Raises: LabError.
    """
    try:
        _save(run, found, comment=comment)
    except OSError as error:
        # Somebody else's run, a full disk.
        raise LabError(f"not saved in {run}: {error.strerror}") from None
    except CaptureError as error:
        raise LabError(f"not saved in {run}: {error}") from None


def _save(run: Path, found: Journeys, *, comment: bool) -> None:
    from captures.reports import annotate, comments, page

    with _replaced(run / "journeys.json") as file:
        json.dump(document(found), file, indent=1, ensure_ascii=False)
        file.write("\n")
    with _replaced(run / "journey.html") as file:
        file.write(page(found, title=run.name, capture_file=CAPTURE, facts=_facts(run)))
    if comment:
        annotate(run / CAPTURE, comments(found))


def _facts(run: Path) -> dict[str, str]:
    """What the page says of the run itself."""
    try:
        record = rundir.read_record(run)
    except LabError:
        return {}
    named: dict[str, str] = {key: str(record[key]) for key in ("topology", "seed") if key in record}
    left_out = ", ".join(record.get("left_out", {}))
    return {**named, "left out": left_out} if left_out else named


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[IO[str]]:
    """A file that takes the place of `path` when everything has been written to it."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        try:
            yield file
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _told(run: Path) -> tuple[Tracker, Verdicts, Fetches]:
    """What the events of the run tell of every message, what filters made of it, and who fetched it."""
    plan = planfile.loads((run / "plan.toml").read_text(encoding="utf-8"), name=str(run))
    hosts = {host.fqdn: host.name for host in plan.hosts}
    names = {host.name: host.fqdn for host in plan.hosts}
    places: dict[str, Place] = {}
    for interface in assign(plan).interfaces:
        address = str(interface.address.ip)
        hosts[address] = interface.host
        places[address] = Place(host=interface.host, name=names[interface.host], address=address)
        places.setdefault(interface.host, places[address])
    tracker, verdicts, fetches = Tracker(hosts), Verdicts(), Fetches(places)
    for event in _events(run / "events.jsonl"):
        # A line that somebody has written by hand tells nothing.
        with contextlib.suppress(KeyError, TypeError, ValueError):
            tracker.learn(event)
            verdicts.learn(event)
            fetches.learn(event)
    return tracker, verdicts, fetches


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    """The whole events; the last line of a lab that was killed, or still runs, may be half written."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "kind" in event:
                yield event


def checked(journey: Journey, tracker: Tracker, run: Path) -> Journey:
    """Return the journey with what events and mailbox say; they decide about what no packet shows."""
    if journey.queued is None or not journey.queued[1]:
        return journey
    outcome = tracker.outcome(journey.queued, journey.recipient)
    checks = [*journey.checks, *_event_checks(journey, outcome)]
    if outcome.host != journey.end.host:
        return dataclasses.replace(journey, checks=tuple(checks))
    if outcome.state != "delivered":
        return dataclasses.replace(journey, end=_end(journey, outcome), checks=tuple(checks))
    filed_ns = max(round(outcome.time * 1e9), journey.end.time_ns)
    end = dataclasses.replace(journey.end, state="delivered", time_ns=filed_ns)
    file = _filed(run, outcome)
    if file is not None:
        checks.append(_mailbox_check(journey, run / file))
    mailbox_file = "" if file is None else str(file)
    return dataclasses.replace(journey, end=end, mailbox_file=mailbox_file, checks=tuple(checks))


def _filed(run: Path, outcome: Outcome) -> Path | None:
    """Where the message lies below the run directory; None if its server does not tell, as Postfix."""
    if not outcome.file:
        return None
    delivered = run / "hosts" / outcome.host / "mail" / outcome.file
    # A mail program moves what it has read from new/ to cur/.
    return (maildir.find(delivered) or delivered).relative_to(run)


def _end(journey: Journey, outcome: Outcome) -> End:
    """The end of a message that lies in no mailbox, as its last host tells it."""
    last, state = journey.hops[-1], _state(journey, outcome)
    kept_back = state in ("quarantined", "deleted")
    return dataclasses.replace(
        journey.end,
        state=state,
        time_ns=max(round(outcome.time * 1e9), journey.end.time_ns) if kept_back else journey.end.time_ns,
        reply=journey.end.reply if last.reply else outcome.reply,
    )


def _state(journey: Journey, outcome: Outcome) -> State:
    match outcome.state:
        case "quarantined":
            return "quarantined"
        case "deleted":
            return "deleted"
        case "bounced":
            # Nobody is told of what had the null reverse-path (RFC 5321 §6.1), or who did not want to be.
            return "bounced" if journey.sender and outcome.told else "refused"
        case "deferred":
            return "deferred"
        case "pending" if journey.hops[-1].accepted:
            return "kept"
    # An attempt under way, and what its host makes of it, is told by no event yet.
    return journey.end.state


def _event_checks(journey: Journey, outcome: Outcome) -> list[Check]:
    """What the events say of the path; nothing while they have not told all of it yet."""
    path = journey.path[1:]
    # A host that hands a message to itself does so over its loopback, where nothing is captured.
    told = tuple(host for host, _ in itertools.groupby(outcome.path))
    if outcome.state == "pending" and len(told) < len(path) and told == path[: len(told)]:
        return []
    if told != path:
        detail = f"events tell of {' → '.join(told)}, packets of {' → '.join(path)}"
        return [Check(source="events", agrees=False, detail=detail)]
    same = (
        "the events name the same server"
        if len(path) == 1
        else f"the events name the same {len(path)} servers"
    )
    return [Check(source="events", agrees=True, detail=same)]


def _mailbox_check(journey: Journey, file: Path) -> Check:
    """Whether the file in the mailbox has the `Received` fields of the servers that it passed."""
    try:
        with file.open("rb") as stored:
            content = stored.read(_HEADER_BYTES)
    except OSError as error:
        if file.name in folder.numbers(file.parent.parent):
            return Check(source="mailbox", agrees=True, detail="its reader removed it from the mailbox")
        return Check(source="mailbox", agrees=False, detail=f"{file.name} cannot be read: {error.strerror}")
    named = [name.lower() for name, _ in received_ids(content)][::-1]
    servers = [hop.server.name.lower() for hop in _taken(journey.hops) if hop.server]
    if named[-len(servers) :] != servers:
        detail = f"the file in the mailbox passed {', '.join(named)}; the packets show {', '.join(servers)}"
        return Check(source="mailbox", agrees=False, detail=detail)
    return Check(source="mailbox", agrees=True, detail="the file in the mailbox names the same servers")


def _taken(hops: Iterable[Hop]) -> list[Hop]:
    return [hop for hop in hops if hop.accepted]
