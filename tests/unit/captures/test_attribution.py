"""Whose an attempt was that shows no message: what waited at its client, and was to go there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from captures.journeys import Journey
from captures.journeys.reading import journeys
from tests.unit.captures.mail import ALICE, BOB, HOSTS, Wire, message, notice

CAROL, DAVE = "carol@example.com", "dave@example.org"
HUB = "hub.example.com"


def read(wire: Wire) -> list[Journey]:
    return journeys(wire.sessions, wire.lookups)


def submitted(wire: Wire, number: int, to: str | Sequence[str] = BOB) -> None:
    """A message to corp-msa, which queues it as Q1, Q2, …; its Message-ID has the same number."""
    content = message(message_id=f"<{number}@example.com>")
    wire.sends("alice", "corp-msa", port=587, content=content, to=to, queued=f"Q{number}")


def sent_on(wire: Wire, number: int, server: str = "corp-mta1", to: str | Sequence[str] = BOB) -> None:
    content = message(("corp-msa", f"Q{number}"), message_id=f"<{number}@example.com>")
    wire.sends("corp-msa", server, content=content, to=to, queued=f"X{number}")


def failed(journey: Journey) -> list[str]:
    """The servers that were tried in vain."""
    return [hop.server.host for hop in journey.hops if hop.server and not hop.accepted]


class TestWhatWaits:
    def test_mail_that_stays_is_tried_no_more(self) -> None:
        """What a host keeps in a mailbox had nothing to do with a connection that fails later."""
        wire = Wire()
        submitted(wire, 1, to=CAROL)
        wire.tick(5_000)
        submitted(wire, 2)
        wire.finds("corp-msa", HUB, "corp-mta1")
        wire.fails("corp-msa", "corp-mta1")
        carol, bob = read(wire)
        assert (failed(carol), carol.end.state) == ([], "delivered")
        assert failed(bob) == ["corp-mta1"]

    def test_only_the_recipients_that_go_there(self) -> None:
        """A failed connection concerns those of a message's recipients that went that way later."""
        wire = Wire()
        submitted(wire, 1, to=(CAROL, BOB))
        wire.finds("corp-msa", HUB, "corp-mta1")
        wire.fails("corp-msa", "corp-mta1")
        wire.tick(1_000)
        wire.finds("corp-msa", HUB, "corp-mta1")
        sent_on(wire, 1)
        carol, bob = read(wire)
        assert (failed(carol), carol.end.state) == ([], "delivered")
        assert (failed(bob), bob.end.state) == (["corp-mta1"], "kept")

    def test_strangers_rather_than_colleagues(self) -> None:
        """Where nothing ever got through, a connection was not for the one whose mailbox may be there."""
        wire = Wire()
        submitted(wire, 1, to=(CAROL, BOB))
        wire.finds("corp-msa", HUB, "corp-mta1")
        wire.fails("corp-msa", "corp-mta1")
        carol, bob = read(wire)
        assert (failed(carol), failed(bob)) == ([], ["corp-mta1"])
        assert [carol.end.state, bob.end.state] == ["delivered", "deferred"]

    def test_a_colleague_where_there_are_no_others(self) -> None:
        """Within the recipient's network a message may be stuck, too: its host had asked for the next one."""
        wire = Wire()
        wire.sends("isp-a1", "rcpt-mx1", content=message(), queued="Q1")
        wire.finds("rcpt-mx1", "store.example.org", "rcpt-mda")
        wire.fails("rcpt-mx1", "rcpt-mda")
        (journey,) = read(wire)
        assert failed(journey) == ["rcpt-mda"]
        assert (journey.end.state, journey.end.host) == ("deferred", "rcpt-mx1")

    def test_refused_for_good(self) -> None:
        """A second message with the same envelope has its own refusal; the first one was done with."""
        wire = Wire()
        for number in (1, 2):
            submitted(wire, number)
            wire.sends("corp-msa", "rcpt-mx1", content=b"", rcpt="550 5.1.1 no such user")
        assert [failed(journey) for journey in read(wire)] == [["rcpt-mx1"], ["rcpt-mx1"]]

    def test_a_recipient_that_was_never_taken(self) -> None:
        """What a server refused it does not try to pass on."""
        wire = Wire()
        replies = {DAVE: "550 5.1.1 no such user"}
        content = message()
        wire.sends("alice", "corp-msa", port=587, content=content, to=(BOB, DAVE), rcpt=replies, queued="Q1")
        submitted(wire, 2, to=DAVE)
        wire.sends("corp-msa", "rcpt-mx1", content=b"", to=DAVE, rcpt="450 4.2.0 later")
        _, refused, taken = read(wire)
        assert [failed(refused), failed(taken)] == [["corp-msa"], ["rcpt-mx1"]]

    def test_given_up(self) -> None:
        """Once a host has told the sender that it gave up, what it tries is for other messages."""
        wire = Wire()
        submitted(wire, 1)
        sent_on(wire, 1)
        wire.sends("corp-mta1", "isp-a1", content=b"", rcpt="450 4.2.0 later")
        content = notice("<1@example.com>", BOB)
        wire.sends("corp-mta1", "corp-msa", content=content, sender="", to=ALICE, queued="N1")
        submitted(wire, 2)
        sent_on(wire, 2)
        wire.sends("corp-mta1", "isp-a1", content=b"", rcpt="450 4.2.0 later")
        lost, _, waits = read(wire)
        assert (failed(lost), failed(waits)) == (["isp-a1"], ["isp-a1"])

    def test_other_sender(self) -> None:
        """A refusal belongs to no message of another sender's: it is a journey of its own."""
        wire = Wire()
        submitted(wire, 1)
        wire.sends("corp-msa", "rcpt-mx1", content=b"", sender=CAROL, rcpt="450 4.2.0 later")
        assert [(journey.sender, failed(journey)) for journey in read(wire)] == [
            (ALICE, []),
            (CAROL, ["rcpt-mx1"]),
        ]


class TestWhichOne:
    def test_the_one_idle_longest(self) -> None:
        """Of messages with the same envelope each gets its turn."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2)
        for _ in range(4):
            wire.tick(500)
            wire.sends("corp-msa", "rcpt-mx1", content=b"", rcpt="450 4.2.0 later")
        assert [len(failed(journey)) for journey in read(wire)] == [2, 2]

    def test_connections_in_turn(self) -> None:
        """Connections that fail are shared out likewise, and go on past the next exchanger."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2)
        for _ in range(4):
            wire.tick(500)
            wire.finds("corp-msa", "example.org", "rcpt-mx1", "rcpt-mx2")
            wire.fails("corp-msa", "rcpt-mx1")
            wire.asks("corp-msa", HOSTS["rcpt-mx2"][1], "A", HOSTS["rcpt-mx2"][0])
            wire.fails("corp-msa", "rcpt-mx2")
        assert [failed(journey) for journey in read(wire)] == [["rcpt-mx1", "rcpt-mx2"] * 2] * 2

    def test_exchangers_one_after_the_other(self) -> None:
        """In whatever order, the next exchanger is tried for the message that the one before failed."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2)
        for servers in (("rcpt-mx2", "rcpt-mx1"), ("rcpt-mx2", "rcpt-mx1"), ("rcpt-mx1", "rcpt-mx2")):
            wire.tick(500)
            wire.asks("corp-msa", "example.org", "MX", *(f"10 {HOSTS[server][1]}." for server in servers))
            for server in servers:
                wire.asks("corp-msa", HOSTS[server][1], "A", HOSTS[server][0])
                wire.fails("corp-msa", server)
        wire.tick(500)
        wire.finds("corp-msa", "example.org", "rcpt-mx2")
        sent_on(wire, 1, "rcpt-mx2")
        one, two = read(wire)
        assert failed(one) == ["rcpt-mx2", "rcpt-mx1", "rcpt-mx1", "rcpt-mx2"]
        assert failed(two) == ["rcpt-mx2", "rcpt-mx1"]

    def test_the_next_exchanger_of_which(self) -> None:
        """The message that is taken by the next exchanger is not the one that fails there meanwhile."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2)
        wire.finds("corp-msa", "example.org", "rcpt-mx1", "rcpt-mx2")
        wire.fails("corp-msa", "rcpt-mx1")
        wire.fails("corp-msa", "rcpt-mx1")
        wire.asks("corp-msa", HOSTS["rcpt-mx2"][1], "A", HOSTS["rcpt-mx2"][0])
        lasting = wire.fails("corp-msa", "rcpt-mx2", "unanswered")
        sent_on(wire, 1, "rcpt-mx2")
        lasting.connection.last_ns = wire.tick()
        assert [failed(journey) for journey in read(wire)] == [["rcpt-mx1"], ["rcpt-mx1", "rcpt-mx2"]]

    @pytest.mark.parametrize(("sender", "to"), [(CAROL, BOB), (ALICE, DAVE)])
    def test_refused_by_the_next_exchanger(self, sender: str, to: str) -> None:
        """An envelope tells more than what went before: the message of another one is not meant."""
        wire = Wire()
        submitted(wire, 1)
        wire.sends("alice", "corp-msa", port=587, content=message(), sender=sender, to=to, queued="Q2")
        wire.finds("corp-msa", "example.org", "rcpt-mx1", "rcpt-mx2")
        wire.fails("corp-msa", "rcpt-mx1")
        wire.asks("corp-msa", HOSTS["rcpt-mx2"][1], "A", HOSTS["rcpt-mx2"][0])
        wire.sends("corp-msa", "rcpt-mx2", content=b"", sender=sender, to=to, rcpt="450 4.2.0 later")
        assert [failed(journey) for journey in read(wire)] == [["rcpt-mx1"], ["rcpt-mx2"]]

    def test_two_connections_at_once(self) -> None:
        """A message may be refused to one recipient while it is under way to another."""
        wire = Wire()
        submitted(wire, 1, to=(BOB, "x@example.net"))
        refused = wire.sends("corp-msa", "rcpt-mx1", content=b"", rcpt="450 4.2.0 later")
        sent_on(wire, 1, "isp-a1", to="x@example.net")
        reply = refused.transactions[0].recipients[0].exchange
        late = reply._replace(reply=wire.reply("450 4.2.0 later"))
        refused.transactions[0].recipients[0].exchange = late
        bob, other = read(wire)
        assert (failed(bob), failed(other)) == (["rcpt-mx1"], [])

    def test_those_that_are_done_with(self) -> None:
        """A connection that fails later was not for a recipient that a server had taken before."""
        wire = Wire()
        submitted(wire, 1, to=(BOB, DAVE))
        wire.finds("corp-msa", "example.org", "rcpt-mx1")
        replies = {DAVE: "450 4.2.0 later"}
        content = message(("corp-msa", "Q1"))
        wire.sends("corp-msa", "rcpt-mx1", content=content, to=(BOB, DAVE), rcpt=replies, queued="X1")
        wire.tick(500)
        wire.finds("corp-msa", "example.org", "rcpt-mx1")
        lost = wire.fails("corp-msa", "rcpt-mx1")
        bob, dave = read(wire)
        assert [hop.reached for hop in bob.hops] == ["accepted", "accepted"]
        assert [hop.reached for hop in dave.hops] == ["accepted", "deferred", "unreachable"]
        assert dave.hops[-1].attempt is not None
        assert dave.hops[-1].attempt.frame == lost.connection.frame

    def test_nothing_was_done_for_it_meanwhile(self) -> None:
        """A message that went elsewhere while a connection was being tried is not the one it was for."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2)
        wire.finds("corp-msa", "example.org", "rcpt-mx1", "rcpt-mx2")
        lasting = wire.fails("corp-msa", "rcpt-mx1", "unanswered")
        wire.asks("corp-msa", HOSTS["rcpt-mx2"][1], "A", HOSTS["rcpt-mx2"][0])
        sent_on(wire, 1, "rcpt-mx2")
        lasting.connection.last_ns = wire.tick()
        sent_on(wire, 2, "rcpt-mx2")
        assert [failed(journey) for journey in read(wire)] == [[], ["rcpt-mx1"]]

    def test_by_route(self) -> None:
        """A connection was for the message to the domain by whose MX its server was found."""
        wire = Wire()
        submitted(wire, 1)
        submitted(wire, 2, to="x@example.net")
        wire.finds("corp-msa", "example.net", "isp-a1")
        wire.fails("corp-msa", "isp-a1")
        wire.finds("corp-msa", "example.org", "rcpt-mx1")
        wire.fails("corp-msa", "rcpt-mx1")
        assert [failed(journey) for journey in read(wire)] == [["rcpt-mx1"], ["isp-a1"]]

    def test_by_the_route_of_others(self) -> None:
        """A smarthost is known as a domain's route once anything for that domain went there."""
        wire = Wire()
        submitted(wire, 1, to=CAROL)
        wire.finds("corp-msa", HUB, "corp-mta1")
        submitted(wire, 2)
        wire.finds("corp-msa", HUB, "corp-mta1")
        sent_on(wire, 2)
        submitted(wire, 3)
        wire.finds("corp-msa", HUB, "corp-mta1")
        wire.fails("corp-msa", "corp-mta1")
        assert [failed(journey) for journey in read(wire)] == [[], [], ["corp-mta1"]]

    def test_address_literal(self) -> None:
        """Mail to an address literal is tried there without asking DNS."""
        wire = Wire()
        wire.asks("corp-msa", "corp-dns.example.com", "A", HOSTS["corp-dns"][0])
        submitted(wire, 1)
        submitted(wire, 2, to="bob@[198.18.2.10]")
        wire.fails("corp-msa", "rcpt-mx1")
        assert [failed(journey) for journey in read(wire)] == [[], ["rcpt-mx1"]]

    def test_others_ask_in_between(self) -> None:
        """What another message's turn asks between a lookup and its connection does not hide the route."""
        wire = Wire()
        submitted(wire, 1)
        wire.finds("corp-msa", "example.org", "rcpt-mx1")
        wire.asks("corp-msa", "example.org", "MX", "10 rcpt-mx1.example.org.")
        wire.fails("corp-msa", "rcpt-mx1")
        (journey,) = read(wire)
        assert failed(journey) == ["rcpt-mx1"]


class TestBeforeItWasSeen:
    def test_a_notice_that_was_tried_elsewhere_first(self) -> None:
        """A connection that failed for a notice is the notice's, not that of the message it reports on."""
        wire = Wire()
        submitted(wire, 1, to="x@nowhere.example")
        sent_on(wire, 1, "isp-a1", to="x@nowhere.example")
        wire.asks("isp-a1", "nowhere.example", "MX", rcode="NXDOMAIN")
        wire.finds("isp-a1", "example.com", "corp-mta1", "corp-mta2")
        wire.fails("isp-a1", "corp-mta1")
        wire.asks("isp-a1", HOSTS["corp-mta2"][1], "A", HOSTS["corp-mta2"][0])
        content = notice("<1@example.com>", "x@nowhere.example")
        wire.sends("isp-a1", "corp-mta2", content=content, sender="", to=ALICE, queued="N1")
        lost, told = read(wire)
        assert (failed(lost), lost.end.state) == ([], "bounced")
        assert [(hop.server and hop.server.host, hop.reached) for hop in told.hops] == [
            ("corp-mta1", "unreachable"),
            ("corp-mta2", "accepted"),
        ]
        assert told.hops[1].again
        assert told.hops[1].waited_ns is not None
        assert (told.path, told.queued) == (("isp-a1", "corp-mta2"), ("corp-mta2", "N1"))

    def test_a_notice_that_was_deferred(self) -> None:
        """So is a refusal for now of its envelope; one for good is another message's."""
        wire = Wire()
        for reply in ("550 5.7.1 no", "450 4.7.1 greylisted", "250 2.1.5 Ok"):
            wire.finds("isp-a1", "example.com", "corp-mta1")
            wire.sends("isp-a1", "corp-mta1", content=message(), sender="", to=ALICE, rcpt=reply)
        refused, told = read(wire)
        assert [hop.reached for hop in refused.hops] == ["refused"]
        assert [hop.reached for hop in told.hops] == ["deferred", "accepted"]

    def test_a_mail_program(self) -> None:
        """What somebody sends after a failure need not be what failed: an address is no route."""
        wire = Wire()
        wire.asks("alice", HOSTS["corp-msa"][1], "A", HOSTS["corp-msa"][0])
        wire.fails("alice", "corp-msa")
        submitted(wire, 1)
        (journey,) = read(wire)
        assert failed(journey) == []


class TestNoMail:
    @pytest.mark.parametrize("replies", [("220 mx",), ("220 mx", "250 mx")])
    def test_a_look_at_a_server(self, replies: Sequence[str]) -> None:
        """Who connects and says good-bye was not there for a message."""
        wire = Wire()
        submitted(wire, 1)
        wire.fails("corp-msa", "rcpt-mx1", "closed", *replies).quit = True
        (journey,) = read(wire)
        assert failed(journey) == []

    @pytest.mark.parametrize(
        ("replies", "goodbye", "reached"),
        [
            (("220 mx", "421 4.3.2 shutting down"), True, "deferred"),
            (("220 mx", "554 5.7.1 go away"), True, "refused"),
            (("554 5.7.1 go away",), True, "unreachable"),
            (("220 mx",), False, "broken"),
        ],
    )
    def test_a_session_that_did_not_come_to_mail(
        self, replies: Sequence[str], goodbye: bool, reached: str
    ) -> None:
        """A session that was refused or broke before MAIL was; the refusal is what decided it."""
        wire = Wire()
        submitted(wire, 1)
        wire.fails("corp-msa", "rcpt-mx1", "closed", *replies).quit = goodbye
        (journey,) = read(wire)
        last = journey.hops[-1]
        assert last.reached == reached
        assert str(last.reply or "") == (replies[-1] if goodbye else "")

    def test_an_address_that_was_asked_for(self) -> None:
        """Who asks whether an address is there, and sends nothing, has no mail."""
        wire = Wire()
        session = wire.sends("isp-a1", "rcpt-mx1", content=b"", queued="Q1")
        transaction = session.transactions[0]
        transaction.data = transaction.content = transaction.reply = None
        session.quit = True
        assert read(wire) == []
        session.quit = False
        (broken,) = read(wire)
        assert broken.hops[0].reached == "broken"
