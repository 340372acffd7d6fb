"""A classifier that is taught with spam and ham: tokens, and how their votes are combined.

Theory of operation. A message is a set of tokens: words, those of the subject, names of the hosts that it
links to, marks of its build. For each token it is known in how many spam and ham messages it stood. Its vote
is Robinson's f(w), the share of spam among the messages that have it, drawn towards a half where they are
few. The votes furthest from a half are combined by Fisher's method: if the tokens were drawn at random, how
likely is it that they would speak so clearly for spam, and how likely so clearly for ham? Where both
are unlikely, the message is neither and comes out near a half.

Sources: G. Robinson, "A Statistical Approach to the Spam Problem" (2003); SpamBayes' and SpamAssassin's
constants.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.filters.spam.examined import Examined, Taught

LEAST_TAUGHT = 20
"""So many of each kind must have been taught before anything is told."""

_UNKNOWN = 0.5
_STRENGTH = 0.45
_LEAST_DISTANCE = 0.1
_MOST_VOTES = 150
_MOST_TOKENS = 3000
_SHOWN = 5
_WORD = re.compile(r"[\w$€£%'@-]+")
_LONGEST_TEXT = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many messages of each kind were taught."""

    spam: int
    ham: int

    @property
    def enough(self) -> bool:
        """Whether anything can be told from them."""
        return min(self.spam, self.ham) >= LEAST_TAUGHT


def tokens(message: Examined) -> frozenset[str]:
    """Return what the classifier sees of a message.

    Nothing that a server wrote on the way is among it: else it would learn which way mail comes that was
    taught, not what it says.
    """
    found = set(_words("", message.text[:_LONGEST_TEXT]))
    found.update(_words("subject:", message.subject[:1000]))
    found.update(_words("from:", message.author[0][:200]))
    if message.author_domain:
        found.add(f"from:{message.author_domain}")
    for url in message.urls:
        found.add(f"url:{url.domain}")
        found.update(f"path:{piece}" for piece in re.findall(r"[a-z]{3,20}", url.path.lower()[:200]))
    found.update(f"type:{part.content_type}:{part.encoding}" for part in message.message.parts[:50])
    found.update(f"tag:{name}" for name in message.markup.tags)
    for name in ("List-Id", "List-Unsubscribe", "In-Reply-To", "Precedence", "Reply-To"):
        if message.values(name):
            found.add(f"has:{name.lower()}")
    found.update(_words("mailer:", (message.value("X-Mailer") or message.value("User-Agent"))[:200]))
    return frozenset(sorted(found)[:_MOST_TOKENS])


def _words(kind: str, text: str) -> set[str]:
    found = set()
    for word in _WORD.findall(text.lower()):
        word = word.strip("'-_")
        if 2 < len(word) <= 15:
            found.add(kind + word)
        elif len(word) > 15:
            found.add(f"{kind}long:{word[0]}{len(word) // 10 * 10}")
    return found


def digest(token: str) -> int:
    """Return the number that a token is kept under (64 bits, signed)."""
    octets = hashlib.blake2b(token.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(octets, "big", signed=True)


def classify(counts: Mapping[str, tuple[int, int]], totals: Totals) -> Taught | None:
    """Return what the tokens tell, given in how many spam and ham messages each stood.

    None: too few have been taught, or nothing in the message was ever seen.
    """
    if not totals.enough:
        return None
    votes = [(_vote(spam, ham, totals), token) for token, (spam, ham) in counts.items() if spam + ham]
    votes = [vote for vote in votes if abs(vote[0] - 0.5) >= _LEAST_DISTANCE]
    votes.sort(key=lambda vote: (-abs(vote[0] - 0.5), vote[1]))
    votes = votes[:_MOST_VOTES]
    if not votes:
        return None
    return Taught(
        probability=combine([vote for vote, _ in votes]),
        spammy=tuple(token for vote, token in votes if vote > 0.5)[:_SHOWN],
        hammy=tuple(token for vote, token in votes if vote < 0.5)[:_SHOWN],
    )


def _vote(spam: int, ham: int, totals: Totals) -> float:
    in_spam, in_ham = min(spam / totals.spam, 1.0), min(ham / totals.ham, 1.0)
    share, seen = in_spam / (in_spam + in_ham), spam + ham
    return (_STRENGTH * _UNKNOWN + seen * share) / (_STRENGTH + seen)


def combine(votes: list[float]) -> float:
    """Return the probability of spam, 0 to 1, that independent votes (each between 0 and 1) come to."""
    for_spam = 1.0 - chi_square_tail(-2.0 * sum(math.log(1.0 - vote) for vote in votes), 2 * len(votes))
    for_ham = 1.0 - chi_square_tail(-2.0 * sum(math.log(vote) for vote in votes), 2 * len(votes))
    return (for_spam - for_ham + 1.0) / 2.0


def chi_square_tail(value: float, freedom: int) -> float:
    """Return how likely chi-square is `value` or more, for an even number of degrees of freedom."""
    half = value / 2.0
    term = total = math.exp(-half)
    for number in range(1, freedom // 2):
        term *= half / number
        total += term
    return min(total, 1.0)
