"""`python -m services.filters.spam`: messages judged, the classifier taught, or the engine alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from services.errors import ServiceError
from services.filters.spam import server, training
from services.filters.spam.database import Kind
from services.filters.spam.engine import Engine
from services.filters.spam.examined import Site
from services.filters.spam.report import report
from services.filters.spam.score import Judgement
from services.notices import StreamNotices

_EXAMPLES = """\
examples:
  python -m services.filters.spam message.eml              the report: each rule that fired, and why
  python -m services.filters.spam - --json < message.eml
  python -m services.filters.spam --config engine.toml *.eml   with the DNS and the database named there
  python -m services.filters.spam --train --spam DIR --ham DIR --port 783    a running engine is taught
  python -m services.filters.spam --serve engine.toml      spamd's protocol, until SIGINT

exit status: 0 no spam, 1 spam, 2 something could not be read
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, teach, or serve until SIGINT; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    chosen = sum((bool(options.files), options.train, options.serve is not None))
    if chosen != 1:
        parser.error("name files to judge, or say --train, or --serve CONFIG")
    if options.train and not (options.spam or options.ham):
        parser.error("--train needs --spam DIR, --ham DIR or both")
    try:
        if options.serve is not None:
            return _serve(options.serve)
        if options.train:
            return asyncio.run(_train(options))
        return asyncio.run(_judge(options))
    except ServiceError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.filters.spam",
        description="Judge whether messages are spam, by rules and what was taught.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a message; - is standard input")
    parser.add_argument("--config", type=Path, help="judge as a TOML file says (default: rules alone)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--serve", type=Path, metavar="CONFIG", help="serve as a TOML file says")
    parser.add_argument("--train", action="store_true", help="teach a running engine")
    parser.add_argument("--spam", type=Path, metavar="DIR", help="a directory of spam")
    parser.add_argument("--ham", type=Path, metavar="DIR", help="a directory of other mail")
    parser.add_argument("--port", type=int, default=783, help="where the engine listens (default: 783)")
    return parser


def _serve(config: Path) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(server.load(config), StreamNotices()))
    return 0


async def _judge(options: argparse.Namespace) -> int:
    if options.config is not None:
        engine = server.engine(server.load(options.config))
    else:
        engine = Engine(Site(authserv_id="localhost"), clock=time.time)
    spam = False
    for name in options.files:
        judgement = await engine.judge(_read(name))
        spam = spam or judgement.is_spam
        print(_line(name, judgement) if options.json else report(judgement, name).replace("\r\n", "\n"))
    return int(spam)


def _line(name: str, judgement: Judgement) -> str:
    values = {
        "file": name,
        "spam": judgement.is_spam,
        "score": judgement.score,
        "required": judgement.required,
    }
    return json.dumps({**values, "rules": [asdict(each) for each in judgement.fired]}, ensure_ascii=False)


async def _train(options: argparse.Namespace) -> int:
    kinds: list[tuple[Path | None, Kind]] = [(options.spam, "spam"), (options.ham, "ham")]
    files = [(path, kind) for directory, kind in kinds if directory for path in training.messages(directory)]
    taught = await training.train(files, port=options.port)
    counts = {
        kind: {
            "messages": sum(one.kind == kind for one in taught),
            "new": sum(one.kind == kind and one.new for one in taught),
        }
        for _, kind in kinds
    }
    if options.json:
        print(json.dumps(counts))
    else:
        for kind, count in counts.items():
            print(f"{kind}: {count['messages']} messages, {count['new']} of them new")
    return 0


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ServiceError(f"{name}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
