"""Changes to master files: what is asked for, what becomes of the text, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.dns import editing, names
from services.errors import ConfigError
from tests.unit.dns.conversation import make_zone

ORIGIN = names.from_text("example.org")
ZONE = """\
; made by hand
$ORIGIN example.org.
$TTL 3600
@    SOA  ns1 hostmaster 7 7200 900 1209600 300
@    NS   ns1      ; the primary
ns1  A    198.18.0.1
@    MX   10 mx1
@    MX   20 mx2
mx1  A    198.18.0.2
mx2  A    198.18.0.3
www  CNAME mx1
t    TXT  "Hello"
"""
LAYOUT = """\
$TTL 1h
@ IN SOA ns1 hostmaster (
    4294967295 ; serial
    2h 15m 2w 5m )
  NS ns1
ns1 A 198.18.0.1
    TXT "two" (
      "lines" )
"""


def lines(text: str) -> Counter[str]:
    return Counter(text.splitlines())


def changed(text: str, **edits: Any) -> tuple[list[str], list[str]]:
    """The lines that a change takes out and those it puts in; the new zone loads and has a newer serial."""
    revision = editing.revise(text, ORIGIN, **edits)
    assert revision.changed
    assert make_zone("$ORIGIN example.org.\n" + revision.text).serial == revision.serial
    before, after = lines(text), lines(revision.text)
    return sorted((before - after).elements()), sorted((after - before).elements())


SOA = "@    SOA  ns1 hostmaster 7 7200 900 1209600 300"
RAISED = SOA.replace(" 7 ", " 8 ")


@pytest.mark.parametrize(
    ("edits", "gone", "new"),
    [
        pytest.param({"add": ["new A 198.18.0.9"]}, [], ["new.example.org. A 198.18.0.9"], id="add"),
        pytest.param(
            {"add": ["new 60 IN A 198.18.0.9"]}, [], ["new.example.org. 60 A 198.18.0.9"], id="add with a TTL"
        ),
        pytest.param(
            {"add": ['@ TXT "a b" c', "x MX 5 other.example.net."]},
            [],
            ['example.org. TXT "a b" "c"', "x.example.org. MX 5 other.example.net."],
            id="add several",
        ),
        pytest.param(
            {"put": ["@ MX 5 mx2"]},
            ["@    MX   10 mx1", "@    MX   20 mx2"],
            ["example.org. MX 5 mx2.example.org."],
            id="put in place of the set",
        ),
        pytest.param(
            {"put": ["@ MX 10 mx1", "@ MX 5 mx2"]},
            ["@    MX   20 mx2"],
            ["example.org. MX 5 mx2.example.org."],
            id="put leaves what is right",
        ),
        pytest.param(
            {"put": ["mx1 60 A 198.18.0.2"]},
            ["mx1  A    198.18.0.2"],
            ["mx1.example.org. 60 A 198.18.0.2"],
            id="put another TTL",
        ),
        pytest.param({"remove": ["@ MX 20 MX2.example.org."]}, ["@    MX   20 mx2"], [], id="remove one"),
        pytest.param(
            {"remove": ["@ MX"]}, ["@    MX   10 mx1", "@    MX   20 mx2"], [], id="remove a name's type"
        ),
        pytest.param({"remove": ["www"]}, ["www  CNAME mx1"], [], id="remove a name"),
        pytest.param(
            {"remove": ["www CNAME"], "add": ["www A 198.18.0.9"]},
            ["www  CNAME mx1"],
            ["www.example.org. A 198.18.0.9"],
            id="an alias becomes a host",
        ),
    ],
)
def test_what_changes_in_the_text(edits: dict[str, Any], gone: list[str], new: list[str]) -> None:
    """Lines come and go, the serial is raised, and nothing else changes."""
    assert changed(ZONE, **edits) == (sorted([SOA, *gone]), sorted([RAISED, *new]))


def test_a_layout_that_is_hard_to_change_is_kept_where_it_can_be() -> None:
    """A serial between comments and parentheses is found, and past the end it goes on with 1."""
    gone, new = changed(LAYOUT, add=["www A 198.18.0.9"])
    assert gone == ["    4294967295 ; serial"]
    assert new == ["    1 ; serial", "www.example.org. A 198.18.0.9"]


def test_a_layout_that_cannot_be_kept_is_written_anew() -> None:
    """Taking out the line that gives others their owner would change them: then all is written out."""
    revision = editing.revise(LAYOUT, ORIGIN, remove=["ns1 TXT"])
    assert revision.text == (
        "$ORIGIN example.org.\n$TTL 3600\n"
        "example.org. SOA ns1.example.org. hostmaster.example.org. 1 7200 900 1209600 300\n"
        "example.org. NS ns1.example.org.\n"
        "ns1.example.org. A 198.18.0.1\n"
    )


@pytest.mark.parametrize(
    "edits",
    [{"put": ["@ MX 10 mx1", "@ MX 20 MX2"]}, {"add": []}, {"put": ["t TXT Hello"]}],
    ids=["the same set", "nothing", "the same text"],
)
def test_nothing_to_change(edits: dict[str, Any]) -> None:
    """If all is as it should be, text and serial stay."""
    revision = editing.revise(ZONE, ORIGIN, **edits)
    assert (revision.changed, revision.text, revision.serial) == (False, ZONE, 7)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"add": ["mx1 A 198.18.0.2"]}, "zone example.org: the record is there already: mx1 A 198.18.0.2"),
        ({"add": ["ns1 CNAME mx1"]}, "zone example.org: ns1.example.org is an alias and has A too"),
        ({"add": ["x A 198.18.0"]}, "the record 'x A 198.18.0': A: '198.18.0' is no IPv4 address"),
        ({"add": ["x"]}, "the record 'x': the record has no type"),
        ({"add": [""]}, "the record '': one record is needed, such as `www A 198.18.0.1`"),
        ({"add": ["$TTL 60"]}, "the record '$TTL 60': one record is needed, such as `www A 198.18.0.1`"),
        ({"add": ["x A 1.2.3.4\ny A 1.2.3.4"]}, "one record is needed"),
        ({"add": ["x.example.net. A 1.2.3.4"]}, "x.example.net lies outside example.org"),
        ({"add": ["@ SOA a b 8 1 1 1 1"]}, "zone example.org: a zone has exactly one SOA record, not 2"),
        ({"remove": ["nope"]}, "zone example.org: there is no such record: nope"),
        ({"remove": ["@ MX 30 mx1"]}, "zone example.org: there is no such record: @ MX 30 mx1"),
        ({"remove": ["@ NOPE"]}, "the record '@ NOPE': unknown record type 'NOPE'"),
        ({"remove": [" "]}, "the record '': there is no name"),
        ({"remove": ["@ NS"]}, "zone example.org: the apex example.org has no NS record"),
        ({"remove": ["@ SOA"]}, "zone example.org: a zone has exactly one SOA record, not 0"),
        ({"remove": ["t TXT hello"]}, "there is no such record"),
    ],
)
def test_refused(edits: dict[str, Any], message: str) -> None:
    """A change that makes no sense, or no zone, is refused with a reason."""
    with pytest.raises(ConfigError) as caught:
        editing.revise(ZONE, ORIGIN, **edits)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("edits", "seconds"),
    [
        pytest.param({"put": ["@ 60 MX 5 mx2"]}, 3600, id="what was there, for its own TTL"),
        pytest.param({"add": ["new 60 A 198.18.0.9"]}, 300, id="that nothing was there, as the SOA says"),
        pytest.param({"put": ["@ SOA ns1 hostmaster 9 1 1 1 1"]}, 0, id="nobody asks for the SOA"),
    ],
)
def test_how_long_it_is_remembered(edits: dict[str, Any], seconds: int) -> None:
    """Resolvers may go on with what they know: how long is told."""
    assert editing.revise(ZONE, ORIGIN, **edits).remembered_s == seconds


@pytest.mark.parametrize(
    ("given", "serial"),
    [
        pytest.param(9, 9, id="newer by itself"),
        pytest.param(7, 8, id="the same"),
        pytest.param(3, 8, id="older"),
    ],
)
def test_another_file_in_its_place(given: int, serial: int) -> None:
    """The text is taken as it is, but for a serial that is not newer."""
    new = LAYOUT.replace("4294967295", str(given))
    revision = editing.supersede(ZONE, new, ORIGIN, source="new.zone")
    assert (revision.serial, revision.text) == (serial, new.replace(f" {given} ;", f" {serial} ;"))


def test_the_same_file_in_its_place() -> None:
    """A file with the same records changes nothing, whatever its layout."""
    revision = editing.supersede(ZONE, ZONE.replace("; made by hand\n", ""), ORIGIN, source="new.zone")
    assert (revision.changed, revision.text) == (False, ZONE)


def test_a_file_that_includes_another(tmp_path: Path) -> None:
    """What is included from elsewhere is written out: the file stands alone."""
    (tmp_path / "hosts").write_text("web A 198.18.0.80\n")
    new = ZONE + "$INCLUDE hosts\n"
    revision = editing.supersede(ZONE, new, ORIGIN, source="new.zone", included=tmp_path)
    assert "INCLUDE" not in revision.text
    assert "web.example.org. A 198.18.0.80" in revision.text
    with pytest.raises(ConfigError, match=r"hosts: No such file"):
        editing.supersede(ZONE, new, ORIGIN, source="new.zone", included=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ZONE + "x A 1\n", "new.zone:13: A: '1' is no IPv4 address"),
        (ZONE + "www A 198.18.0.1\n", "new.zone:11: www.example.org is an alias and has A too"),
        ("", "new.zone: a zone has exactly one SOA record, not 0"),
        (ZONE.replace("example.org", "example.net"), "new.zone: holds the zone example.net, not example.org"),
    ],
)
def test_a_file_with_a_mistake(text: str, message: str) -> None:
    """The error names the file and the line."""
    with pytest.raises(ConfigError) as caught:
        editing.supersede(ZONE, text, ORIGIN, source="new.zone")
    assert str(caught.value) == message
