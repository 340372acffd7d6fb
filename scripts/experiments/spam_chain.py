"""The spammer hides where his mail comes from; the packets know.

From `mallory`, in the name of a company's chief executive, a message goes through a chain of open relays to
frank, whose server has no content filter. It bears forged Received fields, as if it had come from inside that
company. What frank reads in the header is compared with the way that the packets show.

    python -m scripts.experiments.spam_chain                                by way of open-1 and open-2
    python -m scripts.experiments.spam_chain --via open-2 --forged 4
    python -m scripts.experiments.spam_chain --percent                      user%domain, not source routes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import format_datetime

from captures.journeys import Journey
from mailbed import Lab, journeys
from mailbed.cli.telling import of_message, tell
from mailbed.errors import MailbedError, UsageError

CHIEF, FRANK, SPAMMER = "ceo@example.com", "frank@lab.example.org", "mallory"
_INSIDE = ("corp-mta1", "corp-hub", "corp-msa", "alice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the header says and what the packets say of one message; `state` is what came of it.

    `header` names the hosts that Received fields give, first to last; `true` those of the journey.
    """

    state: str
    header: tuple[str, ...]
    true: tuple[str, ...]
    journey: Journey

    @property
    def forged(self) -> tuple[str, ...]:
        """The hosts that the header names and that never had the message."""
        return tuple(host for host in self.header if host not in self.true)


def letter(forged: int, *, now: datetime) -> bytes:
    """Return the message, with so many forged Received fields: each host handed it to the one above."""
    stages = zip(_hosts(forged), _hosts(forged + 1)[1:], strict=False)
    fields = [
        f"Received: from {origin}.example.com ({origin}.example.com [10.1.0.{20 + number}])\r\n"
        f"\tby {taker}.example.com with ESMTPSA id FORGED{number:04}\r\n"
        f"\tfor <{FRANK}>; {format_datetime(now - timedelta(seconds=number + 1))}"
        for number, (taker, origin) in enumerate(stages)
    ]
    rest = (
        f"From: The Chief Executive <{CHIEF}>\r\nTo: <{FRANK}>\r\n"
        f"Subject: Urgent: an invoice to pay today\r\n"
        f"Date: {format_datetime(now)}\r\nMessage-ID: <urgent@example.com>"
    )
    return "\r\n".join([*fields, rest, "", "Pay at once, and tell nobody.", ""]).encode()


def _hosts(count: int) -> list[str]:
    return [*_INSIDE, *(f"pc{number}" for number in range(1, count + 1))][:count]


def account(lab: Lab, via: Sequence[str], *, forged: int = 2, percent: bool = False) -> Account:
    """Send the message through the chain; return what its header says of its way, and what is true."""
    message = letter(forged, now=datetime.now(UTC).replace(microsecond=0))
    sent = lab.send(message, sender=CHIEF, to=FRANK, host=SPAMMER, via=via, percent=percent)
    outcome = sent.wait()[FRANK]
    (journey,) = of_message(lab.journeys(), sent.host, sent.queue_id)
    header: tuple[str, ...] = ()
    if outcome.file:
        stored = lab.run / "hosts" / outcome.host / "mail" / outcome.file
        header = received_hosts(stored.read_bytes())
    return Account(state=outcome.state, header=header, true=journey.path, journey=journey)


def received_hosts(content: bytes) -> tuple[str, ...]:
    """Return the hosts that Received fields name, first to last, without their domains."""
    fields = [str(value).split() for value in reversed(message_from_bytes(content).get_all("Received", []))]
    names = [fields[0][1], *(words[words.index("by") + 1] for words in fields)] if fields else []
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names))


def main() -> int:
    """Run the experiment; return the exit status: 0 if the message arrived."""
    options = _options()
    via = [name for name in options.via.split(",") if name]
    try:
        if not via or not 0 <= options.forged <= 40:
            raise UsageError("name one relay at least with --via, and 0 to 40 fields with --forged")
        with Lab("two-companies", seed=options.seed) as lab:
            found = account(lab, via, forged=options.forged, percent=options.percent)
            tell([found.journey], lab.run)
        journeys.save(lab.run, journeys.read(lab.run), comment=True)
    except MailbedError as error:
        print(f"spam_chain: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    print(f"\nThe header says    {' → '.join(found.header) or 'nothing: it did not arrive'}")
    print(f"The packets say    {' → '.join(found.true)}")
    if found.forged:
        print(f"Never had it       {', '.join(found.forged)}: these Received fields are forged")
    print(f"It came from       {found.true[0]}, whatever it says")
    return 0 if found.state == "delivered" else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="spam_chain",
        description="A message with forged Received fields goes by open relays to frank.",
    )
    parser.add_argument(
        "--via", metavar="HOSTS", default="open-1,open-2", help="the relays, in order (open-1,open-2)"
    )
    parser.add_argument(
        "--forged", metavar="N", type=int, default=2, help="how many Received fields are forged (2)"
    )
    parser.add_argument(
        "--percent", action="store_true", help="write the chain as user%%domain, not as source routes"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="the lab's seed (1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
