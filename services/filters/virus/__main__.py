"""`python -m services.filters.virus`: files and messages scanned, or the engine alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from services.errors import ServiceError
from services.filters.virus import engine
from services.filters.virus.limits import Limits
from services.filters.virus.scanner import Report, Scanner
from services.notices import StreamNotices

_EXAMPLES = """\
examples:
  python -m services.filters.virus message.eml invoice.zip
  python -m services.filters.virus - < message.eml             a message from standard input
  python -m services.filters.virus --signatures DIR --json *.eml
  python -m services.filters.virus --serve engine.toml         clamd's protocol, until SIGINT

exit status: 0 nothing found, 1 something found, 2 something could not be read
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan, or serve until SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.filters.virus",
        description="Scan messages and files for malware, with all that they hold.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a message or any file; - is standard input")
    parser.add_argument("--signatures", type=Path, metavar="DIR", help="a directory of *.hdb, *.hsb, *.ndb")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--serve", type=Path, metavar="CONFIG", help="serve as a TOML file says")
    options = parser.parse_args(arguments)
    if bool(options.files) == (options.serve is not None):
        parser.error("name files to scan, or say --serve CONFIG")
    try:
        if options.serve is not None:
            return _serve(options.serve)
        return _scan(options.files, options.signatures, as_json=options.json)
    except ServiceError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def _serve(config: Path) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    with suppress(KeyboardInterrupt):
        asyncio.run(engine.serve(engine.load(config), StreamNotices()))
    return 0


def _scan(files: Sequence[str], signatures: Path | None, *, as_json: bool) -> int:
    scanner = Scanner(engine.read_signatures(signatures), Limits(), clock=time.monotonic)
    status = 0
    for name in files:
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            print(f"{name}: {error.strerror}", file=sys.stderr)
            status = 2
            continue
        report = scanner.scan(data)
        print(_json(name, report) if as_json else _line(name, report))
        if report.virus:
            status = max(status, 1)
    return status


def _line(name: str, report: Report) -> str:
    if not report.virus:
        return f"{name}: OK"
    where = f" in {' > '.join(report.where)}" if report.where else ""
    return f"{name}: {report.virus} FOUND{where}: {report.reason}"


def _json(name: str, report: Report) -> str:
    found = {"virus": report.virus or None, "where": list(report.where), "reason": report.reason}
    return json.dumps({"file": name, **found, "objects": report.objects, "octets": report.octets})


if __name__ == "__main__":
    sys.exit(main())
