"""How the message is built (RFC 2045, RFC 2046), and what is attached."""

from __future__ import annotations

import re

from services.filters.spam.examined import Examined
from services.filters.spam.rules.rule import Rule, rule, shown

RULES: list[Rule] = []

_EXECUTABLE = re.compile(
    r"\.(?:exe|scr|pif|com|bat|cmd|vbs|vbe|js|jse|wsf|wsh|hta|lnk|msi|jar|cpl|ps1|reg|chm|iso|img)\s*$",
    re.IGNORECASE,
)
_DOUBLE = re.compile(
    r"\.(?:pdf|docx?|xlsx?|pptx?|jpe?g|png|gif|txt|zip|html?|mp[34])\s*\.[a-z0-9]{2,4}\s*$", re.IGNORECASE
)
_WORDS = re.compile(r"\w{4,}")


@rule(RULES, "HTML_ONLY", 0.9, "It is HTML alone, without plain text beside it")
def html_only(message: Examined) -> str | None:
    types = {part.content_type for part in message.message.texts}
    return "text/html" if types == {"text/html"} else None


@rule(RULES, "BASE64_TEXT", 1.3, "Its text is hidden in base64 though it is plain ASCII")
def base64_text(message: Examined) -> str | None:
    for part in message.message.texts:
        if part.encoding == "base64" and part.data and part.data.isascii():
            return part.content_type
    return None


@rule(RULES, "MIME_BROKEN", 1.0, "It is not built as MIME wants it")
def mime_broken(message: Examined) -> str | None:
    defects = [defect for defect in message.message.defects if "more than" not in defect]
    return "; ".join(defects) or None


@rule(RULES, "MIME_EXCESSIVE", 1.5, "It has more parts, or nests them deeper, than anybody needs")
def mime_excessive(message: Examined) -> str | None:
    return "; ".join(defect for defect in message.message.defects if "more than" in defect) or None


@rule(RULES, "MIME_NO_VERSION", 0.4, "It has parts, but does not say that it is MIME")
def mime_no_version(message: Examined) -> str | None:
    whole = message.message
    built = whole.containers and whole.containers[0].startswith("multipart/")
    return whole.containers[0] if built and not message.values("MIME-Version") else None


@rule(RULES, "UNKNOWN_ENCODING", 1.0, "A part has a transfer encoding that does not exist")
def unknown_encoding(message: Examined) -> str | None:
    return next((shown(part.encoding) for part in message.message.parts if not part.known_encoding), None)


@rule(RULES, "UNKNOWN_CHARSET", 0.9, "Its text has a charset that does not exist")
def unknown_charset(message: Examined) -> str | None:
    for part in message.message.texts:
        if part.charset is None:
            return shown(part.parameters.get("charset", ""))
    return None


@rule(RULES, "WRONG_CHARSET", 0.5, "Its text is not in the charset that it names")
def wrong_charset(message: Examined) -> str | None:
    for part in message.message.texts:
        named = part.parameters.get("charset")
        if named and part.charset in ("utf-8", "ascii"):
            try:
                # A long part is cut, perhaps within a character.
                part.data[:-4].decode(part.charset) if len(part.data) > 200_000 else part.data.decode(
                    part.charset
                )
            except UnicodeDecodeError:
                return shown(named)
    return None


@rule(RULES, "ALTERNATIVES_DIFFER", 1.2, "Its plain text and its HTML have little in common")
def alternatives_differ(message: Examined) -> str | None:
    if "multipart/alternative" not in message.message.containers or not message.message.html:
        return None
    plain = set(_WORDS.findall(message.message.plain[:20_000].lower()))
    shown_words = set(_WORDS.findall(message.markup.text[:20_000].lower()))
    if len(plain) < 5 or len(shown_words) < 5:
        return None
    common = len(plain & shown_words) / min(len(plain), len(shown_words))
    return f"{common:.0%} of the words" if common < 0.2 else None


@rule(RULES, "EMPTY_ALTERNATIVE", 0.7, "The plain text beside its HTML is empty")
def empty_alternative(message: Examined) -> str | None:
    if "multipart/alternative" not in message.message.containers or not message.message.html:
        return None
    return None if message.message.plain.strip() else "nothing in text/plain"


@rule(RULES, "EXECUTABLE", 2.5, "A program is attached")
def executable(message: Examined) -> str | None:
    return next(
        (shown(part.filename) for part in message.message.parts if _EXECUTABLE.search(part.filename[-200:])),
        None,
    )


@rule(
    RULES,
    "DOUBLE_EXTENSION",
    1.5,
    "The name of an attachment has two extensions, of which the first deceives",
)
def double_extension(message: Examined) -> str | None:
    for part in message.message.parts:
        name = part.filename[-200:]
        if _DOUBLE.search(name) and not name.lower().endswith((".gz", ".zip", ".asc", ".sig", ".p7m")):
            return shown(name)
    return None


@rule(RULES, "NAME_TURNED_ROUND", 2.0, "The name of an attachment has characters that turn the writing round")
def name_turned_round(message: Examined) -> str | None:
    for part in message.message.parts:
        if re.search("[\u202a-\u202e\u2066-\u2069]", part.filename):
            return shown(part.filename)
    return None


@rule(RULES, "EMPTY", 0.8, "There is nothing to read in it")
def empty(message: Examined) -> str | None:
    if any(part.is_attachment for part in message.message.parts) or message.markup.images:
        return None
    return None if message.text.strip() else "no text"


@rule(RULES, "BARELY_TEXT", 1.0, "It is an image with hardly any text beside it")
def barely_text(message: Examined) -> str | None:
    length = len(" ".join(message.text.split()))
    large = [image for image in message.markup.images if image.width not in ("0", "1")]
    return f"{length} characters, {len(large)} images" if large and length < 120 else None
