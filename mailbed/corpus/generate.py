"""The corpus: which messages there are, who sends them, and which way.

    messages = corpus(seed=7, now=time.time())      720 of them, half for training
    write(messages, Path("corpus"))                 corpus/training/spam/0001.eml …

    python -m mailbed.corpus --seed 7 corpus

Theory of operation. Each message has a random generator of its own, keyed by seed, use, category and number:
more messages do not change those that are there. Equal messages are not made twice. What a message is, is
known by the directory it lies in and by nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from email.headerregistry import Address
from pathlib import Path
from typing import Literal, get_args

from mailbed.corpus import composing
from mailbed.corpus.composing import PEOPLE, SENDERS_TO_MANY, SPAMMERS, Text
from mailbed.corpus.templates import Template, templates
from mailbed.corpus.wording import Wording
from mailbed.errors import UsageError

Category = Literal["personal", "list", "newsletter", "spam", "phishing", "malware"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
HAM: tuple[Category, ...] = ("personal", "list", "newsletter")
Use = Literal["training", "testing"]

Way = Literal["account", "list", "open relay", "bulk"]

LISTS = tuple(f"{name}@lists.example.net" for name in ("friends", "choir", "chess"))
"""As most lists are; and with the list as author, and with a seal, against what that breaks."""
EACH = 60
"""Messages of each category for each use."""

_PEOPLE = (("Alice", "Müller", "alice@example.com"), ("Carol", "Novak", "carol@example.com"))
_BULK = (("newsletter", "example.edu"), ("news", "example.gov"), ("shop", "example.edu"))
_READERS = (("Bob", "bob@example.org"), ("Dave", "dave@example.org"))
_FORGED = ("{first}.{last}@example.{edu|gov}", "{first}{number}@mallory.example.net", "{last}@{shady}")
_SURNAMES = ("Smith", "Brown", "Garcia", "Okoro", "Ivanov", "Martin", "Weber", "Chen", "Silva", "Haddad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A message and what it is; `sender` is its reverse-path, `way` how it is to be sent to `recipient`."""

    category: Category
    use: Use
    number: int
    sender: str
    recipient: str
    way: Way
    content: bytes

    @property
    def is_ham(self) -> bool:
        """Whether a filter is to let it pass."""
        return self.category in HAM

    @property
    def path(self) -> str:
        """Where it lies below a corpus's directory."""
        return f"{self.use}/{self.category}/{self.number:04d}.eml"


def corpus(*, seed: int, now: float, each: int = EACH) -> list[Labelled]:
    """Return `each` messages of each category for training, and as many for testing, no two alike.

    They are dated before `now` (seconds since 1970).
    """
    found = []
    for use in get_args(Use):
        for category in CATEGORIES:
            seen: set[bytes] = set()
            number = draw = 0
            while number < each:
                made = _labelled(category, use, number, random.Random(f"{seed}/{use}/{category}/{draw}"), now)
                draw += 1
                said = made.content.partition(b"\r\n\r\n")[2]
                if said not in seen or draw > 50 * each:
                    seen.add(said)
                    found.append(made)
                    number += 1
    return found


def write(messages: Iterable[Labelled], directory: Path) -> int:
    """Write a file for each message below a directory that is new or empty; return how many.

    Raises: UsageError, OSError.
    """
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty: name a new directory")
    count = 0
    for message in messages:
        file = directory / message.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(message.content)
        count += 1
    return count


def _labelled(category: Category, use: Use, number: int, rng: random.Random, now: float) -> Labelled:
    template = rng.choice(templates(use, category))
    reader, recipient = rng.choice(_READERS)
    author, sender, way = _author(category, rng)
    if category == "list":
        recipient = LISTS[number % len(LISTS)]
    text = _said(template, category, rng, to=reader, author=author.display_name)
    programs = (
        PEOPLE if category in ("personal", "list") else SENDERS_TO_MANY if category in HAM else SPAMMERS
    )
    to = str(Address(reader, addr_spec=recipient)) if category != "list" else recipient
    message = composing.composed(text, author, to, rng.choice(programs), rng=rng, now=now)
    name = Wording(rng, {}).filled("{$file}{|-{$order}}")
    if category == "malware":
        composing.attach_malware(message, name, rng)
    elif rng.random() < (0.15 if category in HAM else 0.03):
        composing.attach_document(message, name, rng)
    if category == "newsletter":
        message["List-Unsubscribe"] = f"<mailto:leave@{author.domain}>"
    return Labelled(
        category=category,
        use=use,
        number=number,
        sender=sender,
        recipient=recipient,
        way=way,
        content=composing.finished(message, rng),
    )


def _author(category: Category, rng: random.Random) -> tuple[Address, str, Way]:
    """Return who it says it is from, the reverse-path, and the way it takes."""
    if category in ("personal", "list"):
        first, last, address = rng.choice(_PEOPLE)
        return (
            Address(f"{first} {last}", addr_spec=address),
            address,
            "list" if category == "list" else "account",
        )
    wording = Wording(rng, {})
    if category == "newsletter":
        local, domain = rng.choice(_BULK)
        address = f"{local}@{domain}"
        return Address(wording.filled("{$shop}"), addr_spec=address), f"bounces@{domain}", "bulk"
    first, last = wording.filled("{$friend}"), rng.choice(_SURNAMES)
    if category == "phishing" and rng.random() < 0.5:
        # In the name of the company itself: what SPF, DKIM and DMARC are there for.
        name = rng.choice(("IT Support", "Help Desk", "Alice Müller", "Accounts"))
        address = rng.choice(("support@example.com", "helpdesk@example.org", "alice@example.com"))
        return Address(name, addr_spec=address), address, "open relay"
    pattern = (
        rng.choice(_FORGED).replace("{number}", str(rng.randrange(10, 99))).replace("{shady}", "{$shady}")
    )
    local = pattern.replace("{first}", first.lower()).replace("{last}", last.lower())
    address = wording.filled(local)
    return Address(f"{first} {last}", addr_spec=address), address, "open relay"


def _said(template: Template, category: Category, rng: random.Random, *, to: str, author: str) -> Text:
    good = rng.choice(("example.com", "example.org", "shop.example", "lists.example.net", "mail.example"))
    bad = category not in HAM
    values = {"to": to, "me": author.partition(" ")[0], "genuine": good, "link": "\0"}
    wording = Wording(rng, values | ({"shop": author} if category == "newsletter" else {}))
    host = wording.filled("{$shady}") if bad else f"www.{good}"
    path = wording.filled("{|a/|p/|go/}{|?id=}") + f"{rng.getrandbits(32):x}"
    return Text(
        subject=wording.filled(template.subject),
        body=wording.filled(template.text).replace("\0", "{link}"),
        link=wording.filled(template.link),
        url=f"http{'' if bad and rng.random() < 0.6 else 's'}://{host}/{path}" if template.link else "",
    )
