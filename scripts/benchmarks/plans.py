"""Plans to measure with: of any size, with services on every host but the routers."""

from __future__ import annotations

from topologies.plan import (
    Domain,
    Exchanger,
    Host,
    Link,
    MailClient,
    MailServer,
    NameServer,
    Network,
    Plan,
    Resolver,
    User,
    Zone,
)

_TOP = ("com", "net", "org", "edu", "gov")
_ROOTS = {
    "a": "198.41.0.4",
    "b": "170.247.170.2",
    "c": "192.33.4.12",
    "d": "199.7.91.13",
    "e": "192.203.230.10",
    "f": "192.5.5.241",
    "g": "192.112.36.4",
    "h": "198.97.190.53",
    "i": "192.36.148.17",
    "j": "192.58.128.30",
    "k": "193.0.14.129",
    "l": "199.7.83.42",
    "m": "202.12.27.33",
}


def internet(sites: int = 9) -> Plan:
    """Return 13 roots, 10 top-level and 6 domain name servers, a ring of 4 routers, and `sites` companies.

    A company has a mail server, a resolver and a user: 33 hosts and three for each site, 60 with nine.
    """
    cores = tuple(Host(name=f"core{n}", fqdn=f"core{n}.nic.net", router=True) for n in range(1, 5))
    links = [Link(a=f"core{n}", b=f"core{n % 4 + 1}") for n in range(1, 5)]
    domains = [f"site{n}.example.com" for n in range(1, sites + 1)]
    bottom = ("nic.net", "root-servers.net", "198.in-addr.arpa", *domains)

    servers: list[Host] = []
    for number, (letter, address) in enumerate(_ROOTS.items()):
        role = NameServer(primary=(".",)) if letter == "a" else NameServer(secondary=(".",))
        servers.append(Host(name=f"{letter}-root", fqdn=f"{letter}.root-servers.net", roles=(role,)))
        links.append(Link(a=f"{letter}-root", b=f"core{number % 4 + 1}", address=address))
    for number, name in enumerate(f"{top}-ns{n}" for top in _TOP for n in (1, 2)):
        zones = (name.partition("-")[0], *(("in-addr.arpa",) if name.startswith("com") else ()))
        role = NameServer(primary=zones) if name.endswith("1") else NameServer(secondary=zones)
        servers.append(Host(name=name, fqdn=f"{name}.nic.net", roles=(role,)))
        links.append(Link(a=name, b=f"core{number % 4 + 1}"))
    for number in range(6):
        mine, others = bottom[number::6], bottom[(number + 1) % 6 :: 6]
        role = NameServer(primary=mine, secondary=others)
        servers.append(Host(name=f"auth{number}", fqdn=f"auth{number}.nic.net", roles=(role,)))
        links.append(Link(a=f"auth{number}", b=f"core{number % 4 + 1}"))

    companies: list[Host] = []
    networks: list[Network] = []
    for number, domain in enumerate(domains, start=1):
        networks.append(Network(name=f"lan{number}", subnet=f"198.18.{number}.0/24"))
        companies += _company(number, domain)
        links += [Link(a=f"{what}{number}", b=f"lan{number}") for what in ("mx", "dns", "user")]
        links.append(Link(a=f"core{number % 4 + 1}", b=f"lan{number}"))

    return Plan(
        name=f"bench{len(cores) + len(servers) + len(companies)}",
        title="an Internet to measure with",
        networks=tuple(networks),
        hosts=(*cores, *servers, *companies),
        links=tuple(links),
        zones=tuple(Zone(origin=origin) for origin in (".", *_TOP, "in-addr.arpa", *bottom)),
        domains=tuple(
            Domain(name=domain, exchangers=(Exchanger(host=f"mx{n}"),), users=(User(local="user"),))
            for n, domain in enumerate(domains, start=1)
        ),
    )


def _company(number: int, domain: str) -> list[Host]:
    resolver = f"dns{number}"
    mail = MailServer(submission=True, mailboxes=(domain,))
    user = MailClient(user=f"user@{domain}", server=f"mx{number}")
    return [
        Host(name=f"mx{number}", fqdn=f"mx.{domain}", roles=(mail,), resolver=resolver),
        Host(name=resolver, fqdn=f"dns.{domain}", roles=(Resolver(),), resolver=resolver),
        Host(name=f"user{number}", fqdn=f"user.{domain}", roles=(user,), resolver=resolver),
    ]
