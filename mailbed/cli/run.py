"""`mailbed run`: a lab comes up, carries messages, and goes down again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import messages, output
from mailbed.cli.delivery import Delivery, deliver, mailbox_file, worst
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

if TYPE_CHECKING:
    from mailbed.lab import Lab
    from topologies.plan import Plan

EXAMPLES = (
    "mailbed run minimal",
    "mailbed run minimal --message letter.eml --to bob@example.org --to dave@example.org",
    "mailbed run minimal --use a-root=nsd --seed 7 --out /tmp/run",
    "mailbed run my-world.toml --json | jq .timing",
)


def run(
    topology: Topology,
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
    result = _result(started, record, deliveries)
    if json:
        output.document(result)
    else:
        _tell(started, deliveries, result)
    raise typer.Exit(0 if result["outcome"] == "delivered" else 1)


def tell_account(plan: Plan, run_directory: Path, delivery: Delivery) -> None:
    """Say what happened to a message, line by line, and how it ended."""
    from mailbed.cli.account import account, read_events
    from topologies.addressing import assign

    names = {str(interface.address.ip): interface.host for interface in assign(plan).interfaces}
    to = ", ".join(delivery.recipients)
    output.say(
        f"{output.strong(f'{delivery.sender} → {to}')}: {delivery.letter.name}, "
        f"{len(delivery.letter.content):,} bytes. What the services' events tell:"
    )
    if delivery.reason:
        output.say(f"  {output.marked('refused', good=False)}: {delivery.reason}")
        return
    steps = account(
        read_events(run_directory),
        queue_id=delivery.queue_id,
        started=delivery.started,
        settled=delivery.outcome not in ("pending", "deferred"),
        names=names,
    )
    width = max(len(step.host) for step in steps)
    for step in steps:
        output.say(f"  {step.ms:9,.1f} ms  {step.host:{width}}  {step.text}")
    for recipient, outcome in delivery.outcomes.items():
        _tell_outcome(run_directory, recipient, outcome, delivery.started)


def _tell_outcome(run_directory: Path, recipient: str, outcome: Any, started: float) -> None:
    state = output.marked(outcome.state, good=outcome.state == "delivered")
    if outcome.state == "delivered":
        output.say(f"  {state} to {recipient} after {(outcome.time - started) * 1000:,.0f} ms; it lies in")
        output.say(f"    {output.near(mailbox_file(run_directory, outcome) or '')}")
    else:
        reply = f": {outcome.reply}" if outcome.reply else ""
        output.say(f"  {state} for {recipient} at {outcome.host}{reply}")


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
        "messages": [delivery.document(lab.run) for delivery in deliveries],
    }


def _tell(lab: Lab, deliveries: list[Delivery], result: dict[str, Any]) -> None:
    for delivery in deliveries:
        output.say()
        tell_account(lab.plan, lab.run, delivery)
    capture = result["capture"]
    output.say()
    output.say(
        f"{output.count(capture.get('packets', 0), 'packet')} captured, {capture.get('dropped', 0)} dropped; "
        f"down in {result['timing']['down_s']:.2f} s. Names and TLS keys are in the capture:"
    )
    output.say(f"  wireshark {output.near(capture['file'])}")
