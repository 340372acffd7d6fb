"""Questions that a host of a lab asks with `dig`, and what the plan says the answers are.

A program that is not there ends with status 127: what needs it fails, and is not skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rdatatype
import dns.zone

from mailbed import Lab
from topologies import zonedata
from topologies.addressing import assign
from topologies.plan import Plan

Question = tuple[str, str]
"""Name, without the final dot, and type."""

_WAITS = ("+tries=2", "+time=8")
_STATUS = re.compile(r"^;; ->>HEADER<<- opcode: \w+, status: (\w+), id: \d+$")
_FLAGS = re.compile(r"^;; flags: ([a-z ]*);")
_SECTION = re.compile(r"^;; (ANSWER|AUTHORITY|ADDITIONAL) SECTION:$")


@dataclass(slots=True)
class Reply:
    """What `dig` shows of a response; a record is (owner, type, data), in lower case."""

    rcode: str
    flags: tuple[str, ...] = ()
    sections: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)

    @property
    def answer(self) -> set[tuple[str, str, str]]:
        return set(self.sections.get("ANSWER", ()))

    @property
    def authority(self) -> set[tuple[str, str, str]]:
        return set(self.sections.get("AUTHORITY", ()))


def run(lab: Lab, host: str, *argv: str, stdin: str = "") -> str:
    """Return what the program printed on the host; it must succeed."""
    done = lab.exec(host, *argv, stdin=stdin, timeout_s=100)
    assert done.returncode == 0, f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def ask(lab: Lab, host: str, server: str, questions: Sequence[Question], *options: str) -> list[Reply]:
    """Return a reply to each question, put from `host` to the address `server`."""
    batch = "".join(f"{name}. {rtype}\n" for name, rtype in questions).replace(".. ", ". ")
    replies = list(read(run(lab, host, "dig", *_WAITS, *options, f"@{server}", "-f", "-", stdin=batch)))
    assert len(replies) == len(questions), f"{len(replies)} replies to {len(questions)} questions"
    return replies


def read(text: str) -> Iterator[Reply]:
    """Yield the responses in what `dig` printed."""
    reply: Reply | None = None
    section = None
    for line in text.splitlines():
        if found := _STATUS.match(line):
            if reply is not None:
                yield reply
            reply, section = Reply(found[1]), None
        elif reply is None:
            continue
        elif found := _FLAGS.match(line):
            reply.flags = tuple(found[1].split())
        elif found := _SECTION.match(line):
            section = found[1]
        elif line.startswith(";") or not line:
            reply.comments += [line] if line else []
        elif section is not None:
            owner, _, _, rtype, data = line.split(None, 4)
            reply.sections.setdefault(section, []).append((owner.lower(), rtype, data.lower()))
    if reply is not None:
        yield reply


def world(plan: Plan) -> dict[Question, set[tuple[str, str, str]]]:
    """Return every RRset of the plan's zones that the zone itself answers with: no glue, no delegations."""
    origins = {zone.origin: zone for zone in plan.zones}
    found: dict[Question, set[tuple[str, str, str]]] = {}
    for origin, text in zonedata.zone_files(plan, assign(plan)).items():
        zone = dns.zone.from_text(text, dns.name.from_text(origin), relativize=False, check_origin=False)
        for owner, node in zone.nodes.items():
            name = owner.to_text(omit_final_dot=True).lower() if owner != dns.name.root else "."
            if zonedata.enclosing_zone(name, origins) != origin:
                continue
            for rdataset in node:
                rtype = dns.rdatatype.to_text(rdataset.rdtype)
                found[name, rtype] = {
                    (owner.to_text().lower(), rtype, rdata.to_text().lower()) for rdata in rdataset
                }
    return found
