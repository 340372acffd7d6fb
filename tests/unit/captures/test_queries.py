"""Which questions were asked, and what came back."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.captures.dnswire import MS, Wire, endpoint, pieces, query, reply, stream


def test_a_question_repeated_while_the_reply_is_under_way() -> None:
    """A retransmission that crosses the reply changes nothing; a second reply is passed over."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    asked.reply(1, answer="A 198.18.2.3", flags="RA")
    asked.again(1.05)
    asked.reply(1.2, answer="A 198.18.2.4", flags="RA")
    [lookup] = wire.lookups()
    assert (lookup.query.said, lookup.retries) == ("198.18.2.3", 1)


def test_a_packet_sent_anew_after_the_answer_is_a_new_lookup() -> None:
    """A client that uses port and id again for the same question has asked twice."""
    wire = Wire()
    for ms in (0, 1000):
        asked = wire.ask(ms, "mta", "res", "example.org A", ident=9, port=4000)
        asked.reply(ms + 1, answer="A 198.18.2.3", flags="RA")
    assert [lookup.query.time_ns for lookup in wire.lookups()] == [0, 1000 * MS]


def test_equal_ids_of_different_clients() -> None:
    """Replies are told apart by the two ends, not by the id alone."""
    wire = Wire()
    asked = [wire.ask(0, client, "res", f"{client}.org A", ident=5, port=4000) for client in ("a", "b")]
    for each in reversed(asked):
        each.reply(1, answer=f"A 198.18.2.{ord(each.client.host)}", flags="RA")
    assert [lookup.query.said for lookup in wire.lookups()] == ["198.18.2.97", "198.18.2.98"]


def test_forged_replies_are_passed_over() -> None:
    """A reply with another id, to another port or about another name answers nothing."""
    wire = Wire()
    asked = wire.look_up(0, "example.org A")
    for forged in (
        replace(asked, ident=99),
        replace(asked, client=endpoint("mta", 1)),
        replace(asked, server=endpoint("mallory")),
        replace(asked, question="example.net A"),
        replace(asked, question="example.org MX"),
    ):
        forged.reply(1, rcode="REFUSED")
    asked.reply(2, answer="A 198.18.2.3", flags="RA")
    assert [lookup.query.said for lookup in wire.lookups()] == ["198.18.2.3"]


def test_a_reply_without_a_question_and_one_that_cannot_be_read() -> None:
    """Both answer the query with their id: as an error."""
    wire = Wire()
    one, other = wire.look_up(0, "example.org A"), wire.look_up(0, "example.net A")
    wire.send(1, one.server, one.client, reply("", rcode="FORMERR", ident=one.ident))
    wire.send(1, other.server, other.client, reply("example.net A", ident=other.ident)[:-3])
    assert [(each.query.outcome, each.query.said) for each in wire.lookups()] == [
        ("error", "FORMERR"),
        ("error", "a reply that cannot be read"),
    ]


@given(st.integers(1, 200), st.randoms(use_true_random=False))
def test_several_messages_on_a_connection(size: int, rng: random.Random) -> None:
    """However TCP cuts the stream, in whatever order the server replies, each reply finds its question."""
    questions = [f"h{n}.example.org A" for n in range(5)]
    replies = [
        reply(question, answer=f"h{n}.example.org. A 198.18.2.{n}", ident=n)
        for n, question in enumerate(questions)
    ]
    rng.shuffle(replies)
    asked = [query(question, ident=n, rd=True) for n, question in enumerate(questions)]
    wire = Wire()
    client, server = endpoint("mta", 4000), endpoint("res")
    wire.connections.append(
        stream(client, server, sent=pieces(0, *asked, size=size), received=pieces(1000, *replies, size=size))
    )
    lookups = wire.lookups()
    assert [lookup.query.said for lookup in lookups] == [f"198.18.2.{n}" for n in range(5)]
    assert [lookup.query.name for lookup in lookups] == [f"h{n}.example.org" for n in range(5)]


def test_other_messages_are_no_queries() -> None:
    """Notifications, updates, noise and replies to nothing are left out."""
    wire = Wire()
    notify = bytearray(query("example.org SOA"))
    notify[2] |= 4 << 3
    for data in (
        bytes(notify),
        b"",
        b"\0" * 12,
        b"noise" * 9,
        query("example.org A")[:-20],
        reply("a.org A"),
    ):
        wire.send(0, endpoint("mta", 4000), endpoint("res"), data)
    assert wire.queries() == []


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from("abc"), st.sampled_from("abc"), st.binary(max_size=60))
    )
)
def test_no_datagram_brings_it_down(sent: list[tuple[int, str, str, bytes]]) -> None:
    """Whatever octets cross the wire, there is an account of the queries among them."""
    wire = Wire()
    asked = wire.look_up(25, "example.org A")
    for ms, source, destination, data in sent:
        wire.send(ms, endpoint(source), endpoint(destination), data)
    asked.reply(26, answer="A 198.18.2.3", flags="RA")
    assert "198.18.2.3" in [lookup.query.said for lookup in wire.lookups()]


def test_a_lookup_tells_who_when_and_by_which_way() -> None:
    """Times are the client's own, with those of the server beside them; the path is that of the question."""
    wire = Wire()
    wire.look_up(5, "example.org A").reply(7, answer="A 198.18.2.3", flags="RA")
    [lookup] = wire.lookups()
    asked = lookup.query
    assert (asked.client.host, asked.server.host, asked.transport) == ("mta", "res", "udp")
    assert (asked.time_ns, asked.arrived_ns) == (5 * MS, 5.1 * MS)
    assert (asked.replied_ns, asked.answered_ns) == (7 * MS, 7.1 * MS)
    assert (asked.frame, asked.answer_frame, asked.path) == (1, 2, ("mta", "res"))
    assert asked.reply is not None
    assert asked.reply.answers[0].text == "198.18.2.3"
