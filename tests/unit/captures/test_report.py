"""The page of a capture's journeys: what it says, and that nothing from a mail runs there."""

from __future__ import annotations

import html.parser
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from captures.journeys import Check, End, Journey, Place
from captures.journeys.document import display_filter
from captures.journeys.model import STEPS, State
from captures.journeys.steps import steps
from captures.lookups import Outcome
from captures.reports import page
from captures.reports.ladder import ladder
from captures.reports.levels import LEVELS, Level, Levels
from captures.reports.page import TOLD_IN_FULL
from captures.reports.shapes import Ladder, Row
from captures.reports.waterfall import totals, waterfall
from captures.smtp import Exchange, Reply
from tests.unit.captures.mail import MS, Wire, message
from tests.unit.captures.reported import AUTH, ROOT, TLD, asks, crossed, found, of

_VOID = {"meta", "br", "link", "img", "input", "hr"}
_SELF_CLOSING_IN_SVG = {"circle", "line", "path", "rect"}


class Parsed(html.parser.HTMLParser):
    """A page as a browser sees it: its elements, its text, and whether they nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SELF_CLOSING_IN_SVG
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.pieces))

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]


def one(wire: Wire) -> Journey:
    (journey,) = found(wire).journeys
    return journey


def shown(*journeys: Journey, title: str = "a run") -> Parsed:
    return Parsed(page(of(journeys), title=title))


def drawn(journey: Journey) -> Ladder:
    return ladder(journey, Levels(lookup for hop in journey.hops for lookup in hop.lookups), "j1")


def test_everything_is_told() -> None:
    """The page has who wrote whom, each step with its letter and its particulars, and how it ended."""
    journey = one(crossed())
    parsed = shown(journey)
    for wanted in (journey.sender, journey.recipient, "Grüße", "✓ delivered", "<1@example.com>", "100 in"):
        assert wanted in parsed.text
    for step in steps(journey):
        assert f"{step.letter} {(step.time_ns - journey.started_ns) / 1e6:,.1f} ms {step.host}" in parsed.text
        assert step.text in parsed.text
        for line in step.lines:
            assert line[1].replace("  ", " ") in parsed.text
    for meaning in STEPS.values():
        assert meaning in parsed.text


def test_lookups_are_told_server_by_server() -> None:
    """Each server that was asked stands there with what it said, how long that took, its path and frames."""
    journey = one(crossed())
    (lookup,) = [lookup for hop in journey.hops for lookup in hop.lookups if lookup.upstream]
    parsed = shown(journey)
    for query in lookup.upstream:
        row = f"{query.server.host} {query.server.name} {query.name} {query.type} {query.said}"
        assert row.replace("  ", " ") in parsed.text
        assert f"core1 {query.frame} → {query.answer_frame}" in parsed.text
    assert parsed.text.count("m-root → org-ns1 → org-auth1") == 1


def test_sessions_are_told_word_by_word() -> None:
    """Each hop has its connection, path, envelope, dialogue, and the filter that shows it in Wireshark."""
    wire = crossed()
    session = wire.sessions[0]
    reply = Reply(250, "corp-msa.example.com\nPIPELINING\nSTARTTLS", session.connection.opened_ns, 901)
    session.exchanges = [Exchange("EHLO alice", session.connection.opened_ns, 900, reply)]
    session.tls, session.user = "opened", "alice@example.com"
    journey = one(wire)
    parsed = shown(journey)
    for hop in journey.hops:
        assert hop.attempt is not None
        assert display_filter(hop, hop.attempt) in parsed.text
        assert " → ".join(hop.attempt.path) in parsed.text
        for exchange in hop.dialogue:
            assert exchange.command in parsed.text
            assert str(exchange.reply) in parsed.text
    assert "250-corp-msa.example.com 250-PIPELINING 250 STARTTLS 901" in parsed.text
    assert "TLS 1.3; authenticated as alice@example.com" in parsed.text


def test_failures_are_marked_by_more_than_colour() -> None:
    """A hop that failed has a word and a sign, in the picture, in the table and in the account."""
    journey = one(crossed(failed=True))
    parsed = shown(journey)
    assert "✕ refused" in parsed.text
    assert "SYN, which is refused" in parsed.text
    assert "→ rcpt-mx1: no session" in parsed.text
    assert "4 servers, 1 attempt failed" in parsed.text
    (failed,) = [row for row in drawn(journey).rows if row.kind == "hop" and not row.good]
    assert failed.label == "refused"


@pytest.mark.parametrize(
    ("state", "sign"),
    [
        ("delivered", "✓"),
        ("bounced", "✕"),
        ("refused", "✕"),
        ("kept", "…"),
        ("deferred", "…"),
        ("unknown", "…"),
    ],
)
def test_states(state: State, sign: str) -> None:
    """Each way to end has its sign; a journey and its notice point at each other."""
    journey = one(crossed())
    end = End(state=state, host="rcpt-mda", time_ns=journey.end.time_ns, notice=2)
    first = replace(journey, end=end)
    second = replace(journey, number=2, sender="", about=1)
    parsed = shown(first, second)
    assert parsed.text.count(f"{sign} {state}") >= 4
    assert "the sender was told by journey 2" in parsed.text
    assert "reports on journey 1" in parsed.text
    assert "<> (nobody: a notice)" in parsed.text


def test_checks() -> None:
    """What agrees with the packets and what does not are told apart in words."""
    good = Check(source="events", agrees=True, detail="the events name the same 4 servers")
    bad = Check(source="received", agrees=False, detail="a Received field names another")
    parsed = shown(replace(one(crossed()), checks=(good, bad)))
    assert "✓ agrees the services' events : the events name the same 4 servers" in parsed.text
    assert "✕ disagrees Received fields : a Received field names another" in parsed.text


def test_the_capture() -> None:
    """Lost packets, a file that was cut and no mail at all are said in words; facts stand at the top."""
    journeys = of([], dropped=1234, cut=True)
    parsed = Parsed(page(journeys, title="a run", capture_file="my capture.pcapng", facts={"seed": "7"}))
    assert "The capture lost 1,234 packets:" in parsed.text
    assert "The capture is cut short:" in parsed.text
    assert "seed 7" in parsed.text
    assert "No mail crossed." in parsed.text
    assert "my%20capture.pcapng" in parsed.values("href")
    assert "lost by the recorder not known" in Parsed(page(of([], dropped=None), title="a run")).text


def test_any_time() -> None:
    """A capture from elsewhere may hold any time of 64 bits."""
    journeys = replace(of([one(crossed())]), first_ns=-1, last_ns=1 << 63)
    page(journeys, title="a run")
    assert "beyond the calendar" in page(replace(journeys, first_ns=1 << 70), title="a run")


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style></title></svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x00\x1b[2J\u202egpj.exe\udc80\ufffe",
    "x" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_mail(text: str) -> None:
    """Whatever stands in a mail, a reply, a name or a file name is text on the page, and nothing more."""
    journey = one(crossed(failed=True))
    hops = []
    for hop in journey.hops:
        assert hop.attempt is not None
        said = Reply(550, text, hop.ended_ns, 1)
        place = Place(host=text, name=text, address=text)
        attempt = replace(
            hop.attempt, path=(text,), greeting=said, helo=text, user=text, interface=text, sealed_reason=text
        )
        dialogue = (Exchange(text, hop.began_ns, 1, said),)
        for lookup in hop.lookups:
            lookup.query.said = lookup.query.name = text
        changed = replace(hop, client=place, server=place, sender=text, queue_id=text)
        hops.append(replace(changed, attempt=attempt, dialogue=dialogue))
    check = Check(source="events", agrees=False, detail=text)
    hostile = replace(
        journey,
        message_id=text,
        subject=text,
        sender=text,
        recipient=text,
        hops=tuple(hops),
        checks=(check,),
        mailbox_file=text,
        end=replace(journey.end, host=text, reply=text),
    )
    source = page(of([hostile, hostile]), title=text, capture_file=text, facts={text: text})
    source.encode()
    parsed = Parsed(source)
    names = Counter(tag for tag, _ in parsed.elements)
    assert not names.keys() & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "image"}
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert all(re.match(r"#|[^:]*$", href) for href in parsed.values("href"))
    assert names["style"] == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ufffe]", source)
    if text.isprintable():
        assert parsed.text.count(text[:13]) > 20


def test_it_loads_nothing() -> None:
    """No element fetches anything, and the policy forbids what might be overlooked."""
    parsed = shown(one(crossed()))
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "img", "iframe", "image", "use", "video"}
    assert not parsed.values("src")
    source = page(of([one(crossed())]), title="a run")
    assert "default-src 'none'" in source
    assert "http" not in re.sub("http-equiv", "", source)
    assert set(re.findall(r"url\(([^)]*)\)", source)) == {"#waiting"}
    assert "@import" not in source


def test_it_is_well_formed() -> None:
    """Elements nest, places on the page are unique, and links lead to one of them or to the capture."""
    parsed = shown(one(crossed()), replace(one(crossed(failed=True)), number=2))
    assert not parsed.open
    ids = Counter(parsed.values("id"))
    assert not [name for name, count in ids.items() if count > 1]
    assert {href[1:] for href in parsed.values("href") if href.startswith("#")} <= ids.keys()
    labelled = {name for value in parsed.values("aria-labelledby") for name in value.split()}
    assert labelled <= ids.keys()
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") for tag, attributes in parsed.elements if tag == "th")


def test_pictures_are_svg() -> None:
    """Each picture is well-formed XML with a title and a description."""
    source = page(of([one(crossed())]), title="a run")
    pictures = [
        ET.fromstring(found)  # noqa: S314 - our own
        for found in re.findall(r"<svg class=\"ladder\".*?</svg>", source, re.DOTALL)
    ]
    assert len(pictures) == 1
    assert pictures[0][0].tag == "title"
    assert "then rcpt-mda. It ended as delivered." in (pictures[0][1].text or "")


def test_a_thousand_journeys() -> None:
    """All are in the table, the first ones in full; what is left out is said, and where it is."""
    journey = one(crossed())
    parsed = shown(*(replace(journey, number=number) for number in range(1, 1001)))
    rows = [attributes for tag, attributes in parsed.elements if tag == "section"]
    assert len(rows) == TOLD_IN_FULL
    assert f"The first {TOLD_IN_FULL} of 1,000 are told in full below" in parsed.text
    assert parsed.text.count("alice → corp-msa → corp-mta1 → rcpt-mx1 → rcpt-mda") == 1000
    assert parsed.values("href").count("#j50") == 1
    assert "#j51" not in parsed.values("href")


# The picture.


def test_hosts_are_columns() -> None:
    """The sender's hosts stand left, the recipient's right, those between in the middle, DNS apart."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.sends("corp-msa", "isp-a1", content=message(("corp-msa", "Q1")), queued="Q2")
    wire.sends("isp-a1", "rcpt-mx1", content=message(("isp-a1", "Q2"), ("corp-msa", "Q1")), queued="Q3")
    picture = drawn(one(wire))
    assert [column.label for column in picture.columns] == ["alice", "corp-msa", "isp-a1", "rcpt-mx1"]
    assert [(group.kind, group.label) for group in picture.groups] == [
        ("sender", "example.com"),
        ("internet", "Internet"),
        ("recipient", "example.org"),
        ("dns", "DNS"),
    ]
    for group, after in pairwise(picture.groups):
        assert group.end <= after.x
    places = [column.x for column in (*picture.columns, *picture.levels)]
    assert places == sorted(set(places))
    assert places[-1] < picture.groups[-1].end < picture.width


def test_rows() -> None:
    """Downwards in order of time: lookups, hops, queues, and where it ended; each within the picture."""
    journey = one(crossed(failed=True))
    picture = drawn(journey)
    assert [row.kind for row in picture.rows] == [
        "lookup", "hop", "accepted", "queue", "hop", "queue", "lookup", "lookup", "hop",
        "lookup", "hop", "queue", "hop", "end",
    ]  # fmt: skip
    assert [row.time_ns for row in picture.rows if row.kind != "accepted"] == sorted(
        row.time_ns for row in picture.rows if row.kind != "accepted"
    )
    heights = [row.y for row in picture.rows]
    assert heights == sorted(heights)
    assert picture.top < heights[0]
    assert heights[-1] < picture.height
    assert "".join(row.letter for row in picture.rows if row.kind in ("hop", "end")) == "ACEEFG"


def test_custody() -> None:
    """The message is at one host at a time, from the top to the bottom of the picture."""
    picture = drawn(one(crossed(failed=True)))
    names = {column.x: column.label for column in picture.columns}
    assert [names[span.x] for span in picture.custody] == [
        "alice",
        "corp-msa",
        "corp-mta1",
        "rcpt-mx2",
        "rcpt-mda",
    ]
    assert picture.custody[0].y == picture.top
    assert picture.custody[-1].end == picture.rows[-1].y
    for span, after in pairwise(picture.custody):
        assert span.end == after.y


def lookup_row(picture: Ladder) -> Row:
    return next(row for row in picture.rows if len(row.marks) > 1)


def test_a_lookup_is_one_row() -> None:
    """It has a mark for each level that was asked; the answer stands beside the question."""
    row = lookup_row(drawn(one(crossed())))
    assert row.label == "MX example.org"
    assert row.note.startswith("10 rcpt-mx1.example.org.")
    assert [(mark.label, mark.kind) for mark in row.marks] == [
        ("corp-dns", "resolver"),
        ("m-root", "referral"),
        ("org-ns1", "referral"),
        ("org-auth1", "answer"),
    ]


def test_a_server_that_is_silent() -> None:
    """Several servers of a level share a mark, which shows that one was asked in vain."""
    wire = crossed()
    lookup = next(lookup for lookup in wire.lookups if lookup.upstream)
    asks(wire, lookup, TLD._replace(host="org-ns2", address="198.18.0.51"), "timeout")
    root, answered, auth, silent = lookup.upstream
    lookup.upstream[:] = [root, silent, answered, auth]
    mark = lookup_row(drawn(one(wire))).marks[2]
    assert (mark.label, mark.kind, mark.failed) == ("org-ns1 +1", "referral", True)
    lookup.upstream[:] = [root, silent]
    mark = lookup_row(drawn(one(wire))).marks[2]
    assert (mark.label, mark.kind, mark.failed) == ("org-ns2", "silent", False)


def test_a_long_journey() -> None:
    """A hundred attempts are told from both ends; where the message is stays right."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    for _ in range(150):
        wire.tick(2000)
        wire.fails("corp-msa", "rcpt-mx1", end="unanswered")
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    picture = drawn(one(wire))
    (gap,) = [row for row in picture.rows if row.kind == "skipped"]
    # The submission, its acceptance, 150 attempts each after a wait, the last one at once, and the end.
    everything = 2 + 2 * 150 + 1 + 1
    assert gap.label == f"{everything - (len(picture.rows) - 1)} rows are left out here"
    names = {column.x: column.label for column in picture.columns}
    assert [names[span.x] for span in picture.custody] == ["alice", "corp-msa", "corp-msa", "rcpt-mx1"]
    assert picture.height < 6000
    page(of([one(wire)]), title="a run")


def test_the_next_server_at_once_is_no_queue() -> None:
    """Who tries the next server at once has not queued the message; who waits has."""
    wire = Wire()
    wire.sends("alice", "corp-msa", port=587, content=message(), queued="Q1")
    wire.fails("corp-msa", "rcpt-mx1")
    wire.tick(2)
    wire.fails("corp-msa", "rcpt-mx2")
    wire.tick(30_000)
    wire.sends("corp-msa", "rcpt-mx1", content=message(("corp-msa", "Q1")), queued="Q2")
    queues = [row for row in drawn(one(wire)).rows if row.kind == "queue"]
    assert [row.label for row in queues] == ["2.0 ms in the queue", "30.0 s in the queue"]
    assert [row.long for row in queues] == [False, True]


# Levels, and where the time went.


@pytest.mark.parametrize(
    ("outcome", "zone", "expected"),
    [
        ("referral", "org", "root"),
        ("referral", "example.org", "top"),
        ("referral", "lab.example.org", "domain"),
        ("nxdomain", ".", "root"),
        ("nxdomain", "org", "top"),
        ("nodata", "example.org", "domain"),
        ("answer", "", "domain"),
        ("timeout", "", "domain"),
    ],
)
def test_levels(outcome: Outcome, zone: str, expected: Level) -> None:
    """What a server says shows how high it stands."""
    wire = Wire()
    lookup = wire.asks("corp-mta1", "mx.lab.example.org", "A", "198.18.0.1")
    asks(wire, lookup, AUTH, outcome, zone=zone)
    assert Levels([lookup]).of(lookup) == [expected]


def test_levels_of_the_silent() -> None:
    """A server that says nothing is known from another lookup, or from the referral that led to it."""
    wire = Wire()
    other = wire.asks("corp-mta1", "example.net", "MX", "10 mx.example.net.")
    asks(wire, other, ROOT._replace(name=""), "referral", zone="net")
    lookup = wire.asks("corp-mta1", "example.org", "MX", "10 mx.example.org.")
    asks(wire, lookup, ROOT._replace(name=""), "timeout")
    asks(wire, lookup, ROOT, "referral", zone="org")
    asks(wire, lookup, TLD, "timeout")
    assert Levels([other, lookup]).of(lookup) == ["root", "root", "top"]
    assert LEVELS == ("root", "top", "domain")


def test_where_the_time_went() -> None:
    """Queue, lookups and session of each hop add up to the whole, one behind the other on one scale."""
    journey = one(crossed(failed=True))
    bars = waterfall(journey)
    whole = journey.hops[-1].ended_ns - journey.started_ns
    assert sum(totals(bars).values()) == whole
    assert [[bar.spent for bar in hop] for hop in bars] == [
        ["lookup", "session"],
        ["queue", "session"],
        ["queue", "lookup", "session"],
        ["queue", "lookup", "session"],
        ["queue", "session"],
    ]
    row = [bar for hop in bars for bar in hop]
    assert all(bar.x >= 0 and bar.x + bar.width <= 1004 for bar in row)
    assert [bar.x for bar in row] == sorted(bar.x for bar in row)
    assert totals(bars)["queue"] < 10 * MS
