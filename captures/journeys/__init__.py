"""The journey of each message, read from the capture alone.

conversations, lookups, smtp      what crossed the wire, protocol by protocol       (captures)
linking                           sessions that carried the same message, host by host
reading                           hops, lookups and the end of each journey
steps                             the same as an account in the letters A to G
model, document                   what is known of a journey, and its JSON (mailbed.journey/1)
checks                            what logs and `Received` fields say beside it
"""

from __future__ import annotations

from captures.journeys.document import SCHEMA, document
from captures.journeys.model import Attempt, Check, End, Hop, Journey, Journeys, Place, Reached
from captures.journeys.reading import read_journeys

__all__ = [
    "Attempt",
    "Check",
    "End",
    "Hop",
    "Journey",
    "Journeys",
    "Place",
    "Reached",
    "SCHEMA",
    "document",
    "read_journeys",
]
