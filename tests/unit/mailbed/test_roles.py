"""From roles to services: what is rendered is what the services load."""

from __future__ import annotations

import dataclasses
import importlib
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest
from hypothesis import HealthCheck, given, settings

from mailbed import dkim, roles
from mailbed.dkim import DkimKey
from mailbed.errors import UsageError
from mailbed.roles.service import Service, World
from services.dns import authoritative, names, recursive, zone
from services.filters.signing import Signer, read_key
from services.smtp.config import MtaConfig
from tests.unit.topologies.plans import plans, small
from topologies import catalog, dns, minimal, zonedata
from topologies.check import check
from topologies.plan import (
    Command,
    ContentFilter,
    Domain,
    Exchanger,
    Host,
    MailRoute,
    MailServer,
    Plan,
    Role,
    User,
)

RUN = Path("/run/mailbed-test")


def world(plan: Plan, run: Path = RUN, **fields: Any) -> World:
    """The derived world of a plan."""
    return World(plan=plan, seed=7, run=run, **fields)


def rendered(plan: Plan, key: str, **fields: Any) -> tuple[Service, dict[str, Any]]:
    """A service by its key, HOST/ROLE, with its configuration."""
    service = next(found for found in roles.services(world(plan, **fields)) if found.key == key)
    return service, tomllib.loads(service.files[service.config])


def with_role(host: str, *new: Role) -> Plan:
    """The small plan with other roles on one of its hosts; it is still without mistakes."""
    hosts = tuple(dataclasses.replace(h, roles=new) if h.name == host else h for h in small().hosts)
    plan = small(hosts=hosts)
    check(plan)
    return plan


def test_every_role_becomes_a_service() -> None:
    """Services come in the order of the plan, each run by a module; a mail client runs only when it sends."""
    made = roles.services(world(minimal.build()))
    assert [(service.key, service.module) for service in made] == [
        ("alice/mail-client", None),
        ("corp-mta/mail-server", "services.smtp.mta"),
        ("corp-mta/imap-server", "services.imap.server"),
        ("corp-dns/resolver", "services.dns.recursive"),
        ("a-root/name-server", "services.dns.authoritative"),
        ("tld-ns/name-server", "services.dns.authoritative"),
        ("auth-ns/name-server", "services.dns.authoritative"),
        ("rcpt-mx/mail-server", "services.smtp.mta"),
        ("rcpt-mx/imap-server", "services.imap.server"),
        ("rcpt-dns/resolver", "services.dns.recursive"),
        ("bob/mail-client", None),
    ]
    assert {service.host for service in made if service.certificate} == {"corp-mta", "rcpt-mx"}


def load_all(plan: Plan, run: Path) -> dict[str, object]:
    """Write every service's files as the lab does, and load each configuration with its module."""
    loaded: dict[str, object] = {}
    for service in roles.services(world(plan, run)):
        directory = run / "hosts" / service.host
        for name, text in service.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if service.module is not None:
            loaded[service.key] = importlib.import_module(service.module).load(directory / service.config)
    return loaded


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(plans())
def test_what_is_rendered_loads(plan: Plan) -> None:
    """Whatever a plan says, each service loads its configuration, zones and hints as they were rendered."""
    with tempfile.TemporaryDirectory() as directory:
        for key, config in load_all(plan, Path(directory)).items():
            if isinstance(config, authoritative.AuthoritativeConfig):
                host = plan.host(key.partition("/")[0])
                served = {origin for role in host.roles for origin in getattr(role, "zones", ())}
                loaded = [zone.load(path).origin for path in config.zones.values()]
                assert sorted(map(names.to_text, loaded)) == sorted(served)
            elif isinstance(config, recursive.RecursiveConfig):
                assert len(recursive.load_hints(config.hints).servers) == len(plan.servers_of("."))


def test_a_mail_server_is_what_its_role_says(tmp_path: Path) -> None:
    """The MTA holds its domains' mailboxes and users, asks its resolver, and submission needs TLS."""
    config = load_all(minimal.build(), tmp_path)["corp-mta/mail-server"]
    assert isinstance(config, MtaConfig)
    assert (config.hostname, config.host, config.seed) == ("corp-mta.example.com", "corp-mta", 7)
    assert config.nameservers == ("198.18.1.12",)
    assert [(domain.name, domain.kind) for domain in config.domains] == [("example.com", "local")]
    assert [str(user.address) for user in config.users] == ["alice@example.com", "carol@example.com"]
    assert config.submission_port == 587
    assert config.tls is not None
    assert config.tls.cert == tmp_path / "tls" / "corp-mta.example.com.pem"


def test_an_exchanger_without_mailboxes_relays() -> None:
    """A host that is a domain's MX and does not hold its mailboxes accepts its mail and passes it on."""
    mx2 = Host(name="mx2", fqdn="mx2.example.org", roles=(MailServer(),), resolver="ns")
    (domain,) = small().domains
    exchangers = (*domain.exchangers, Exchanger(host="mx2", preference=20))
    plan = small(
        hosts=(*small().hosts, mx2),
        links=(*small().links, dataclasses.replace(small().links[-1], a="mx2")),
        domains=(dataclasses.replace(domain, exchangers=exchangers),),
    )
    check(plan)
    service, config = rendered(plan, "mx2/mail-server")
    assert config["domains"] == [{"name": "example.org", "kind": "relay"}]
    assert config["users"] == []
    assert "submission_port" not in config
    assert not service.certificate


def test_routes_and_tls_between_servers() -> None:
    """Weights are by the hosts' names in DNS; a server that takes up TLS with others has a certificate."""
    route = MailRoute(domain="*", via=("example.org",), weights={"mx": 3}, as_primary="example.org")
    role = MailServer(mailboxes=("example.org",), submission=True, routes=(route,), opportunistic_tls=True)
    hosts = tuple(
        dataclasses.replace(host, roles=(role,)) if host.name == "mx" else host for host in small().hosts
    )
    plan = small(hosts=hosts)
    check(plan)
    service, config = rendered(plan, "mx/mail-server")
    assert config["routes"] == [
        {
            "domain": "*",
            "via": ["example.org"],
            "weights": {"mx.example.org": 3},
            "as_primary": "example.org",
        }
    ]
    assert config["opportunistic_tls"]
    assert service.certificate


def test_who_may_relay_is_a_list_of_prefixes() -> None:
    """Networks and hosts that may relay become prefixes: nobody writes an address twice."""
    role = MailServer(submission=True, mailboxes=("example.org",), relay_from=("lan", "core"))
    _, config = rendered(with_role("mx", role), "mx/mail-server")
    assert config["relay_from"] == ["198.18.1.0/24", "198.18.1.1/32", "198.19.0.3/32"]


def test_an_open_relay_relays_for_anybody() -> None:
    """Where it is one, every address may relay, and who else is named does not matter."""
    role = MailServer(submission=True, mailboxes=("example.org",), relay_from=("lan",), open_relay=True)
    _, config = rendered(with_role("mx", role), "mx/mail-server")
    assert config["relay_from"] == ["0.0.0.0/0"]


def test_a_next_hop_takes_no_mail_in_its_name() -> None:
    """A transit domain has an MX, but its exchanger is no relay for it: mail would go in circles."""
    transit = Domain(name="hub.example.org", exchangers=(Exchanger(host="mx"),), transit=True)
    plan = small(domains=(*small().domains, transit))
    check(plan)
    world_ = world(plan)
    assert "hub.example.org. MX 10 mx.example.org." in world_.zones["example.org"]
    _, config = rendered(plan, "mx/mail-server")
    assert [domain["name"] for domain in config["domains"]] == ["example.org"]


def test_routes_name_domains() -> None:
    """A route goes to domains, whose MX is looked up, as the plan has it."""
    routes = (MailRoute(domain="*", via=("isp.example.net", "other.example.net")),)
    role = MailServer(submission=True, mailboxes=("example.org",), routes=routes)
    _, config = rendered(with_role("mx", role), "mx/mail-server", time_scale=60.0)
    assert config["routes"] == [{"domain": "*", "via": ["isp.example.net", "other.example.net"]}]
    assert config["time_scale"] == 60.0


def test_a_mail_client_knows_its_users_password() -> None:
    """The MUA submits to its server by name, as its user, with the password that the server knows."""
    (domain,) = small().domains
    users = (User(local="bob", password="hunter2"),)
    plan = small(domains=(dataclasses.replace(domain, users=users),))
    _, mua = rendered(plan, "bob/mail-client")
    _, mta = rendered(plan, "mx/mail-server")
    assert (mua["server"], mua["username"]) == ("mx.example.org", "bob@example.org")
    assert {"address": mua["username"], "password": mua["password"]} in mta["users"]
    assert mua["ca_file"] == str(RUN / "tls" / "ca.pem")


COMMAND = Command(
    name="web",
    command=("httpd", "-b", "${ADDRESS}", "${DIR}/web.conf"),
    files={"web.conf": "name ${FQDN}\nhost ${NAME}\nprice $$5\n"},
    ready="tcp:80",
)


def test_a_command_is_filled_in() -> None:
    """Placeholders in the command and its files stand for what the plan derives."""
    service, config = rendered(with_role("core", COMMAND), "core/web")
    directory = RUN / "hosts" / "core"
    assert service.module == "mailbed.daemon"
    assert service.files["web.conf"] == "name core.example.org\nhost core\nprice $5\n"
    assert config == {
        "command": ["httpd", "-b", "198.18.1.1", f"{directory}/web.conf"],
        "ready": "tcp:80",
        "directory": str(directory),
        "log": str(directory / "web.log"),
    }


@pytest.mark.parametrize("text", ["${PORT}", "$", "${name}"])
def test_an_unknown_placeholder_is_a_mistake(text: str) -> None:
    """A placeholder that there is not is told with its place and those that there are."""
    command = dataclasses.replace(COMMAND, files={"web.conf": text})
    with pytest.raises(UsageError) as caught:
        roles.services(world(with_role("core", command)))
    assert str(caught.value).startswith("host core: web.conf of web: ")
    assert "${NAME}, ${FQDN}, ${ADDRESS}, ${DIR}" in str(caught.value)


def test_somebody_else_does_the_job() -> None:
    """NSD in place of our name server: that one role changes, and it serves the same zone files."""
    plan = minimal.build()
    other = roles.substitute(plan, {"a-root": "nsd"})
    assert [h for h in other.hosts if h not in plan.hosts] == [other.host("a-root")]
    assert other.host("a-root").roles[0].implementation == "nsd"
    ours, _ = rendered(plan, "a-root/name-server")
    theirs, config = rendered(other, "a-root/name-server")
    assert theirs.module == "mailbed.daemon"
    assert theirs.files["zones/root.zone"] == ours.files["zones/root.zone"]
    assert config["command"][0] == "nsd"
    assert "ip-address: 198.41.0.4" in theirs.files["nsd.conf"]
    assert 'zonefile: "zones/root.zone"' in theirs.files["nsd.conf"]


@pytest.mark.parametrize(
    ("name", "file", "hints"),
    [("unbound", "unbound.conf", "root-hints:"), ("bind", "named.conf", 'file "root.hints"')],
)
def test_a_stock_resolver_knows_the_root_if_it_is_where_it_should_be(
    name: str, file: str, hints: str
) -> None:
    """With 13 root servers at their real addresses it is given no hints; in any other world, the plan's."""
    service, _ = rendered(roles.substitute(dns.build(), {"resolver": name}), "resolver/resolver")
    assert "root.hints" not in service.files
    assert "hint" not in service.files[file]
    service, config = rendered(roles.substitute(minimal.build(), {"corp-dns": name}), "corp-dns/resolver")
    assert "198.41.0.4" in service.files["root.hints"]
    assert hints in service.files[file]
    assert "198.18.1.12" in service.files[file]
    assert service.module == "mailbed.daemon"
    assert config["command"][-1] == str(RUN / "hosts" / "corp-dns" / file)


def test_root_servers_elsewhere_are_not_the_real_ones() -> None:
    """Thirteen servers with the right names are not enough: one at another address, and there are hints."""
    plan = dns.build()
    assert world(plan).has_real_roots
    moved = tuple(
        dataclasses.replace(link, address="192.0.33.8") if link.a == "m-root" else link for link in plan.links
    )
    assert not world(dataclasses.replace(plan, links=moved)).has_real_roots
    assert not world(minimal.build()).has_real_roots


def test_bind_serves_the_same_zones() -> None:
    """BIND in place of our name server does not recurse, and loads what ours would."""
    service, config = rendered(roles.substitute(minimal.build(), {"auth-ns": "bind"}), "auth-ns/name-server")
    ours, _ = rendered(minimal.build(), "auth-ns/name-server")
    assert service.files["zones/example.org.zone"] == ours.files["zones/example.org.zone"]
    zone = 'zone "example.org" {\n    type primary;\n    file "zones/example.org.zone";'
    assert zone in service.files["named.conf"]
    assert "recursion no;" in service.files["named.conf"]
    assert config["command"][0] == "named"


def test_bind_knows_its_zones_other_servers() -> None:
    """As a primary BIND tells its secondaries of changes; as a secondary it comes from its primary."""
    both = roles.substitute(dns.build(), {"a-root": "bind", "b-root": "bind"})
    first, _ = rendered(both, "a-root/name-server")
    assert "also-notify { 170.247.170.2; 192.33.4.12;" in first.files["named.conf"]
    assert "allow-transfer { 127.0.0.0/8; 170.247.170.2; 192.33.4.12;" in first.files["named.conf"]
    second, _ = rendered(both, "b-root/name-server")
    assert "type secondary;" in second.files["named.conf"]
    assert "primaries { 198.41.0.4; };" in second.files["named.conf"]
    assert "also-notify" not in second.files["named.conf"]


def test_name_servers_know_each_other() -> None:
    """The primary tells the others of changes, and knows what they have; a secondary knows its primary."""
    _, first = rendered(dns.build(), "a-root/name-server")
    assert first["primaries"] == {}
    assert len(first["secondaries"]["."]) == 12
    assert first["secondaries"]["."][:2] == ["170.247.170.2", "192.33.4.12"]
    assert first["known"] == dict.fromkeys((".", "root-servers.net"), zonedata.SERIAL)
    service, last = rendered(dns.build(), "m-root/name-server", time_scale=60.0)
    assert last["primaries"] == {origin: ["198.41.0.4"] for origin in (".", "root-servers.net")}
    assert (last["secondaries"], last["known"]) == ({}, {})
    assert (last["seed"], last["host"], last["nsid"], last["time_scale"]) == (7, "m-root", "m-root", 60.0)
    # A copy from the start, of the serial that the primary takes for known.
    assert f" {zonedata.SERIAL} " in service.files["zones/root.zone"]


def test_a_server_without_others_tells_nobody() -> None:
    """One server a zone, as in `minimal`: no NOTIFY, no transfers."""
    _, config = rendered(minimal.build(), "auth-ns/name-server")
    assert (config["primaries"], config["secondaries"], config["known"]) == ({}, {}, {})


def test_nsd_among_ours() -> None:
    """NSD gives a zone to its secondaries and tells them, or takes it from its primary."""
    plan = roles.substitute(dns.build(), {"org-auth1": "nsd", "com-auth2": "nsd"})
    text = rendered(plan, "org-auth1/name-server")[0].files["nsd.conf"]
    assert "notify: 198.19.0.36 NOKEY" in text
    assert "provide-xfr: 198.19.0.36 NOKEY" in text
    assert "request-xfr" not in text
    text = rendered(plan, "com-auth2/name-server")[0].files["nsd.conf"]
    assert "allow-notify: 198.19.0.30 NOKEY" in text
    assert "request-xfr: 198.19.0.30 NOKEY" in text


def test_the_first_role_that_can_be_is_replaced() -> None:
    """Of several roles of a host the one that has such an implementation changes."""
    other = roles.substitute(small(), {"ns": "nsd"})
    assert [(role.kind, role.implementation) for role in other.host("ns").roles] == [
        ("name-server", "nsd"),
        ("resolver", "built-in"),
    ]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"ghost": "nsd"}, "there is no host ghost in small"),
        ({"mx": "nsd"}, "host mx has no role that 'nsd' implements"),
        ({"ns": "magic"}, "host ns has no role that 'magic' implements"),
        ({"core": "built-in"}, "host core has no role that 'built-in' implements"),
    ],
)
def test_a_choice_that_cannot_be_is_told(choices: dict[str, str], message: str) -> None:
    """A host that is not there, or has no such role, is the caller's mistake."""
    with pytest.raises(UsageError) as caught:
        roles.substitute(small(), choices)
    assert str(caught.value) == message


def test_an_unknown_implementation_in_a_plan_is_told() -> None:
    """A plan that names nobody who could do a job is refused with those who could."""
    plan = with_role("mx", MailServer(submission=True, mailboxes=("example.org",), implementation="exim"))
    with pytest.raises(
        UsageError, match="host mx: nobody called 'exim' implements mail-server; there is built-in, postfix"
    ):
        roles.services(world(plan))


def postfix(**role: Any) -> Service:
    """Postfix as the mail server of the small plan."""
    derived = world(small(), time_scale=60)
    wanted = MailServer(implementation="postfix", **role)
    return roles.IMPLEMENTATIONS["mail-server", "postfix"](derived, derived.plan.host("mx"), wanted)


ONWARD = MailRoute(domain="*", via=("example.org",))


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        ({"submission": True, "mailboxes": ("example.org",)}, "serve submission"),
        ({"open_relay": True}, "follow source routes as an open relay"),
        ({"content_filter": ContentFilter()}, "filter content"),
        ({"opportunistic_tls": True}, "take up TLS with other servers"),
        ({"routes": (dataclasses.replace(ONWARD, weights={"mx": 3}),)}, "prefer exchangers by weights"),
        (
            {"routes": (dataclasses.replace(ONWARD, as_primary="example.org"),)},
            "change its route when it is the primary (as_primary)",
        ),
    ],
)
def test_postfix_says_what_it_would_pass_over(role: dict[str, Any], lacking: str) -> None:
    """A plan that asks for more than Postfix does here is refused, before anything starts."""
    with pytest.raises(UsageError) as caught:
        postfix(**role)
    assert str(caught.value) == f"host mx: postfix does not {lacking} here; the built-in mail server does"


def test_postfix_keeps_no_mailing_lists() -> None:
    """The list server of the built-in world cannot be Postfix, which would know no list's address."""
    derived = world(catalog.load("two-companies"))
    host = derived.plan.host("lists")
    (role,) = (role for role in host.roles if isinstance(role, MailServer))
    with pytest.raises(UsageError, match=r"host lists: postfix does not keep mailing lists here"):
        roles.IMPLEMENTATIONS["mail-server", "postfix"](derived, host, role)


def test_postfix_routes_and_relays_as_the_plan_says() -> None:
    """Default route, transport table, networks that may relay and mailboxes are those of the plan."""
    routes = (ONWARD, MailRoute(domain="example.net", via=("a.example.org", "b.example.org")))
    service = postfix(routes=routes, relay_from=("lan",), mailboxes=("example.org",))
    assert {
        "mynetworks = 127.0.0.0/8, 198.18.1.0/24",
        "relayhost = example.org",
        "virtual_mailbox_domains = example.org",
        "minimal_backoff_time = 5s",
        "maximal_queue_lifetime = 7200s",
    } <= {*service.files["postfix/main.cf"].splitlines()}
    assert service.files["postfix/transport"] == "example.net smtp:a.example.org, b.example.org\n"
    assert service.files["postfix/mailboxes"] == "bob@example.org example.org/bob/\n"


def test_a_domain_that_signs_has_a_key_at_its_msa() -> None:
    """The key lies in a file for the server alone, the configuration names it, and DNS has its record."""
    keys = {"example.com": DkimKey(private="PEM", record="v=DKIM1; p=x")}
    service, config = rendered(minimal.build(), "corp-mta/mail-server", keys=keys)
    assert config["signing"] == [{"domain": "example.com", "selector": "lab", "key": "dkim/example.com.pem"}]
    assert service.secrets == {"dkim/example.com.pem": "PEM"}
    assert "PEM" not in repr(service)
    zones = world(minimal.build(), keys=keys).zones
    assert 'lab._domainkey.example.com. TXT "v=DKIM1; p=x"' in zones["example.com"]
    service, config = rendered(minimal.build(), "rcpt-mx/mail-server", keys=keys)
    assert (config["signing"], service.secrets) == ([], {})


def test_each_run_has_keys_of_its_own() -> None:
    """Two runs of a plan share none, and each public key is its private one's."""
    one, other = dkim.make(minimal.build()), dkim.make(minimal.build())
    assert one.keys() == {"example.com", "example.org"}
    assert len({key.private for made in (one, other) for key in made.values()}) == 4
    key = one["example.com"]
    signer = Signer([read_key(key.private.encode(), domain="example.com", selector="lab")])
    message = b"From: a@example.com\r\n\r\nx\r\n"
    field = signer.field(message, now=1.0)
    assert dkimpy.verify(field + message, dnsfunc=lambda *_, **__: key.record.encode())
