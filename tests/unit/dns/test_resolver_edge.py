"""What clients of a resolver get to see on the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from services.dns import recursive
from tests.unit.dns.conversation import query
from tests.unit.dns.test_server_edge import by_udp, framed, hierarchy, next_by_tcp


def flags(message: dns.message.Message) -> str:
    return dns.flags.to_text(message.flags)


def asking(question: str, flags: str = "RD", **options: object) -> dns.message.QueryMessage:
    name, rtype = question.split()
    asked = dns.message.make_query(name, rtype, **options)  # type: ignore[arg-type]  # options of its own
    asked.flags = dns.flags.Flag(dns.flags.from_text(flags))
    return asked


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("RD", "QR RD RA"),
        ("RD CD", "QR RD RA CD"),
        ("RD AD", "QR RD RA"),
        ("", "QR RA"),
        ("RD AA TC", "QR RD RA"),
    ],
)
def test_flags(tmp_path: Path, asked: str, answered: str) -> None:
    """Recursion is available, RD and CD are copied, AD is never claimed: nothing is validated here."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            await by_udp(query("example.org MX"), told.port)
            reply = await by_udp(asking("example.org MX", asked), told.port)
            assert flags(reply) == answered
            assert reply.answer

    asyncio.run(run())


def test_edns(tmp_path: Path) -> None:
    """OPT is answered with OPT, DO is copied, NSID and unknown options are ignored, BADVERS told."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            port = told.port
            assert (await by_udp(asking("example.org MX"), port)).edns == -1
            plain = await by_udp(asking("example.org MX", use_edns=0), port)
            assert (plain.edns, plain.ednsflags, plain.payload) == (0, 0, 1232)
            options = [dns.edns.GenericOption(dns.edns.OptionType.make(code), b"x") for code in (3, 65001)]
            reply = await by_udp(asking("example.org MX", want_dnssec=True, options=options), port)
            assert (reply.ednsflags, reply.options) == (dns.flags.DO, ())
            assert [str(rrset) for rrset in reply.answer] == [str(rrset) for rrset in plain.answer]
            later = await by_udp(asking("example.org MX", use_edns=1), port)
            assert later.rcode() == dns.rcode.BADVERS

    asyncio.run(run())


def test_tcp(tmp_path: Path) -> None:
    """Over TCP several questions may be asked at a time; what the cache knows need not wait for the rest."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            await by_udp(query("example.org MX"), told.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
            slow, known = query("www.dead.org A"), query("example.org MX")
            many = query("many.example.org A")
            writer.write(framed(slow) + framed(many) + framed(known))
            replies = [await next_by_tcp(reader) for _ in range(3)]
            assert known.is_response(replies[0])
            by_id = {reply.id: reply for reply in replies}
            assert len(by_id[many.id].answer[0]) == 100
            assert by_id[slow.id].rcode() == dns.rcode.SERVFAIL
            writer.close()
            await writer.wait_closed()
            short = await by_udp(many, told.port)
            assert (short.flags & dns.flags.TC, short.answer) == (dns.flags.TC, [])

    asyncio.run(run())


def test_without_recursion(tmp_path: Path) -> None:
    """A client that asks not to recurse is refused as long as nothing is known, and causes no query."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            for _ in range(2):
                reply = await by_udp(asking("example.org MX", ""), told.port)
                assert (reply.rcode(), reply.authority) == (dns.rcode.REFUSED, [])
            await by_udp(query("example.org MX"), told.port)
            known = await by_udp(asking("example.org MX", ""), told.port)
            assert (known.rcode(), len(known.answer)) == (dns.rcode.NOERROR, 1)
            near = await by_udp(asking("nope.example.org A", ""), told.port)
            assert (near.rcode(), str(near.authority[0].name)) == (dns.rcode.NOERROR, "example.org.")
            asked = [e["queries"] for e in told.events if e["kind"] == "lookup"]
            assert asked == [4, 0]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("allow", "served"), [("127.0.0.0/8", True), ("127.0.0.1/32", True), ("10.0.0.0/8", False)]
)
def test_strangers_are_refused(tmp_path: Path, allow: str, served: bool) -> None:
    """Who is not on the list gets REFUSED, by UDP and TCP, and is told that there is no recursion for him."""

    async def run() -> None:
        async with hierarchy(tmp_path, allow=allow) as told:
            reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
            writer.write(framed(query("example.org MX")))
            by_tcp = await next_by_tcp(reader)
            writer.close()
            await writer.wait_closed()
            asked = query("Example.org MX", edns=True)
            for reply in (by_tcp, await by_udp(asked, told.port)):
                assert (reply.rcode() == dns.rcode.NOERROR) is served
                assert bool(reply.flags & dns.flags.RA) is served
                assert reply.question
            assert ("lookup" in {event["kind"] for event in told.events}) is served

    asyncio.run(run())


def test_localhost(tmp_path: Path) -> None:
    """The resolver answers for localhost itself, cold as it is."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            reply = await by_udp(query("Localhost A"), told.port)
            assert [str(rrset) for rrset in reply.answer] == ["Localhost. 10800 IN A 127.0.0.1"]
            missing = await by_udp(query("9.0.0.127.in-addr.arpa PTR"), told.port)
            assert (missing.rcode(), len(missing.authority)) == (dns.rcode.NXDOMAIN, 1)

    asyncio.run(run())


def test_different_questions_share_what_they_need(tmp_path: Path) -> None:
    """Twenty questions at once, all cold: the roots are primed once, and all are answered."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            asked = [query(f"x{i}.example.org A") for i in range(20)]
            replies = await asyncio.gather(*(by_udp(each, told.port) for each in asked))
            assert {reply.rcode() for reply in replies} == {dns.rcode.NXDOMAIN}
            queries = [e["queries"] for e in told.events if e["kind"] == "lookup"]
            assert sum(queries) == 1 + 3 * 20
            assert not any(e["cached"] for e in told.events if e["kind"] == "lookup")

    asyncio.run(run())


def test_the_cache_is_shown_and_flushed(tmp_path: Path) -> None:
    """Who asks the service sees what it remembers with the TTL left, and can have it forget."""

    async def run() -> None:
        async with hierarchy(tmp_path) as told:
            assert set(told.handlers) == {"cache.show", "cache.flush"}
            show, flush = told.handlers["cache.show"], told.handlers["cache.flush"]
            assert show({}) == {"entries": []}
            await by_udp(query("nope.example.org A"), told.port)
            found = show({"name": "Org."})
            assert isinstance(found, dict)
            assert [(e["name"], e["rtype"], e["kind"], e["data"]) for e in found["entries"]] == [
                ("org", "NS", "delegation", ("ns.org",)),
                ("example.org", "NS", "delegation", ("ns1.example.org",)),
                (
                    "nope.example.org",
                    "ANY",
                    "NXDOMAIN",
                    ("example.org ns1.example.org hostmaster.example.org 1 7200 900 1209600 300",),
                ),
                ("ns1.example.org", "A", "glue", ("127.0.0.3",)),
                ("ns.org", "A", "glue", ("127.0.0.2",)),
            ]
            left = {e["name"]: e["ttl"] for e in found["entries"]}
            assert 86000 < left["org"] <= 86400
            assert 200 < left["nope.example.org"] <= 300
            assert flush({"name": "example.org"}) == {"flushed": 3}
            await by_udp(query("nope.example.org A"), told.port)
            assert flush({}) == {"flushed": 7}
            await by_udp(query("nope.example.org A"), told.port)
            assert [e["queries"] for e in told.events if e["kind"] == "lookup"] == [4, 2, 4]
            for wrong in ({"name": "a..b"}, {"nmae": "org"}):
                with pytest.raises(ValueError, match=r"empty label|unknown parameter 'nmae'"):
                    flush(wrong)

    asyncio.run(run())


def test_who_may_ask_is_configured(tmp_path: Path) -> None:
    """`allow` is a list of networks; by default everybody may ask."""
    path = tmp_path / "resolver.toml"
    path.write_text('hints = "x"\n')
    assert recursive.load(path).allow == ()
    path.write_text('hints = "x"\nallow = ["10.1.0.0/24", "198.18.1.1/32"]\n')
    assert [str(network) for network in recursive.load(path).allow] == ["10.1.0.0/24", "198.18.1.1/32"]
