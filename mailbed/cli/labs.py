"""The verbs about labs that run: `list`, `up`, `down`, `ps`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailbed.cli import output, targets
from mailbed.cli.options import Json, NewLab, Out, RunningLab, Seed, TimeScale, Topology, Use
from mailbed.cli.starting import make_lab, sizes, tell_left_out
from topologies import DEFAULT

if TYPE_CHECKING:
    from topologies.plan import Plan

LIST_EXAMPLES = ("mailbed list", "mailbed list --json | jq -r '.labs[].run'")
UP_EXAMPLES = (
    "mailbed up two-companies",
    "mailbed up internet:DOMAINS=30",
    "mailbed up minimal --lab one --seed 7 --use a-root=nsd",
    "mailbed up my-world.toml --foreground        until Ctrl-C",
)
DOWN_EXAMPLES = ("mailbed down", "mailbed down --lab one", "mailbed down --json | jq .capture.packets")
PS_EXAMPLES = ("mailbed ps", "mailbed ps 'corp-*'", "mailbed ps --json | jq '.services[].pss_kib'")


def list_(json: Json = False) -> None:
    """Show the built-in topologies and the running labs."""
    from topologies import catalog

    entries = catalog.entries()
    topologies = [
        {
            "name": entry.name,
            "title": entry.title,
            "hosts": entry.hosts,
            "parameters": {key: asdict(parameter) for key, parameter in entry.parameters.items()},
        }
        for entry in entries
    ]
    labs = running()
    if json:
        output.document({"topologies": topologies, "labs": labs})
        return
    output.table(
        ("TOPOLOGY", "HOSTS", "WHAT IT IS"),
        [(entry.name, str(entry.hosts), entry.title) for entry in entries],
    )
    output.say()
    output.table(
        ("PARAMETER", "DEFAULT", "WHAT IT IS"),
        [
            (f"{entry.name}:{key}=N", str(parameter.default), parameter.range)
            for entry in entries
            for key, parameter in entry.parameters.items()
        ],
    )
    output.say()
    if labs:
        output.table(
            ("LAB", "TOPOLOGY", "SINCE", "RUN DIRECTORY"),
            [(lab["lab"], lab["topology"], _since(lab["started"]), output.near(lab["run"])) for lab in labs],
        )
    else:
        output.say("No lab is running. Start one: mailbed up")


def up(
    topology: Topology = DEFAULT,
    lab: NewLab = None,
    seed: Seed = 1,
    out: Out = None,
    use: Use = None,
    time_scale: TimeScale = 1.0,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and take the lab down on Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Start a lab that stays until `mailbed down`.

    It returns when every service is ready.
    """
    from mailbed.cli import background

    progress = output.Progress()
    reports = background.Reports()
    started = make_lab(
        topology,
        name=lab,
        seed=seed,
        out=out,
        use=use,
        time_scale=time_scale,
        progress=progress if foreground else reports.progress,
    )
    with progress:
        if foreground:
            ready = background.described(started, started.up())
        else:
            ready = background.start(started, reports, progress)
    try:
        _tell_up(ready, started.plan, as_json=json, foreground=foreground)
        if foreground:
            started.wait_until_ended()
    except KeyboardInterrupt:
        # The way that --foreground is meant to end.
        pass
    finally:
        if foreground:
            record = {**started.down(), "run": str(started.run)}
            if not json:
                _tell_down(started.name, record)


def down(lab: RunningLab = None, json: Json = False) -> None:
    """End a lab, and wait until it is gone.

    Its capture is finished, and nothing of it runs any more.
    """
    from mailbed.cli import background
    from mailbed.lab import Lab

    handle = Lab.attach(lab)
    with output.Progress() as progress:
        progress.show(f"taking {handle.name} down")
        record = {**handle.down(), "run": str(handle.run)}
        background.wait_until_gone(handle.name)
    if json:
        output.document(record)
    else:
        _tell_down(handle.name, record)


def ps(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host, or a pattern.")] = "*",
    lab: RunningLab = None,
    json: Json = False,
) -> None:
    """Show the services of a lab.

    Where they run, how they are, and how much memory they take. A process' number is the one inside the lab.
    """
    from mailbed.lab import Lab

    with Lab.attach(lab) as handle:
        chosen = targets.hosts(handle.plan, host)
        rows = [row for row in handle.ps() if row["host"] in chosen]
    if json:
        output.document({"lab": handle.name, "run": str(handle.run), "services": rows})
        return
    output.table(
        ("HOST", "ROLE", "STATE", "PID", "MEMORY", "REASON"),
        [
            (
                row["host"],
                row["role"],
                output.marked(row["state"], good=row["state"] == "ready"),
                str(row["pid"] or ""),
                f"{row['pss_kib'] / 1024:.1f} MiB" if row["pss_kib"] else "",
                row["reason"] or "",
            )
            for row in rows
        ],
    )


def running() -> list[dict[str, Any]]:
    """Return this user's running labs: `lab`, `topology`, `state`, `started` (since the epoch), `run`."""
    from mailbed import sandbox
    from mailbed.client import Client
    from mailbed.errors import LabError

    found = []
    for name in sandbox.running():
        try:
            connection = Client(name)
            try:
                status = connection.call("status")
            finally:
                connection.close()
        except LabError:
            # It has ended since.
            continue
        record = status["record"]
        found.append(
            {
                "lab": name,
                "topology": record["topology"],
                "state": status["state"],
                "started": record["started"],
                "run": status["run"],
            }
        )
    return found


def _since(started: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(started))


def _tell_up(ready: dict[str, Any], plan: Plan, *, as_json: bool, foreground: bool) -> None:
    if as_json:
        tell_left_out(ready["left_out"])
        output.document(ready)
        return
    from mailbed import sandbox

    name = ready["lab"]
    which = f"--lab {name} " if len(sandbox.running()) > 1 else ""
    output.say(f"{output.strong(name)} is up: {sizes(plan)}, ready in {ready['timing']['up_s']:.2f} s")
    tell_left_out(ready["left_out"], lambda sentence: output.say(f"  {sentence}"))
    output.say(f"  its run directory is {output.near(ready['run'])}")
    output.say("Next:" if not foreground else "Next, in another terminal:")
    for command, purpose in (
        ("send", "a sample message, and what came of it"),
        ("ps", "its services"),
        (f"exec {plan.hosts[0].name} COMMAND", "run a command on a host"),
        ("down", "end it"),
    ):
        verb, _, rest = command.partition(" ")
        line = f"mailbed {verb} {which}{rest}".rstrip()
        output.say(f"  {line:44} {purpose}")
    if foreground:
        output.say("Ctrl-C ends it.")


def _tell_down(name: str, record: dict[str, Any]) -> None:
    seconds = record.get("timing", {}).get("down_s")
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    output.say(f"{output.strong(name)} is down{took}")
    capture = record.get("capture", {})
    if "packets" in capture:
        output.say(
            f"  {output.count(capture['packets'], 'packet')} captured, {capture.get('dropped', 0)} dropped"
        )
    states = [outcome["state"] for sent in record.get("messages", []) for outcome in sent["outcomes"]]
    if states:
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        output.say(f"  {output.count(len(record['messages']), 'message')} sent: {counted}")
    if "run" in record:
        output.say(f"  everything is in {output.near(record['run'])}")
