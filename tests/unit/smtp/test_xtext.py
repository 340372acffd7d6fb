"""xtext, and the addresses of original recipients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.smtp.xtext import (
    decoded,
    encoded,
    is_original_recipient,
    is_xtext,
    on_the_wire,
    original_recipient,
    seven_bit,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("QQ314159", "QQ314159", id="nothing to decode"),
        pytest.param("a+2Bb+3Dc+20d", "a+b=c d", id="plus, equals, space"),
        pytest.param("a+2bb", "a+2bb", id="lower case is no xtext: as it came"),
        pytest.param("a+", "a+", id="cut off: as it came"),
        pytest.param("a+0D+0AX-Forged:+20y", "a+0D+0AX-Forged:+20y", id="what would be a line of its own"),
        pytest.param("a+FF", "a+FF", id="no ASCII"),
    ],
)
def test_decoding(text: str, expected: str) -> None:
    """What cannot stand on a line of a report stays encoded."""
    assert decoded(text) == expected


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_there_and_back(text: str) -> None:
    """Whatever printable ASCII is encoded is xtext, and decodes to itself."""
    assert is_xtext(encoded(text))
    assert decoded(encoded(text)) == text


@pytest.mark.parametrize(
    ("orcpt", "expected"),
    [
        pytest.param("rfc822;bob@example.org", ("rfc822", "bob@example.org"), id="plain"),
        pytest.param("rfc822;bob+2Btag@example.org", ("rfc822", "bob+tag@example.org"), id="xtext"),
        pytest.param(r"utf-8;b\x{F8}b@example.org", ("utf-8", "bøb@example.org"), id="embedded"),
        pytest.param("utf-8;bøb@example.org", ("utf-8", "bøb@example.org"), id="as it is"),
        pytest.param(r"utf-8;a\x{2B}b\x{5C}@x", ("utf-8", r"a+b\@x"), id="ASCII that must be embedded"),
        pytest.param(r"utf-8;a\x{0A}b@x", ("utf-8", r"a\x{0A}b@x"), id="a line feed"),
        pytest.param(r"utf-8;a\x{FFFFFF}b@x", ("utf-8", r"a\x{FFFFFF}b@x"), id="no code point"),
    ],
)
def test_original_recipients(orcpt: str, expected: tuple[str, str]) -> None:
    """An original recipient is its type and its address, decoded as the type says."""
    assert is_original_recipient(orcpt)
    assert original_recipient(orcpt) == expected


@pytest.mark.parametrize(
    "text",
    [
        "bob@example.org",
        "rfc822;",
        ";bob@x",
        "rfc822;b ob@x",
        "rfc822;b=b@x",
        "rfc822;bøb@x",
        "utf-8;a=b@x",
        "r f;x",
    ],
)
def test_no_original_recipients(text: str) -> None:
    """A type, a semicolon and an address are needed, and no character that ends the parameter."""
    assert not is_original_recipient(text)


@pytest.mark.parametrize(
    ("orcpt", "expected"),
    [
        ("utf-8;bøb@example.org", r"utf-8;b\x{F8}b@example.org"),
        (r"utf-8;b\x{F8}b@example.org", r"utf-8;b\x{F8}b@example.org"),
        ("rfc822;bob+2Bx@example.org", "rfc822;bob+2Bx@example.org"),
    ],
)
def test_on_the_wire(orcpt: str, expected: str) -> None:
    """An original recipient is passed on in ASCII, and otherwise as it came."""
    assert on_the_wire(orcpt) == expected


@given(st.text(st.characters(min_codepoint=0x21, exclude_categories=["C", "Z"]), min_size=1))
def test_seven_bits_and_back(address: str) -> None:
    """Without letters beyond ASCII an address is still the same one."""
    orcpt = f"utf-8;{seven_bit(address)}"
    assert orcpt.isascii()
    assert is_original_recipient(orcpt)
    assert original_recipient(orcpt)[1] == address
