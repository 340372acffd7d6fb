"""`mailbed doctor`: whether labs can run here, and what mends what is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mailbed.cli import output
from mailbed.cli.options import Json

if TYPE_CHECKING:
    from mailbed.doctor import Finding

EXAMPLES = (
    "mailbed doctor",
    "mailbed doctor --json | jq -r '.findings[] | select(.ok | not) | .remedy'",
)


def doctor(json: Json = False) -> None:
    """Find out by trying whether labs can run here.

    For each thing that is missing it names the command that mends it.
    The exit status is 0 if everything is there that the topology `minimal` needs. What is optional may be
    missing: a lab goes without it and says so.
    """
    from mailbed.doctor import examine, healthy

    findings: list[Finding] = []
    with output.Progress() as progress:
        for finding in examine():
            progress.show(f"trying; {finding.name}: {'OK' if finding.ok else 'missing'}")
            findings.append(finding)
    if json:
        output.document({"ok": healthy(findings), "findings": [asdict(finding) for finding in findings]})
    else:
        _tell(findings)
        output.say()
        if healthy(findings):
            output.say("Labs can run here: try `mailbed run minimal`.")
        else:
            output.say("Labs cannot run here yet: mend what is missing.")
    raise typer.Exit(0 if healthy(findings) else 1)


def _tell(findings: list[Finding]) -> None:
    output.table(
        ("", "WHAT", "FOR", "FOUND"),
        [(_verdict(finding), finding.name, finding.purpose, finding.detail) for finding in findings],
    )
    missing = [finding for finding in findings if not finding.ok]
    if missing:
        output.say()
        output.say("To mend what is missing:")
        for finding in sorted(missing, key=lambda finding: not finding.needed):
            output.say(f"  {finding.name:14} {finding.remedy}")


def _verdict(finding: Finding) -> str:
    if finding.ok:
        return output.marked("OK", good=True)
    return output.marked("MISSING" if finding.needed else "missing", good=False)
