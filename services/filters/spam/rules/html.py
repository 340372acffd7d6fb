"""What HTML shows, hides and pretends."""

from __future__ import annotations

import re

from services.filters.spam import urls
from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown

RULES: list[Rule] = []

_SHOWN_HOST = re.compile(
    r"\s*(?:https?://)?((?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,18})(?:[/:?#].*)?\s*", re.IGNORECASE | re.DOTALL
)
# Ends of file names that look like ends of hosts.
_FILES = (
    ".html",
    ".htm",
    ".pdf",
    ".txt",
    ".zip",
    ".doc",
    ".docx",
    ".jpg",
    ".png",
    ".gif",
    ".py",
    ".md",
    ".sh",
)


@rule(RULES, "HTML_HIDDEN_TEXT", 1.6, "There is text in it that its reader is not to see")
def hidden_text(message: Examined) -> str | None:
    hidden = " ".join(message.markup.hidden.split())
    return shown(hidden, 60) if len(hidden) >= 20 else None


@rule(RULES, "HTML_LINK_DECEIVES", 2.4, "A link shows one address and leads to another")
def link_deceives(message: Examined) -> str | None:
    for link in message.markup.links:
        text = link.text.strip()[:300]
        found = _SHOWN_HOST.fullmatch(text)
        target = urls.parse(link.target)
        if not found or not target or text.lower().endswith(_FILES):
            continue
        if target.is_address or urls.registered(found[1]) != urls.registered(target.host):
            return shown(f"{text} leads to {target.host}")
    return None


@rule(
    RULES, "HTML_TINY_IMAGE", 0.6, "An image too small to be seen tells its sender that the mail was opened"
)
def tiny_image(message: Examined) -> str | None:
    for image in message.markup.images:
        if image.width.strip() in ("0", "1", "1px") and image.height.strip() in ("0", "1", "1px"):
            return shown(image.source) or "an image"
    return None


@rule(RULES, "HTML_FORM", 1.4, "There is a form to be filled in")
def form(message: Examined) -> str | None:
    return shown(message.markup.form_target) or None


@rule(RULES, "HTML_PASSWORD", 1.6, "A form asks for a password")
def password(message: Examined) -> str | None:
    source = message.message.html
    return (
        "a password field"
        if re.search(r"<input\b[^<>]{0,300}\btype\s*=\s*[\"']?password", source, re.IGNORECASE)
        else None
    )


@rule(RULES, "HTML_SCRIPT", 1.2, "There is a program in it")
def script(message: Examined) -> str | None:
    tags = message.markup.tags
    return next((f"<{name}>" for name in ("script", "applet", "object", "embed") if name in tags), None)


@rule(RULES, "HTML_FRAME", 1.2, "It shows a page from elsewhere")
def frame(message: Examined) -> str | None:
    return next((f"<{name}>" for name in ("iframe", "frame") if name in message.markup.tags), None)


@rule(RULES, "HTML_REFRESH", 1.4, "It leads elsewhere by itself")
def refresh(message: Examined) -> str | None:
    return shown(message.markup.refreshes) or None


@rule(RULES, "HTML_SPLIT_WORDS", 1.6, "Words are cut into pieces by tags or comments that show nothing")
def split_words(message: Examined) -> str | None:
    count = message.markup.split_words
    return f"{count} words" if count >= 4 else None


@rule(RULES, "HTML_NEEDLESS_ENTITIES", 1.2, "Plain letters are written as numbers")
def needless_entities(message: Examined) -> str | None:
    count = message.markup.plain_entities
    return f"{count} characters" if count >= 10 else None


@rule(RULES, "HTML_LARGE_LETTERS", 0.5, "There are very large letters in it")
def large_letters(message: Examined) -> str | None:
    source = message.message.html
    found = re.search(
        r"font-size\s*:\s*(?:[4-9]\d|\d{3})(?:px|pt)|<font\b[^<>]{0,100}size\s*=\s*[\"']?\+?[5-9]",
        source,
        re.IGNORECASE,
    )
    return shown(found[0]) if found else None
