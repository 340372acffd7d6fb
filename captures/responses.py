"""What a server's reply to a question means, and the same in a few words.

Theory of operation. In this order, the first that applies:

    TC is set                          truncated: the question is asked again over TCP
    NXDOMAIN                           nxdomain: there is no such name
    any other code than NOERROR        error
    records of the type asked for      answer, aliases on the way followed
    an alias and no more               alias
    SOA                                nodata: the name has no records of that type
    NS                                 referral: others know more
    nothing at all                     nodata if the server is an authority or recurses, else error (lame)

This is what the reply says, whether the client had reason to believe it or not.
Source: RFC 1034 §4.3.2, §5.3.3; RFC 2308 §2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from captures.dns import Message, Record

Outcome: TypeAlias = Literal[
    "answer", "alias", "referral", "nodata", "nxdomain", "truncated", "error", "timeout"
]

_MAX_LISTED = 4
_MAX_TEXT = 60
_TRANSFERS: Final = ("AXFR", "IXFR")
_ADDRESSES: Final = ("A", "AAAA")


class Meaning(NamedTuple):
    """What a reply means; `zone` is the one delegated, or the one whose SOA says that there is none."""

    outcome: Outcome
    zone: str
    said: str


def interpret(name: str, rtype: str, reply: Message) -> Meaning:
    """Return what the reply to the question means."""
    if reply.truncated:
        return Meaning("truncated", "", "truncated")
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        return Meaning("error", "", reply.rcode)
    if rtype in _TRANSFERS and reply.answers:
        return Meaning("answer", "", f"{len(reply.answers)} records")
    aliases, records = _follow(name, rtype, reply.answers)
    via = f"alias of {aliases[-1]}" if aliases else ""
    if records:
        return Meaning("answer", "", _joined(via, _listed(_texts(rtype, records))))
    zone = next((record.name for record in reply.authority if record.type == "SOA"), "")
    source = f" (SOA of {_zone_text(zone)})" if zone else ""
    if reply.rcode == "NXDOMAIN":
        return Meaning("nxdomain", zone, _joined(via, f"no such name{source}"))
    if zone:
        return Meaning("nodata", zone, _joined(via, f"no {rtype} records{source}"))
    if via:
        return Meaning("alias", "", via)
    return _without_answer(rtype, reply)


def unaddressed(reply: Message) -> list[str]:
    """Return the servers that a referral names without giving an address (glue) of theirs."""
    known = {record.name for record in reply.additional if record.type in _ADDRESSES}
    return [record.text for record in reply.authority if record.type == "NS" and record.text not in known]


def _follow(name: str, rtype: str, answers: Sequence[Record]) -> tuple[list[str], list[Record]]:
    """Return the names that aliases lead to, in order, and the records that answer at the last."""
    names: list[str] = []
    if rtype not in ("CNAME", "ANY"):
        aliases = {record.name: record.text for record in answers if record.type == "CNAME"}
        while name in aliases:
            # Each is used once: aliases may lead in a circle.
            name = aliases.pop(name)
            names.append(name)
    return names, [
        record for record in answers if record.name == name and (record.type == rtype or rtype == "ANY")
    ]


def _without_answer(rtype: str, reply: Message) -> Meaning:
    zone = next((record.name for record in reply.authority if record.type == "NS"), "")
    if zone:
        servers = [record.text for record in reply.authority if record.type == "NS" and record.name == zone]
        glue = "" if len(unaddressed(reply)) < len(servers) else " (no glue)"
        return Meaning("referral", zone, f"referral to {_zone_text(zone)}: {_listed(servers)}{glue}")
    if reply.authoritative or reply.recursion_available:
        return Meaning("nodata", "", f"no {rtype} records")
    return Meaning("error", "", "neither an answer nor a referral")


def _texts(rtype: str, records: Sequence[Record]) -> list[str]:
    if rtype == "MX":
        if [record.text for record in records] == ["0 ."]:
            return ["0 . (null MX: takes no mail)"]
        # As they are tried.
        records = sorted(records, key=_preference)
    texts = []
    for record in records:
        text = record.text if record.type not in ("MX", "SRV") else _without_dot(record.text)
        texts.append(text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…")
    return texts


def _preference(record: Record) -> int:
    number = record.text.partition(" ")[0]
    return int(number) if number.isdecimal() else 0  # of another class than IN: octets


def _without_dot(text: str) -> str:
    return text[:-1] if text.endswith(".") and not text.endswith(" .") else text


def _listed(texts: Sequence[str]) -> str:
    if len(texts) <= _MAX_LISTED:
        return ", ".join(texts)
    return f"{texts[0]}, {texts[1]}, and {len(texts) - 2} more"


def _zone_text(zone: str) -> str:
    return "the root" if zone == "." else zone


def _joined(via: str, said: str) -> str:
    return f"{via}: {said}" if via else said
