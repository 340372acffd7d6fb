"""The journey of each message, read from the capture alone.

conversations, lookups, smtp      what crossed the wire, protocol by protocol       (captures)
linking                           sessions that carried the same message, host by host
attribution, routes               whose an attempt was that shows no message
questions, presence               which lookups lie behind a hop
reading, hops, places, notices    hops, lookups, letters and the end of each journey
fetches                           who has read the message, over IMAP
model, document                   what is known of a journey, and its JSON (mailbed.journey/1)
steps, rounds, text               the same as an account in the letters A to G
"""

from __future__ import annotations

from captures.journeys.document import SCHEMA, document
from captures.journeys.model import (
    Attempt,
    Check,
    End,
    Fetch,
    Hop,
    Journey,
    Journeys,
    Notice,
    Place,
    Reached,
    Rule,
    State,
    Verdict,
)
from captures.journeys.reading import read_journeys

__all__ = [
    "Attempt",
    "Check",
    "End",
    "Fetch",
    "Hop",
    "Journey",
    "Journeys",
    "Notice",
    "Place",
    "Reached",
    "Rule",
    "SCHEMA",
    "State",
    "Verdict",
    "document",
    "read_journeys",
]
