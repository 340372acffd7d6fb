"""The templates by category, read from `texts/`: some for training, others for testing.

=== training                          for what it is
Subject: {lunch|dinner} on {$day}?    in the notation of mailbed.corpus.wording
Link: Read more                       the text of the link, if there is one: {$link} is where it stands

Hi {$to},                             paragraphs, a line each, an empty line apart
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^=== (training|testing)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a message of its kind says; `link` is empty where there is none."""

    subject: str
    text: str
    link: str = ""


@cache
def templates(use: str, category: str) -> tuple[Template, ...]:
    """Return the templates of a category for `training` or `testing`."""
    text = (files("mailbed.corpus") / "texts" / f"{category}.txt").read_text(encoding="utf-8")
    _, *pieces = _HEAD.split(text)
    return tuple(_template(body) for head, body in zip(pieces[::2], pieces[1::2], strict=True) if head == use)


def _template(piece: str) -> Template:
    head, _, text = piece.partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return Template(subject=fields["Subject"], text=text.strip("\n"), link=fields.get("Link", ""))
