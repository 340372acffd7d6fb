"""A judgement in words, as SpamAssassin writes its own: so whoever reads one can read the other.

    Content analysis details:   (7.1 points, 5.0 required)

     pts rule name              description
    ---- ---------------------- --------------------------------------------------
     3.2 BL_SOURCE              The client is on a block list: it sends unwanted mail
                                [198.18.20.12 is on bl.example.net]
     …

In brackets stands the evidence. `read` takes both engines' reports apart.
"""

from __future__ import annotations

import re

from services.filters.spam.score import DESCRIPTIONS, Judgement
from services.filters.verdict import Fired

VERSION = "4.0"
_INDENT = " " * 28
_SUM = re.compile(r"\(\s*(-?\d+(?:\.\d+)?) points, (-?\d+(?:\.\d+)?) required\)")
_ROW = re.compile(r"\s{0,2}(-?\d+(?:\.\d+)?) ([A-Z][A-Z0-9_]*)\b")


def status(judgement: Judgement) -> str:
    """Return the value of X-Spam-Status, folded."""
    names = [each.name for each in judgement.fired] or ["none"]
    lines, line = [], f"{'Yes' if judgement.is_spam else 'No'}, score={judgement.score:.1f}"
    line += f" required={judgement.required:.1f} tests="
    for number, name in enumerate(names):
        piece = name + ("," if number < len(names) - 1 else "")
        if len(line) + len(piece) > 74:
            lines.append(line)
            line = "\t"
        line += piece
    return "\r\n".join([*lines, line])


def symbols(judgement: Judgement) -> str:
    """Return the names of the rules that fired, joined by commas."""
    return ",".join(each.name for each in judgement.fired)


def report(judgement: Judgement, hostname: str) -> str:
    """Return the report, each rule with its weight, what it says, and its evidence."""
    kind = (
        "has identified this incoming email as possible spam"
        if judgement.is_spam
        else "has not identified this incoming email as spam"
    )
    lines = [
        f'Spam detection software, running on the system "{hostname}",',
        f"{kind}.",
        "",
        f"Content analysis details:   ({judgement.score:.1f} points, {judgement.required:.1f} required)",
        "",
        " pts rule name              description",
        "---- ---------------------- --------------------------------------------------",
    ]
    for each in judgement.fired:
        lines.append(f"{each.weight:4.1f} {each.name:<22} {DESCRIPTIONS.get(each.name, '')}".rstrip())
        if each.evidence:
            lines.append(f"{_INDENT}[{each.evidence}]")
    return "\r\n".join(lines) + "\r\n"


def read(text: str) -> Judgement | None:
    """Return the judgement that a report tells, ours or SpamAssassin's; None if it is none."""
    total = _SUM.search(text)
    if not total:
        return None
    fired: list[Fired] = []
    evidence: list[str] = []
    for line in [*text[total.end() :].splitlines(), ""]:
        row = _ROW.match(line)
        if (row or not line.strip()) and fired and evidence:
            fired[-1] = Fired(name=fired[-1].name, weight=fired[-1].weight, evidence=_joined(evidence))
        if row:
            evidence = []
            fired.append(Fired(name=row[2], weight=float(row[1])))
        elif line.startswith(" " * 20):
            evidence.append(line.strip())
    return Judgement(score=float(total[1]), required=float(total[2]), fired=tuple(fired))


def _joined(lines: list[str]) -> str:
    """The bracketed part of the lines below a rule: what precedes it is more of the description."""
    text = " ".join(lines)
    found = re.search(r"\[(.*)\]", text)
    return found[1] if found else ""
