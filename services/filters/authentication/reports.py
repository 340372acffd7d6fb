"""Aggregate reports: what a recipient tells a domain about mail in its name (RFC 7489 §7.2, Appendix C).

Theory of operation. Each message whose author's domain has a policy leaves a `Row`. At the end of an interval
the rows of a domain, equal ones counted, become one XML document, and this a message: gzipped, with the name
and the subject that §7.2.1.1 asks for. It goes to the addresses in rua=; one outside the domain's
organisation must have agreed to it in DNS (§7.1).

The root element stands without a namespace, as everybody writes and reads it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import unquote

from services.filters.authentication.lookups import LookupFailed, Resolver
from services.filters.authentication.policy import Organisation, Record, read
from services.filters.authentication.results import Authentication

MAX_ADDRESSES = 2
"""Addresses of a record that are served; more need not be (RFC 7489 §6.2)."""

_MAILTO = re.compile(r"mailto:([^,!\s]+@[^,!\s]+)(?:![0-9]+[kmgt]?)?", re.IGNORECASE)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one message leaves: a client, what was found, and what was done with it.

    `published_at` and `record` are the policy; `dkim` has domain, selector and result of each signature.
    """

    published_at: str
    record: str
    source: str
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    override: str
    comment: str
    envelope_from: str
    header_from: str
    dkim: tuple[tuple[str, str, str], ...]
    spf: tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What a report covers, in seconds since 1970, and who gives it: a name and an address."""

    begin: int
    end: int
    organisation: str
    address: str

    def report_id(self, domain: str) -> str:
        """Return the report's id: the same one if it is made again."""
        return f"{domain}.{self.begin}.{self.end}@{self.organisation}"


def row(found: Authentication, *, client: str) -> Row | None:
    """Return what a message from the address `client` leaves; None if its author's domain has no policy."""
    dmarc = found.dmarc
    if not dmarc.record or dmarc.result not in ("pass", "fail"):
        return None
    weaker = dmarc.result == "fail" and dmarc.disposition != dmarc.policy
    scope = "mfrom" if found.sender else "helo"
    return Row(
        published_at=dmarc.published_at,
        record=dmarc.record,
        source=client,
        disposition=dmarc.disposition,
        dkim_aligned=dmarc.dkim_aligned,
        spf_aligned=dmarc.spf_aligned,
        override=("sampled_out" if dmarc.reason.startswith("pct=") else "local_policy") if weaker else "",
        comment=dmarc.reason if weaker else "",
        envelope_from=found.sender.rpartition("@")[2],
        header_from=dmarc.domain,
        dkim=tuple((one.domain, one.selector, one.result) for one in found.dkim if one.domain),
        spf=(found.spf.domain, scope, found.spf.result),
    )


def by_domain(rows: Iterable[Row]) -> Mapping[str, Sequence[Row]]:
    """Return the rows of each domain that has a policy, which are one report."""
    found: dict[str, list[Row]] = {}
    for one in rows:
        found.setdefault(one.published_at, []).append(one)
    return found


def document(domain: str, rows: Sequence[Row], interval: Interval) -> bytes:
    """Return the report about a domain as XML; the policy is that of the last row (Appendix C)."""
    record = read(domain, [rows[-1].record.encode()])
    root = ElementTree.Element("feedback")
    _add(root, "version", "1.0")
    metadata = _add(root, "report_metadata")
    _add(metadata, "org_name", interval.organisation)
    _add(metadata, "email", interval.address)
    _add(metadata, "report_id", interval.report_id(domain))
    dates = _add(metadata, "date_range")
    _add(dates, "begin", str(interval.begin))
    _add(dates, "end", str(interval.end))
    _published(_add(root, "policy_published"), domain, record)
    for one, count in Counter(rows).items():
        _record(_add(root, "record"), one, count)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return text + b"\n"


def message(
    domain: str, rows: Sequence[Row], interval: Interval, to: Sequence[str], *, now: float, message_id: str
) -> bytes:
    """Return the message that carries the report about a domain, lines in CRLF (§7.2.1.1).

    `message_id` is unique, without angle brackets; `now` in seconds since 1970.
    """
    report_id = interval.report_id(domain)
    name = f"{interval.organisation}!{domain}!{interval.begin}!{interval.end}.xml.gz"
    mail = EmailMessage(policy=SMTP.clone(max_line_length=998))
    mail["From"] = interval.address
    mail["To"] = ", ".join(to)
    mail["Subject"] = f"Report Domain: {domain} Submitter: {interval.organisation} Report-ID: <{report_id}>"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Message-ID"] = f"<{message_id}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"This is a DMARC aggregate report of {interval.organisation} about mail in the name of {domain}:\n"
        f"{len(rows)} messages. The details are attached.\n"
    )
    # No time in it, and no random boundary: equal reports are equal.
    packed = gzip.compress(document(domain, rows, interval), mtime=0)
    mail.add_attachment(packed, maintype="application", subtype="gzip", filename=name)
    mail.set_boundary(f"=_{hashlib.sha256(report_id.encode()).hexdigest()[:32]}")
    return mail.as_bytes()


async def destinations(
    domain: str, record: str, *, resolver: Resolver, organisation: Organisation
) -> list[str]:
    """Return the addresses that want reports about a domain: those in rua= who may get them (§7.1).

    Those for whom DNS does not answer are left out: they agree another time.
    """
    found = []
    for address in rua(record)[:MAX_ADDRESSES]:
        host = address.rpartition("@")[2].lower()
        if organisation(host) == organisation(domain) or await _agrees(host, domain, resolver):
            found.append(address)
    return found


def rua(record: str) -> list[str]:
    """Return the mail addresses in rua= of a policy; other ways to get reports are not served."""
    tag = re.search(r"(?:^|;)\s*rua\s*=([^;]*)", record, re.IGNORECASE)
    uris = (uri.strip() for uri in tag[1].split(",")) if tag else ()
    return [unquote(match[1]) for uri in uris if (match := _MAILTO.fullmatch(uri))]


async def _agrees(host: str, domain: str, resolver: Resolver) -> bool:
    try:
        texts = await resolver.txt(f"{domain}._report._dmarc.{host}")
    except LookupFailed:
        return False
    return any(re.match(rb"v\s*=\s*DMARC1\s*(;|$)", text) for text in texts)


def _published(parent: ElementTree.Element, domain: str, record: Record | None) -> None:
    _add(parent, "domain", domain)
    if record is not None:
        _add(parent, "adkim", "s" if record.strict_dkim else "r")
        _add(parent, "aspf", "s" if record.strict_spf else "r")
        _add(parent, "p", record.p)
        _add(parent, "sp", record.sp)
        _add(parent, "pct", str(record.pct))
        _add(parent, "fo", "0")


def _record(parent: ElementTree.Element, one: Row, count: int) -> None:
    entry = _add(parent, "row")
    _add(entry, "source_ip", one.source)
    _add(entry, "count", str(count))
    evaluated = _add(entry, "policy_evaluated")
    _add(evaluated, "disposition", one.disposition)
    _add(evaluated, "dkim", "pass" if one.dkim_aligned else "fail")
    _add(evaluated, "spf", "pass" if one.spf_aligned else "fail")
    if one.override:
        reason = _add(evaluated, "reason")
        _add(reason, "type", one.override)
        _add(reason, "comment", one.comment)
    identifiers = _add(parent, "identifiers")
    _add(identifiers, "envelope_from", one.envelope_from)
    _add(identifiers, "header_from", one.header_from)
    results = _add(parent, "auth_results")
    for domain, selector, result in one.dkim:
        signature = _add(results, "dkim")
        _add(signature, "domain", domain)
        _add(signature, "selector", selector)
        _add(signature, "result", result)
    spf = _add(results, "spf")
    for name, text in zip(("domain", "scope", "result"), one.spf, strict=True):
        _add(spf, name, text)


def _add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    if text:
        # What came from the message may hold what XML has no place for, escaped or not.
        element.text = _NOT_IN_XML.sub("\ufffd", text)
    return element
