"""`python -m services.dns`: one name server, alone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from services.dns import authoritative, names, recursive, zone
from services.dns.authoritative import AuthoritativeConfig
from services.dns.recursive import RecursiveConfig
from services.dns.settings import check_listen
from services.errors import ConfigError, ServiceError
from services.notices import StreamNotices

_EXAMPLES = """\
examples:
  python -m services.dns zones/ --port 5300           serve every zones/*.zone
  python -m services.dns --config auth.toml           serve what a configuration names
  python -m services.dns --recursive --hints named.root --port 5300
  python -m services.dns --recursive --config resolver.toml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status: 0, or 1 after a one-line error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # The notices on standard error tell the rest.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    try:
        asyncio.run(_until_signalled(_service(parser, options)))
    except ServiceError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.dns",
        description="Serve DNS zones authoritatively, or resolve recursively from the roots.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("zones", type=Path, nargs="?", help="a directory of master files named *.zone")
    parser.add_argument("--recursive", action="store_true", help="be a recursive resolver")
    parser.add_argument("--hints", type=Path, help="the root servers, as a master file (named.root)")
    parser.add_argument("--config", type=Path, help="a TOML file instead of all the other options")
    parser.add_argument("--port", type=_port, default=53, help="UDP and TCP port (default: 53)")
    parser.add_argument(
        "--listen", action="append", metavar="ADDRESS", help="an IPv4 address; repeatable (default: all)"
    )
    parser.add_argument(
        "--upstream-port", type=_port, default=53, help="where other servers listen (default: 53)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices (default: 0)")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _service(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Coroutine[None, None, None]:
    """Return the service that the command line describes; a usage error ends the program with status 2."""
    if options.config is not None:
        if options.recursive:
            return recursive.serve(recursive.load(options.config), StreamNotices())
        return authoritative.serve(authoritative.load(options.config), StreamNotices())
    try:
        listen = check_listen(tuple(options.listen or ("0.0.0.0",)))
    except ValueError as error:
        parser.error(str(error))
    if options.recursive:
        if options.hints is None or options.zones is not None:
            parser.error("--recursive needs --hints FILE and takes no zones")
        config = RecursiveConfig(
            listen=listen,
            port=options.port,
            hints=options.hints,
            seed=options.seed,
            upstream_port=options.upstream_port,
        )
        return recursive.serve(config, StreamNotices())
    if options.zones is None:
        parser.error("name a directory of zones, or say --recursive")
    zones = _zones_in(options.zones)
    return authoritative.serve(
        AuthoritativeConfig(listen=listen, port=options.port, zones=zones), StreamNotices()
    )


def _zones_in(directory: Path) -> dict[str, Path]:
    """Return the master files of a directory by the origin that each one's SOA record tells."""
    if not directory.is_dir():
        raise ConfigError(f"{directory}: not a directory")
    paths = sorted(directory.glob("*.zone"))
    if not paths:
        raise ConfigError(f"{directory}: no file named *.zone")
    found: dict[str, Path] = {}
    for path in paths:
        origin = names.to_text(zone.load(path).origin)
        if origin in found:
            raise ConfigError(f"{path}: {found[origin]} holds the zone {origin} too")
        found[origin] = path
    return found


async def _until_signalled(service: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
