"""`mailbed run`: a lab comes up, carries messages, and goes down again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import messages, output
from mailbed.cli.delivery import Delivery, deliver, worst
from mailbed.cli.options import (
    Json,
    NewLab,
    Out,
    Recipients,
    Seed,
    Sender,
    Timeout,
    TimeScale,
    Topology,
    Use,
)
from mailbed.cli.starting import make_lab, sizes, tell_left_out
from mailbed.cli.telling import keep, tell_delivery, tell_gaps
from topologies import DEFAULT

if TYPE_CHECKING:
    from captures.journeys import Journeys
    from mailbed.lab import Lab

EXAMPLES = (
    "mailbed run                                  two-companies, one message from alice to bob",
    "mailbed run minimal --message letter.eml --to bob@example.org --to dave@example.org",
    "mailbed run minimal --use a-root=nsd --seed 7 --out /tmp/run",
    "mailbed run internet:DOMAINS=30",
    "mailbed run my-world.toml --json | jq .timing",
)


def run(
    topology: Topology = DEFAULT,
    message: Annotated[
        list[str] | None,
        typer.Option(
            "--message", metavar="FILE", help="A message to send (default: a sample).", show_default=False
        ),
    ] = None,
    sender: Sender = None,
    to: Recipients = None,
    seed: Seed = 1,
    out: Out = None,
    lab: NewLab = None,
    use: Use = None,
    time_scale: TimeScale = 1.0,
    timeout: Timeout = 60.0,
    json: Json = False,
) -> None:
    """Send messages through a lab that is made for them.

    The lab comes up, and is taken down when it is known what came of them. Messages are sent one after the
    other. The exit status is 0 if every message was delivered to every recipient, else 1.
    """
    letters = [messages.read_message(name) for name in message or ()]
    progress = output.Progress()
    started = make_lab(
        topology, name=lab, seed=seed, out=out, use=use, time_scale=time_scale, progress=progress
    )
    author, readers = messages.envelope(started.plan, sender, to)
    with progress:
        up = started.up()
    try:
        _tell_ready(started, up, as_json=json)
        with progress:
            deliveries = []
            for letter in letters or [messages.sample(author, readers, seed)]:
                progress.show(f"waiting for what comes of {letter.name}")
                deliveries.append(deliver(started, letter, author, readers, host=None, timeout_s=timeout))
    except KeyboardInterrupt:
        output.note("interrupted; taking the lab down")
        raise
    finally:
        with progress:
            progress.show("taking the lab down")
            record = started.down()
    with output.Progress() as progress:
        progress.show("reading the journeys from the capture")
        found = _journeys(started.run, record)
    result = _result(started, record, deliveries)
    if json:
        output.document(result)
    else:
        _tell(started, deliveries, result, found)
    raise typer.Exit(0 if result["outcome"] == "delivered" else 1)


def _tell_ready(lab: Lab, up: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        tell_left_out(up["left_out"])
        return
    output.say(f"{output.strong(lab.name)}: {sizes(lab.plan)}, ready in {up['timing']['up_s']:.2f} s")
    tell_left_out(up["left_out"], lambda sentence: output.say(f"  {sentence}"))


def _result(lab: Lab, record: dict[str, Any], deliveries: list[Delivery]) -> dict[str, Any]:
    """Return the result, and note its sum in run.json."""
    from mailbed import rundir

    outcome = worst([delivery.outcome for delivery in deliveries])
    times = [delivery.delivered_s for delivery in deliveries]
    known = [seconds for seconds in times if seconds is not None]
    record["outcome"] = outcome
    record["timing"]["delivered_s"] = max(known) if len(known) == len(times) and known else None
    rundir.write_record(lab.run, record)
    return {
        "outcome": outcome,
        "lab": lab.name,
        "topology": lab.plan.name,
        "seed": lab.seed,
        "run": str(lab.run),
        "left_out": record.get("left_out", {}),
        "timing": record["timing"],
        "capture": {"file": str(lab.run / "network.pcapng"), **record.get("capture", {})},
        "journeys": str(lab.run / "journeys.json"),
        "messages": [delivery.document(lab.run) for delivery in deliveries],
    }


def _journeys(run: Path, record: dict[str, Any]) -> Journeys:
    """Return the journeys, left in the run directory too, and note how long it took to read them."""
    from mailbed import journeys

    began = time.monotonic()
    found = journeys.read(run)
    record["timing"]["journey_s"] = round(time.monotonic() - began, 4)
    keep(run, found, comment=True)
    return found


def _tell(lab: Lab, deliveries: list[Delivery], result: dict[str, Any], found: Journeys) -> None:
    for delivery in deliveries:
        output.say()
        tell_delivery(found, lab.run, delivery)
    tell_gaps(found)
    capture = result["capture"]
    output.say()
    output.say(
        f"{output.count(capture.get('packets', 0), 'packet')} captured, {capture.get('dropped', 0)} dropped; "
        f"down in {result['timing']['down_s']:.2f} s. Names, TLS keys and comments are in the capture:"
    )
    output.say(f"  wireshark {output.near(capture['file'])}")
    output.say(f"  {output.near(lab.run / 'journey.html')}")
