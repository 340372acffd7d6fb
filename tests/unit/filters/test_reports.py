"""Aggregate reports: rows, the document, the message, and who gets it."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from services.filters.authentication.checking import organisation
from services.filters.authentication.collector import Collector
from services.filters.authentication.due import due
from services.filters.authentication.reports import (
    Interval,
    Row,
    by_domain,
    destinations,
    document,
    message,
    row,
    rua,
)
from tests.unit.filters.dns import FAILS, TableResolver
from tests.unit.filters.test_authenticate import INSIDE, OUTSIDE, judged, listed, signed

INTERVAL = Interval(
    begin=1000, end=2000, organisation="rcpt-filt.example.org", address="postmaster@example.org"
)


def row_of(message: bytes, client: str) -> Row:
    found = row(judged(message, client=client), client=client)
    assert found is not None
    return found


def parsed(rows: list[Row]) -> ElementTree.Element:
    return ElementTree.fromstring(document("example.com", rows, INTERVAL))  # noqa: S314  (ours)


def test_the_document() -> None:
    """Who reports on what, the policy, and equal rows counted: the elements of Appendix C in order."""
    good, forged = row_of(signed(), INSIDE), row_of(b"From: ceo@example.com\r\n\r\nx\r\n", OUTSIDE)
    assert (
        document("example.com", [good, forged, good], INTERVAL).decode()
        == """\
<?xml version='1.0' encoding='UTF-8'?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>rcpt-filt.example.org</org_name>
    <email>postmaster@example.org</email>
    <report_id>example.com.1000.2000@rcpt-filt.example.org</report_id>
    <date_range>
      <begin>1000</begin>
      <end>2000</end>
    </date_range>
  </report_metadata>
  <policy_published>
    <domain>example.com</domain>
    <adkim>r</adkim>
    <aspf>r</aspf>
    <p>reject</p>
    <sp>reject</sp>
    <pct>100</pct>
    <fo>0</fo>
  </policy_published>
  <record>
    <row>
      <source_ip>198.18.11.10</source_ip>
      <count>2</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>pass</dkim>
        <spf>pass</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_from>example.com</envelope_from>
      <header_from>example.com</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>example.com</domain>
        <selector>lab</selector>
        <result>pass</result>
      </dkim>
      <spf>
        <domain>example.com</domain>
        <scope>mfrom</scope>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
  <record>
    <row>
      <source_ip>198.18.20.12</source_ip>
      <count>1</count>
      <policy_evaluated>
        <disposition>reject</disposition>
        <dkim>fail</dkim>
        <spf>fail</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_from>example.com</envelope_from>
      <header_from>example.com</header_from>
    </identifiers>
    <auth_results>
      <spf>
        <domain>example.com</domain>
        <scope>mfrom</scope>
        <result>fail</result>
      </spf>
    </auth_results>
  </record>
</feedback>
"""
    )


def test_a_policy_that_was_not_applied_has_a_reason() -> None:
    """A trusted seal is the recipient's own policy, and said so."""
    found = row(listed(trusted=["my-list.example.net"]), client=OUTSIDE)
    assert found is not None
    reason = parsed([found]).find("record/row/policy_evaluated/reason")
    assert reason is not None
    assert reason.findtext("type") == "local_policy"
    assert "my-list.example.net" in (reason.findtext("comment") or "")


def test_what_a_message_holds_harms_no_document() -> None:
    """Mark-up, control characters and lone surrogates in names are no XML."""
    evil = replace(row_of(signed(), INSIDE), envelope_from="<x>&\x00\x1b\ud800]]>")
    assert parsed([evil]).findtext("record/identifiers/envelope_from") == "<x>&\ufffd\ufffd\ufffd]]>"


def test_without_a_policy_there_is_no_row() -> None:
    """Nobody asked; and where DNS did not answer nothing is known."""
    unasked = judged(b"From: a@my-list.example.net\r\n\r\nx\r\n", client=OUTSIDE)
    assert row(unasked, client=OUTSIDE) is None
    unknown = judged(signed(), records={("_dmarc.example.com", "TXT"): [FAILS]})
    assert row(unknown, client=INSIDE) is None


def test_a_row_belongs_to_where_the_policy_stands() -> None:
    """Mail from a subdomain without a policy of its own is reported to its organisation."""
    sub = row_of(b"From: a@lab.example.com\r\n\r\nx\r\n", OUTSIDE)
    rows = [sub, row_of(signed(), INSIDE)]
    assert sub.header_from == "lab.example.com"
    assert by_domain(rows) == {"example.com": rows}


def test_the_message() -> None:
    """The document travels gzipped, under the name that says who reports on whom and when."""
    rows = [row_of(signed(), INSIDE)]
    raw, again = (
        message("example.com", rows, INTERVAL, ["a@example.com"], now=3000, message_id="1@example.org")
        for _ in range(2)
    )
    assert raw == again
    mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(mail, email.message.EmailMessage)
    assert (mail["From"], mail["To"]) == ("postmaster@example.org", "a@example.com")
    assert mail["Subject"] == (
        "Report Domain: example.com Submitter: rcpt-filt.example.org "
        "Report-ID: <example.com.1000.2000@rcpt-filt.example.org>"
    )
    (attached,) = mail.iter_attachments()
    assert attached.get_content_type() == "application/gzip"
    assert attached.get_filename() == "rcpt-filt.example.org!example.com!1000!2000.xml.gz"
    assert gzip.decompress(attached.get_content()) == document("example.com", rows, INTERVAL)


@pytest.mark.parametrize(
    ("record", "addresses"),
    [
        ("v=DMARC1; p=none; rua=mailto:Postmaster@example.com", ["Postmaster@example.com"]),
        ("v=DMARC1; p=none; rua=mailto:a@x.com!10m, mailto:b@x.com", ["a@x.com", "b@x.com"]),
        ("v=DMARC1; p=none; rua=https://x.com/, mailto:a%21b@x.com", ["a!b@x.com"]),
        ("v=DMARC1; p=none; ruf=mailto:a@x.com", []),
        ("v=DMARC1; p=none; rua=mailto:a@x.com\r\nBcc: b@x.com", []),
    ],
)
def test_addresses_of_a_record(record: str, addresses: list[str]) -> None:
    """Mail addresses, with or without a limit on size."""
    assert rua(record) == addresses


def test_strangers_must_have_agreed() -> None:
    """Nobody can have reports sent to somebody who does not want them."""
    record = "v=DMARC1; p=none; rua=mailto:a@{host}"
    resolver = TableResolver(
        {
            ("example.com._report._dmarc.wants.example", "TXT"): ["v=DMARC1"],
            ("example.com._report._dmarc.silent.example", "TXT"): [FAILS],
        }
    )
    for host, wanted in {
        "example.com": True,
        "mail.example.com": True,
        "wants.example": True,
        "other.example": False,
        "silent.example": False,
    }.items():
        found = asyncio.run(
            destinations(
                "example.com", record.format(host=host), resolver=resolver, organisation=organisation
            )
        )
        assert found == ([f"a@{host}"] if wanted else []), host


ROW = Row(
    published_at="example.com",
    record="v=DMARC1; p=none",
    source=INSIDE,
    disposition="none",
    dkim_aligned=True,
    spf_aligned=False,
    override="",
    comment="",
    envelope_from="example.com",
    header_from="example.com",
    dkim=(("example.com", "lab", "pass"),),
    spf=("example.com", "mfrom", "fail"),
)


def test_rows_are_kept_until_their_reports_are_sent(tmp_path: Path) -> None:
    """An interval that has ended is there, after a new start too, until it is done."""
    collector = Collector(tmp_path / "dmarc")
    assert collector.end_interval(900) == []
    collector.add(ROW, now=1000.7)
    collector.add(ROW, now=1500)
    (first,) = collector.end_interval(2000)
    assert (first.begin, first.end, first.rows) == (1000, 2000, (ROW, ROW))
    collector.add(replace(ROW, source=OUTSIDE), now=2100)
    collector.close()

    again = Collector(tmp_path / "dmarc")
    again.add(ROW, now=2500)
    first, second = again.end_interval(3000)
    assert [one.source for one in second.rows] == [OUTSIDE, INSIDE]
    assert (first.begin, second.begin, second.end) == (1000, 2100, 3000)
    first.done()
    assert again.end_interval(3001) == [second]
    second.done()
    assert list((tmp_path / "dmarc").iterdir()) == []


def test_a_line_that_a_death_cut_off_spoils_no_other(tmp_path: Path) -> None:
    """What was half written is left out; what came before and after counts."""
    collector = Collector(tmp_path)
    collector.add(ROW, now=1000)
    collector.close()
    with (tmp_path / "current.jsonl").open("ab") as file:
        file.write(b'{"published_at": "exa')
    again = Collector(tmp_path)
    again.add(ROW, now=1100)
    (ended,) = again.end_interval(1200)
    assert ended.rows == (ROW, ROW)


def test_rows_survive_the_death_of_the_process(tmp_path: Path) -> None:
    """What was added is there after kill -9."""
    code = (
        "import sys, time; from pathlib import Path; from tests.unit.filters.test_reports import ROW\n"
        "from services.filters.authentication.collector import Collector\n"
        "Collector(Path(sys.argv[1])).add(ROW, now=1000); print('added', flush=True); time.sleep(60)\n"
    )
    checkout = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, cwd=checkout
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "added\n"
        os.kill(process.pid, signal.SIGKILL)
    (ended,) = Collector(tmp_path).end_interval(2000)
    assert ended.rows == (ROW,)


def test_intervals_within_a_second_are_told_apart(tmp_path: Path) -> None:
    """The lab's clock may be fast: no interval takes the place of another."""
    collector = Collector(tmp_path)
    for _ in range(3):
        collector.add(ROW, now=1000.1)
        found = collector.end_interval(1000.2)
    assert len(found) == 3
    assert len({(one.begin, one.end) for one in found}) == 3


def test_reports_that_are_due(tmp_path: Path) -> None:
    """Each domain that says where to gets one; the same one, if its interval is not done with."""
    collector = Collector(tmp_path)
    wanted = replace(ROW, record="v=DMARC1; p=none; rua=mailto:a@example.com")
    for one in (wanted, ROW, replace(wanted, published_at="example.edu"), wanted):
        collector.add(one, now=1000)
    for _ in range(2):
        (ended,) = collector.end_interval(2000)
        (report,) = asyncio.run(
            due(
                ended,
                reporter="mx.example.org",
                address="p@example.org",
                resolver=TableResolver({}),
                now=3000,
            )
        )
        assert (report.domain, report.recipients) == ("example.com", ("a@example.com",))
        assert b"\r\nMessage-ID: <example.com.1000.2000@mx.example.org>\r\n" in report.content
        assert b"3 messages" in report.content
