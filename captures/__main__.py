"""Say what a capture holds: `python -m captures FILE`, and which way its mail went: `… journey FILE`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from captures import pcapng
from captures.errors import CaptureError
from captures.summary import Summary, summarise

_EXAMPLES = """\
examples:
  python -m captures network.pcapng           a line for each interface
  python -m captures --json network.pcapng    the same as JSON
  python -m captures journey network.pcapng   the way of each message in it

The exit status is 0, 1 when the file cannot be read, or 2 for a mistake in the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the file that the command line names holds; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # A file of that name is meant if there is nothing behind it.
    journeys = words[:1] == ["journey"] and len(words) > 1
    options = _parser().parse_args(words[1:] if journeys else words)
    try:
        with pcapng.open_capture(options.file) as reader:
            text = _journeys(reader, options.json) if journeys else _summary(reader, options.json)
    except CaptureError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{options.file}: {error.strerror}")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader, `head` for one, has had enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _summary(reader: pcapng.Reader, as_json: bool) -> str:
    summary = summarise(reader)
    return _as_json(summary) if as_json else _as_text(summary, reader.end)


def _journeys(reader: pcapng.Reader, as_json: bool) -> str:
    from captures.journeys import document, read_journeys, text

    found = read_journeys(reader)
    if as_json:
        return json.dumps(document(found), indent=2, ensure_ascii=False)
    told = ["\n".join([text.heading(journey), *text.lines(journey)]) for journey in found.journeys]
    told += ["\n".join(text.drop_line(drop) for drop in found.drops)] if found.drops else []
    return "\n\n".join(told) or "no mail crossed"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m captures",
        usage="%(prog)s [journey] [-h] [--json] FILE",
        description="Say how many packets a pcapng file holds, and how many it lost, for each interface; "
        "with `journey`, which way each message went.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a pcapng file, from any tool")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _failed(reason: str) -> int:
    print(f"python -m captures: {reason}", file=sys.stderr)
    return 1


def _as_text(summary: Summary, end: int) -> str:
    width = max((len(interface.name) for interface in summary.interfaces), default=0)
    lines = [
        f"{interface.name:{width}}  {interface.packets:>10,} packets  {interface.bytes:>14,} bytes  "
        + ("drops not known" if interface.dropped is None else f"{interface.dropped:,} dropped")
        for interface in summary.interfaces
    ]
    if summary.cut:
        lines.append(f"The file is cut short: the last whole block ends at byte {end:,}.")
    return "\n".join(lines) or "no interfaces"


def _as_json(summary: Summary) -> str:
    document = {
        "packets": summary.packets,
        "dropped": summary.dropped,
        "first_ns": summary.first_ns,
        "last_ns": summary.last_ns,
        "cut": summary.cut,
        "interfaces": {
            interface.name: {
                "packets": interface.packets,
                "bytes": interface.bytes,
                "dropped": interface.dropped,
            }
            for interface in summary.interfaces
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
