"""Test vectors of others, checked through our DNS: authoritative server, resolver and stub on loopback."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from services.filters.authentication import Authentication, Result, authenticate
from services.filters.signing import Signer
from tests.unit.filters.keys import published, signing_key
from tests.unit.filters.nameserver import DEAD, owner, quoted, resolver

VECTORS = Path(__file__).parent / "vectors"
SCENARIOS: list[dict[str, Any]] = json.loads((VECTORS / "rfc7208-tests.json").read_text(encoding="utf-8"))
SPF = [(number, name) for number, scenario in enumerate(SCENARIOS) for name in scenario["tests"]]


def lines(zonedata: dict[str, list[Any]]) -> Iterator[str]:
    """A scenario's zone data as master-file lines.

    As its own driver does it: what is given as SPF (type 99) stands as TXT, unless there is TXT; a name that
    has nothing but a time-out is one for which no server answers.
    """
    for name, records in zonedata.items():
        known = [(rtype, data) for record in records if record != "TIMEOUT" for rtype, data in record.items()]
        stands = "SPF" if any(rtype == "TXT" for rtype, _ in known) else "TXT"
        served = [(stands if rtype == "SPF" else rtype, data) for rtype, data in known]
        kept = [(rtype, data) for rtype, data in served if rtype != "SPF" and data != "NONE"]
        if "TIMEOUT" in records and not kept:
            yield f"{owner(name)} 60 {DEAD}"
        for rtype, data in kept:
            yield f"{owner(name)} 60 {rtype} {_data(rtype, data)}"


def _data(rtype: str, data: Any) -> str:
    if rtype == "TXT":
        return " ".join(map(quoted, [data] if isinstance(data, str) else data or [""]))
    if rtype == "MX":
        preference, host = data
        return f"{preference} {owner(host)}"
    return owner(data) if rtype in ("CNAME", "PTR") else str(data)


@cache
def judged(number: int) -> dict[str, Result]:
    """SPF's result for each test of a scenario."""
    scenario = SCENARIOS[number]

    async def main() -> dict[str, Result]:
        with tempfile.TemporaryDirectory() as directory:
            async with resolver(Path(directory), lines(scenario["zonedata"])) as found:
                return {
                    name: (
                        await authenticate(
                            b"",
                            client=test["host"],
                            helo=test["helo"],
                            sender=test["mailfrom"],
                            resolver=found,
                            authserv_id="mx.example.org",
                            now=0,
                        )
                    ).spf
                    for name, test in scenario["tests"].items()
                }

    return asyncio.run(main())


@pytest.mark.parametrize(("number", "name"), SPF, ids=[f"{n}-{name}" for n, name in SPF])
def test_rfc_7208(number: int, name: str) -> None:
    """SPF comes to what the test suite says, or to one of the results that it leaves open."""
    test, found = SCENARIOS[number]["tests"][name], judged(number)[name]
    wanted = test["result"]
    assert found.result in ([wanted] if isinstance(wanted, str) else wanted), (test, found)
    if test.get("explanation", "DEFAULT") != "DEFAULT":
        assert found.reason == test["explanation"]


def lf_as_crlf(path: Path) -> bytes:
    """A message of the vectors as SMTP carries it."""
    return path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def with_keys(message: bytes, records: dict[str, str]) -> Authentication:
    """What is found about a message, with these TXT records in DNS."""

    async def main() -> Authentication:
        zone = [f"{owner(name)} 60 TXT {_strings(text)}" for name, text in records.items()]
        with tempfile.TemporaryDirectory() as directory:
            async with resolver(Path(directory), zone) as found:
                return await authenticate(
                    message,
                    client="198.18.0.1",
                    helo="x.example",
                    sender="",
                    resolver=found,
                    authserv_id="mx.example.org",
                    now=0,
                )

    return asyncio.run(main())


def _strings(text: str) -> str:
    return " ".join(quoted(text[at : at + 255]) for at in range(0, len(text), 255))


@pytest.mark.parametrize(
    ("file", "results"),
    [
        ("rfc6376.signed.msg", [("pass", "brisbane"), ("pass", "test")]),
        ("rfc6376.signed.rsa.msg", [("pass", "test")]),
        # Their own tests expect these three not to verify.
        ("rfc6376.signed.no_t.msg", [("fail", "test")]),
        ("test.message.baddomain", [("permerror", "test")]),
        ("rfc6376.msg", []),
        # Signed by Exim.
        ("ed25519test2.msg", [("pass", "sed")]),
    ],
)
def test_messages_of_dkimpy(file: str, results: list[tuple[str, str]]) -> None:
    """Signatures by RSA and Ed25519, with keys that are looked up."""
    records = json.loads((VECTORS / "dkim-keys.json").read_text())
    found = with_keys(lf_as_crlf(VECTORS / file), records)
    assert [(one.result, one.selector) for one in found.dkim] == results


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize(
    "file", ["rfc6376.msg", "test.message", "test2.message", "test_extra.message", "ed25519test.msg"]
)
def test_what_we_sign_passes(file: str, kind: str) -> None:
    """Each message of theirs bears our signature to them."""
    message = lf_as_crlf(VECTORS / file)
    key = signing_key(_author(message), kind)
    (name, _), (record,) = published(key)
    field = Signer([key]).field(message, now=1_700_000_000)
    found = with_keys(field + message, {name: record})
    assert (found.dkim[0].result, found.dkim[0].selector) == ("pass", "lab")


def _author(message: bytes) -> str:
    """The domain in From."""
    (line,) = (line for line in message.split(b"\r\n") if line.lower().startswith(b"from:"))
    return line.rpartition(b"@")[2].strip(b"> ").decode().lower()
