"""Run a mail server alone: `python -m services.smtp --config mx.toml`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from services.errors import ConfigError, ServiceError
from services.notices import StreamNotices
from services.smtp.mta import MtaConfig, load, serve

_EPILOG = """\
examples:
  python -m services.smtp --config mx.toml             what happens is told as JSON lines on standard error
  python -m services.smtp --config mx.toml --verbose   and as log lines

a configuration to begin with, for mail to bob@example.org on port 2525:
  hostname = "mx.example.org"
  listen = ["127.0.0.1"]
  smtp_port = 2525
  [[domains]]
  name = "example.org"
  kind = "local"
  [[users]]
  address = "bob@example.org"

the head of services/smtp/config.py names every key
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status: 0, 1 for a failure, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m services.smtp",
        description="A mail server: MTA, MSA and MDA as its configuration says.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file")
    parser.add_argument("--verbose", "-v", action="store_true", help="write a log line for each event")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    try:
        asyncio.run(_serve_until_signal(load(options.config)))
    except ConfigError as error:
        print(f"smtp: {error}", file=sys.stderr)
        return 2
    except ServiceError as error:
        print(f"smtp: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve_until_signal(config: MtaConfig) -> None:
    task = asyncio.create_task(serve(config, StreamNotices()))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
