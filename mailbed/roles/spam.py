"""Spam engines on a host's loopback, in spamd's protocol: our own, and SpamAssassin's spamd.

SpamAssassin judges by the rules that it is packaged with, and asks nobody. Its daemon wants to become another
user where it runs as root, which a sandbox may not have; so it runs as nobody in a user namespace of its own,
in which that is who the lab runs as. Only the host's port range has to be opened to it.
"""

from __future__ import annotations

import ipaddress

import tomli_w

from mailbed.roles.built_in import places
from mailbed.roles.service import Service, World
from topologies.plan import Host, MailServer, SpamEngine

DATABASE = "spam/taught.sqlite3"
"""Where our engine keeps what it was taught, below the host's directory."""

PLUGINS = (
    *(
        "Check",
        "HTMLEval",
        "HeaderEval",
        "BodyEval",
        "MIMEEval",
        "MIMEHeader",
        "RelayEval",
        "URIEval",
        "URIDetail",
    ),
    *("WLBLEval", "DNSEval", "FreeMail", "ReplaceTags", "Bayes", "ImageInfo", "VBounce", "DKIM", "SPF"),
)
"""What the packaged rules need. Debian's list lies in a directory that is the machine's own."""

_LOCAL_CF = """\
required_score {required}
trusted_networks {trusted}
internal_networks {trusted}
dns_available no
report_safe 0
use_bayes 1
bayes_path {directory}/bayes
bayes_auto_learn 0
# As many as ours wants.
bayes_min_spam_num 20
bayes_min_ham_num 20
"""
_START = (
    "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start && "
    "exec unshare --user --map-user=65534 --map-group=65534 "
)


def built_in(world: World, host: Host, role: SpamEngine) -> Service:
    """Return our engine."""
    nameserver = world.nameserver(host)
    config = {
        "hostname": host.fqdn,
        "required": role.required,
        "nameservers": [nameserver] if nameserver else [],
        "trusted": _trusted(world, host),
        "names": _names(world, host),
        "block_lists": list(role.block_lists),
        "url_block_lists": list(role.url_block_lists),
        "database": DATABASE,
        "seed": world.seed,
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="services.filters.spam.server",
        config="spam-engine.toml",
        files={"spam-engine.toml": tomli_w.dumps(config)},
    )


def spamassassin(world: World, host: Host, role: SpamEngine) -> Service:
    """Return SpamAssassin's spamd, without network tests. Its 4.0 accepts this configuration."""
    directory = world.directory(host.name) / "spamassassin"
    text = _LOCAL_CF.format(
        required=role.required, trusted=" ".join(_trusted(world, host)), directory=directory
    )
    plugins = "".join(f"loadplugin Mail::SpamAssassin::Plugin::{name}\n" for name in PLUGINS)
    spamd = [
        *("spamd", "--nouser-config", "--local", "--allow-tell", "--listen=127.0.0.1", "--port=783"),
        # The packaged rules, even where the machine has fetched newer ones.
        "--configpath=/usr/share/spamassassin",
        f"--siteconfigpath={directory}",
        f"--helper-home-dir={directory}",
        f"--pidfile={directory}/spamd.pid",
        *("--syslog=stderr", "--max-children=2", "--min-children=1"),
    ]
    config = {
        "command": ["sh", "-c", f'{_START}"$@"', "sh", *spamd],
        "ready": "tcp:783",
        "directory": str(directory.parent),
        "log": str(directory.parent / f"{role.kind}.log"),
        "events": {r"spamd: result: ": "judged", r" error: (.*)": "error"},
    }
    files = {"spamassassin/local.cf": text, "spamassassin/lab.pre": plugins}
    return Service(
        host=host.name,
        role=role.kind,
        module="mailbed.daemon",
        config="spam-engine.toml",
        files={**files, "spam-engine.toml": tomli_w.dumps(config)},
    )


def _trusted(world: World, host: Host) -> list[str]:
    """The networks of servers that hand mail on to this one: what they say of where it came from is true."""
    named = [
        place
        for role in host.roles
        if isinstance(role, MailServer)
        for place in places(world, role.relay_from)
    ]
    own = [str(interface.address.network) for interface in world.addressing.of(host.name)]
    return list(dict.fromkeys(["127.0.0.0/8", *own, *named]))


def _names(world: World, host: Host) -> list[str]:
    """What no stranger may be called: our servers, and the domains whose mail they take."""
    networks = [ipaddress.ip_network(place) for place in _trusted(world, host)]
    ours = {
        other.name: other.fqdn
        for other in world.plan.hosts
        if any(ipaddress.ip_address(world.addresses[other.name]) in network for network in networks)
    }
    domains = [
        domain.name
        for domain in world.plan.domains
        if domain.exchangers and all(exchanger.host in ours for exchanger in domain.exchangers)
    ]
    return sorted({*ours.values(), *domains})
