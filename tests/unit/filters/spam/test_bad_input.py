"""Whatever a message is made of, it is judged, and within the engine's limits."""

from __future__ import annotations

import asyncio
import ipaddress
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.filters.spam import bayes, markup, results, trace, urls
from services.filters.spam.engine import Engine
from services.filters.spam.marking import added_fields
from services.filters.spam.message import DEEPEST, MOST_FIELDS, MOST_PARTS, Message, charset, parameters
from services.filters.spam.report import read, report
from services.filters.spam.score import Judgement
from tests.unit.filters.spam.letters import NOW, SITE, examined

MULTIPART = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
HTML = b"Content-Type: text/html\r\n\r\n"
PIECES = st.sampled_from(
    [
        *(
            b"From: ",
            b"Subject: ",
            b"To: ",
            b"Date: ",
            b"Received: from ",
            b" by ",
            b"Content-Type: ",
            b"text/html",
        ),
        *(
            b"multipart/alternative; boundary=a",
            b"message/rfc822",
            b"--a",
            b"--a--",
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
        ),
        *(
            b"Content-Transfer-Encoding: base64",
            b"quoted-printable",
            b"=?utf-8?B?",
            b"=?x?q?=",
            b"?=",
            b"; charset=",
        ),
        *(
            b"utf-16",
            b"utf-7",
            b"idna",
            b"<a href=",
            b"http://",
            b"@",
            b"<",
            b">",
            b'"',
            b"<!--",
            b"-->",
            b"<style",
        ),
        *(
            b"Authentication-Results: filter.example.org; ",
            b"dkim=pass",
            b"(",
            b"\\",
            b"[",
            b"]",
            b"%41",
            b"\xff",
        ),
        *(
            b"198.18.2.1",
            b"999.1.1.1",
            b"IPv6:",
            b"List-Id: ",
            b"filename*0*=",
            b"&#65;",
            b"\x00",
            b"=",
            b";",
            b" ",
        ),
    ]
)
ANYTHING = st.lists(PIECES | st.binary(max_size=20), max_size=60).map(b"".join)


def judged(message: bytes) -> Judgement:
    """What the engine says of it."""
    return asyncio.run(Engine(SITE, clock=lambda: NOW).judge(message))


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_anything_is_judged(message: bytes) -> None:
    """Each rule answers, the evidence is one printable line, and the report can be read back."""
    found = judged(message)
    assert found.score == round(sum(each.weight for each in found.fired), 1)
    assert all(each.evidence and each.evidence.isprintable() for each in found.fired)
    text = report(found, "filter.example.org")
    back = read(text)
    assert back is not None
    assert [each.name for each in back.fired] == [each.name for each in found.fired]
    fields = added_fields(found, "filter.example.org")
    assert all(line.startswith((b"X-Spam-", b"\t")) for line in fields.split(b"\r\n")[:-1])
    assert all(isinstance(token, str) for token in bayes.tokens(examined(message)))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | ANYTHING.map(lambda data: data.decode("latin-1")))
def test_pieces_of_anything(text: str) -> None:
    """What reads a part of a message raises nothing, whatever that is."""
    markup.read(text)
    urls.find(text)
    trace.read([text, text], (ipaddress.ip_network("10.0.0.0/8"),))
    results.read([f"filter.example.org; {text}", text], "filter.example.org")
    parameters(text)
    charset(text)


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        pytest.param(MULTIPART + b"--a\r\n\r\nx\r\n" * 1_000_000, "MIME_EXCESSIVE", id="a million parts"),
        pytest.param(
            b"".join(
                b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(20_000)
            ),
            "MIME_EXCESSIVE",
            id="twenty thousand nested parts",
        ),
        pytest.param(
            b"Content-Type: message/rfc822\r\n\r\n" * 100_000, "MIME_EXCESSIVE", id="letters in letters"
        ),
        pytest.param(b"X: y\r\n" * 1_000_000, "LONG_HEADER", id="a million fields"),
        pytest.param(b"Subject: " + b"a" * 5_000_000 + b"\r\n\r\n", "LONG_HEADER", id="a field of 5 MB"),
        pytest.param(b"no field\r\n" * 100_000, "ODD_HEADER_LINE", id="nothing but odd lines"),
        pytest.param(HTML + b'<a "' * 200_000, "HTML_ONLY", id="quotes that do not end"),
        pytest.param(HTML + b"<!--" * 200_000, "HTML_ONLY", id="comments that do not end"),
        pytest.param(
            HTML + b"<div>" * 100_000 + b"</p>" * 50_000, "HTML_ONLY", id="elements that do not end"
        ),
        pytest.param(HTML + b"<script" * 100_000, "HTML_ONLY", id="half a tag"),
        pytest.param(b"To: " + b"((" * 100_000 + b"\r\n\r\n", "UNDISCLOSED", id="comments in an address"),
        pytest.param(b"Date: " + b"1:" * 100_000 + b"\r\n\r\n", "INVALID_DATE", id="a long date"),
        pytest.param(b"Subject: " + b"=?utf-8?B?" * 20_000 + b"\r\n\r\n", "LONG_HEADER", id="encoded words"),
        pytest.param(
            b"Content-Transfer-Encoding: base64\r\n\r\n" + b"!" * 1_000_000, "EMPTY", id="base64 of nothing"
        ),
        pytest.param(
            b"Content-Type: text/plain; charset=idna\r\n\r\nabc", "UNKNOWN_CHARSET", id="no charset"
        ),
        pytest.param(b"", "MISSING_FROM", id="nothing at all"),
    ],
)
def test_hostile_messages(message: bytes, rule: str) -> None:
    """They are judged like any other: the limits see to that, and a rule says what is odd."""
    assert rule in [each.name for each in judged(message).fired]


def test_limits() -> None:
    """No more is read than the limits say."""
    many = Message(MULTIPART + b"--a\r\n\r\nx\r\n" * 5000)
    assert len(many.parts) <= MOST_PARTS
    assert len(Message(b"X: y\r\n" * 5000).header.fields) == MOST_FIELDS
    deep = Message(b"Content-Type: message/rfc822\r\n\r\n" * 50)
    assert len(deep.containers) == DEEPEST + 1


def test_pythons_own_messages() -> None:
    """CPython's email test data, broken as some of it is, is judged, and hardly any of it as spam."""
    directory = Path(sysconfig.get_paths()["stdlib"]) / "test" / "test_email" / "data"
    if not directory.is_dir():
        directory = Path(f"/usr/lib/python{sysconfig.get_python_version()}/test/test_email/data")
    messages = sorted(directory.glob("msg_*.txt"))
    assert len(messages) > 40, "Debian's package libpython3.x-testsuite is missing: scripts/setup --test"
    scores = {path.name: judged(path.read_bytes()).score for path in messages}
    # Most lack half of the fields, so they are no good letters; none has what spam is made of.
    assert max(scores.values()) < 12


@pytest.mark.parametrize("size", [1000, 512 * 1024])
def test_a_large_message_that_has_no_end_is_no_broken_one(size: int) -> None:
    """Of what is too large for it an engine is sent the beginning: that it is not closed is no fault then."""
    cut = (MULTIPART + b"--a\r\n\r\n" + b"x" * size)[:size]
    assert bool(Message(cut).defects) == (size < 512 * 1024)
