"""A recursive resolver: the configuration, the messages it answers, and its run.

Theory of operation. A question that the cache can answer is answered at once. Any other becomes a search,
which drives the sans-I/O `Resolver`, sending each query that it yields; whoever asks the same meanwhile waits
for the same search. A query that two searches need at the same time is sent once. Replies are taken up where
they come in, without a task that would have to wake up first. Everything is resolved from the roots: there
are no forwarders and no zones built in, not even for private addresses (but see `special`).

A client that asks not to recurse is told what the cache knows, be it where to go on; REFUSED, if nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import dnslib

from services.dns import master, message, names, special, zone
from services.dns.asking import Ask, Failure
from services.dns.cache import Cache
from services.dns.client import Exchange, Sockets
from services.dns.message import Malformed, Query
from services.dns.names import Name
from services.dns.records import RRset, addresses, targets
from services.dns.replies import Delegation
from services.dns.resolution import Limits, Resolved, Resolver, Steps
from services.dns.server import ByClient, Coming, Listener, Reply
from services.dns.servers import Servers
from services.dns.settings import Settings
from services.dns.showing import Showing
from services.dns.warm import Warm
from services.errors import ConfigError
from services.notices import Notices

_log = logging.getLogger(__name__)

_MAX_SEARCHES = 2000
_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecursiveConfig:
    """`hints` is a master file with the root's NS records and their addresses, as InterNIC's named.root.

    `seed` and `host` key the random choices; `timeout_s` is how long a server may take at the first try,
    `total_s` how long a question may take. `upstream_port` is where all other servers are asked. Who may ask
    is listed in `allow`; an empty list is everybody.
    """

    listen: tuple[str, ...] = ("0.0.0.0",)
    port: int = 53
    hints: Path
    seed: int = 0
    host: str = ""
    timeout_s: float = _LIMITS.timeout_s
    total_s: float = _LIMITS.total_s
    upstream_port: int = 53
    allow: tuple[IPv4Network, ...] = ()


def load(path: Path) -> RecursiveConfig:
    """Return the configuration that a TOML file holds.

    Raises: ConfigError.
    """
    settings = Settings(path)
    config = RecursiveConfig(
        listen=settings.listen(),
        port=settings.port(),
        hints=settings.file("hints"),
        seed=settings.integer("seed", 0),
        host=settings.text("host", ""),
        timeout_s=settings.seconds("timeout_s", _LIMITS.timeout_s),
        total_s=settings.seconds("total_s", _LIMITS.total_s),
        upstream_port=settings.port("upstream_port"),
        allow=settings.networks("allow", ()),
    )
    settings.done()
    return config


def load_hints(path: Path) -> Delegation:
    """Return the root servers that a hints file names.

    Raises: ConfigError: no NS of the root, or none of them with an IPv4 address.
    """
    rrsets = zone.rrsets(master.read(path, names.ROOT))
    ns = next((rrset for rrset in rrsets if rrset.owner == names.ROOT and rrset.rtype == names.NS), None)
    if ns is None:
        raise ConfigError(f"{path}: there is no NS record of the root")
    hosts = tuple(targets(ns))
    known = {
        rrset.owner: tuple(addresses(rrset))
        for rrset in rrsets
        if rrset.rtype == names.A and rrset.owner in hosts
    }
    if not known:
        raise ConfigError(f"{path}: no root server has an A record")
    return Delegation(zone=names.ROOT, servers=hosts, addresses=known)


async def serve(config: RecursiveConfig, notices: Notices) -> None:
    """Serve until cancelled. The event `listening` {port} comes before ready.

    Raises: ConfigError: the hints are wrong; ServiceError: a port is taken or forbidden.
    """
    recursor = Recursor(config, load_hints(config.hints), notices)
    try:
        respond = recursor.screen if config.allow else recursor.respond
        async with Listener(config.listen, config.port, respond) as listener:
            _log.info("resolving on port %d", listener.port)
            notices.event("listening", port=listener.port)
            showing = Showing(recursor.cache)
            notices.handle("cache.show", showing.show)
            notices.handle("cache.flush", showing.flush)
            notices.ready()
            await asyncio.get_running_loop().create_future()
    finally:
        await recursor.close()


@dataclass(slots=True)
class _Search:
    """A question that is being resolved, and who waits for it: with which query, and over TCP or not."""

    name: Name
    rtype: int
    steps: Steps[Resolved]
    started: float
    waiting: list[tuple[Coming, Query, bool]] = field(default_factory=list)


@dataclass(slots=True)
class _Sent:
    """A query on its way, and the searches that wait for its reply."""

    exchange: Exchange
    searches: list[_Search]


class Recursor:
    """A recursive server without its listening sockets: `respond` takes one message and gives its reply."""

    def __init__(self, config: RecursiveConfig, hints: Delegation, notices: Notices) -> None:
        self.cache = Cache(time.monotonic)
        self._resolver = Resolver(
            cache=self.cache,
            servers=Servers(time.monotonic),
            hints=hints,
            clock=time.monotonic,
            seed=config.seed,
            host=config.host,
            limits=Limits(timeout_s=config.timeout_s, total_s=config.total_s),
        )
        self._port = config.upstream_port
        self._allow = config.allow
        self._notices = notices
        self._searches: dict[tuple[Name, int], _Search] = {}
        self._sent: dict[Ask, _Sent] = {}
        self._warm = Warm(
            self._answer, self._resolver.knowledge, self.cache, time.monotonic, self._tell_of_known
        )

    @property
    def respond(self) -> Callable[[bytes, bool], Any]:
        """What takes a message and returns its reply, None if it deserves none, or the reply to come."""
        return self._warm.respond

    def _answer(self, packet: bytes, stream: bool) -> Reply | Coming:
        if not message.is_query(packet):
            return None
        if message.opcode(packet):
            return message.bare_reply(packet, names.NOTIMP)
        try:
            query = message.read_query(packet)
        except Malformed:
            return message.bare_reply(packet, names.FORMERR)
        rcode = _refusal(query)
        if rcode:
            return _reply(query, Resolved(rcode=rcode), stream)
        if query.rtype == names.ANY:
            return _reply(query, _any(query.name), stream)
        local = special.finding(query.name, query.rtype)
        if local is not None:
            return _reply(query, Resolved.of(local), stream)
        return self._resolve(query, stream)

    def screen(self, packet: bytes, stream: bool) -> ByClient:
        """Return what answers the message once the client's address is known: a stranger is refused."""

        def answer(client: str) -> Reply | Coming:
            if any(IPv4Address(client) in network for network in self._allow):
                reply: Reply | Coming = self.respond(packet, stream)
                return reply
            return _refuse(packet, stream)

        return answer

    async def close(self) -> None:
        """Leave nothing on its way; whoever waits is not answered."""
        for sent in self._sent.values():
            sent.exchange.cancel()
        for search in self._searches.values():
            search.steps.close()
        self._sent.clear()
        self._searches.clear()
        if "_sockets" in self.__dict__:
            self._sockets.close()

    @cached_property
    def _sockets(self) -> Sockets:
        return Sockets()

    def _resolve(self, query: Query, stream: bool) -> Reply | Coming:
        name, rtype = query.name, query.rtype
        search = self._searches.get((name, rtype))
        if search is None:
            started = time.monotonic()
            steps = self._resolver.resolve(name, rtype)
            try:
                first = next(steps)
            except StopIteration as done:
                # The cache knew, or it is known that nobody does.
                self._tell(name, rtype, done.value, time.monotonic() - started)
                return _reply(query, done.value, stream)
            if not query.flags & message.RD:
                steps.close()
                return _reply(query, self._closest(name, rtype), stream)
            if len(self._searches) >= _MAX_SEARCHES:
                steps.close()
                return _reply(query, Resolved(rcode=names.SERVFAIL), stream)
            search = self._searches[name, rtype] = _Search(name, rtype, steps, started)
            self._send(search, first)
        elif not query.flags & message.RD:
            return _reply(query, self._closest(name, rtype), stream)
        coming = Coming()
        search.waiting.append((coming, query, stream))
        return coming

    def _send(self, search: _Search, step: Ask) -> None:
        """Send a query, or wait for the reply to it if another search has sent it."""
        sent = self._sent.get(step)
        if sent is None:
            exchange = Exchange(step, self._port, self._sockets, partial(self._received, step))
            self._sent[step] = _Sent(exchange, [search])
        else:
            sent.searches.append(search)
        self._resolver.catch_up()

    def _received(self, step: Ask, result: bytes | Failure) -> None:
        for search in self._sent.pop(step).searches:
            self._go_on(search, result)

    def _go_on(self, search: _Search, result: bytes | Failure) -> None:
        """Send the next query of a search, or tell everybody who waits what was found."""
        try:
            step = search.steps.send(result)
        except StopIteration as done:
            resolved: Resolved = done.value
        except Exception:
            # A mistake of ours costs this question, not the server.
            _log.exception("resolving %s %s", names.to_text(search.name), names.type_text(search.rtype))
            resolved = Resolved(rcode=names.SERVFAIL)
        else:
            self._send(search, step)
            return
        del self._searches[search.name, search.rtype]
        for coming, query, stream in search.waiting:
            coming.give(_reply(query, resolved, stream))
        self._tell(search.name, search.rtype, resolved, time.monotonic() - search.started)

    def _closest(self, name: Name, rtype: int) -> Resolved:
        """What a client is told that asks not to recurse: where to go on (RFC 1034 §4.3.1)."""
        ns = self._resolver.knowledge.closest(name, rtype).ns
        if ns is None:
            return Resolved(rcode=names.REFUSED)
        return Resolved(rcode=names.NOERROR, authority=(ns,))

    def _tell_of_known(self, name: Name, rtype: int, rcode: int) -> None:
        self._tell(name, rtype, Resolved(rcode=rcode), 0.0)

    def _tell(self, name: Name, rtype: int, resolved: Resolved, took_s: float) -> None:
        fields = {
            "name": names.to_text(name),
            "rtype": names.type_text(rtype),
            "rcode": names.rcode_text(resolved.rcode),
            "ms": round(took_s * 1000, 3),
            "cached": not (resolved.queries or resolved.shared),
            "queries": resolved.queries,
        }
        _log.info("%s", " ".join(f"{key}={value}" for key, value in fields.items()) + _because(resolved))
        self._notices.event("lookup", **fields)


def _because(resolved: Resolved) -> str:
    return f" ({resolved.why})" if resolved.why else ""


def _refuse(packet: bytes, stream: bool) -> Reply:
    """Return the reply for those whom the resolver does not serve: for them, no recursion is available."""
    if not message.is_query(packet):
        return None
    try:
        query = message.read_query(packet)
    except Malformed:
        return message.bare_reply(packet, names.FORMERR)
    return message.reply(query, names.REFUSED, 0, message.EMPTY, stream=stream)


def _refusal(query: Query) -> int:
    """Return the code for what is no question about Internet data."""
    if query.edns is not None and query.edns.version:
        return names.BADVERS
    if query.rclass != names.IN:
        return names.REFUSED
    if query.rtype in (0, names.OPT):
        return names.FORMERR
    if 128 <= query.rtype <= 254:
        return names.NOTIMP
    return names.NOERROR


def _any(name: Name) -> Resolved:
    """What is said to ANY: a synthesised HINFO (RFC 8482 §4.2), as a cache never knows all there is."""
    hinfo = RRset(owner=name, rtype=names.TYPES["HINFO"], ttl=3600, rdatas=(dnslib.RD(b"\x07RFC8482\x00"),))
    return Resolved(rcode=names.NOERROR, answer=(hinfo,))


def _reply(query: Query, resolved: Resolved, stream: bool) -> bytes:
    encoded = message.encode(query.name, answer=resolved.answer, authority=resolved.authority)
    return message.reply(query, resolved.rcode, message.RA | query.flags & message.CD, encoded, stream=stream)
