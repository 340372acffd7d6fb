"""One mail server on each side, one name server for each level of DNS, a router between.

::

       company 198.18.1.0/24             Internet                  recipient 198.18.2.0/24

      alice ───────┐                                                  ┌─────── bob
      corp-mta ────┼── corp-lan ────────── core1 ────────── rcpt-lan ─┼─────── rcpt-mx
      corp-dns ────┘                      /  |  \\                     └─────── rcpt-dns
                                    a-root tld-ns auth-ns

    host       address          what it is
    alice      198.18.1.10      MUA of alice@example.com, submits to corp-mta
    corp-mta   198.18.1.11      MSA, MTA and MDA of example.com, IMAP
    corp-dns   198.18.1.12      the company's resolver
    core1      198.18.1.1 …     router
    a-root     198.41.0.4       root name server, at its real address
    tld-ns     198.19.0.2       com, net, org, in-addr.arpa
    auth-ns    198.19.0.4       example.com, example.org and the reverse zones
    rcpt-mx    198.18.2.10      MX, MTA and MDA of example.org, IMAP
    rcpt-dns   198.18.2.11      the recipient's resolver
    bob        198.18.2.12      MUA of bob@example.org, submits to rcpt-mx
"""

from __future__ import annotations

from topologies.plan import (
    Alias,
    Domain,
    Exchanger,
    Host,
    ImapServer,
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

TITLE = "one MTA each side, one name server per level, a router between"

_ZONES = ("example.com", "example.org", "root-servers.net", "nic.net")
_REVERSE = ("18.198.in-addr.arpa", "19.198.in-addr.arpa")
_TOP = ("com", "net", "org", "in-addr.arpa")


def build() -> Plan:
    """Return the plan of `minimal`."""
    return Plan(
        name="minimal",
        title=TITLE,
        networks=(
            Network(name="corp-lan", subnet="198.18.1.0/24"),
            Network(name="rcpt-lan", subnet="198.18.2.0/24"),
        ),
        hosts=(*_company(), *_internet(), *_recipient()),
        links=_links(),
        zones=tuple(Zone(origin=origin) for origin in (".", *_TOP, *_ZONES, *_REVERSE)),
        domains=(
            Domain(
                name="example.com",
                exchangers=(Exchanger(host="corp-mta"),),
                users=(User(local="alice"), User(local="carol")),
                aliases=(Alias(local="info", to=("alice", "carol")),),
                spf="-all",
                dkim=True,
                dmarc="reject",
            ),
            Domain(
                name="example.org",
                exchangers=(Exchanger(host="rcpt-mx"),),
                users=(User(local="bob"), User(local="dave")),
                spf="-all",
                dkim=True,
                dmarc="quarantine",
            ),
        ),
    )


def _company() -> tuple[Host, ...]:
    mail = MailServer(submission=True, mailboxes=("example.com",))
    alice = MailClient(user="alice@example.com", server="corp-mta")
    return (
        Host(name="alice", fqdn="alice.example.com", roles=(alice,), resolver="corp-dns"),
        Host(name="corp-mta", fqdn="corp-mta.example.com", roles=(mail, ImapServer()), resolver="corp-dns"),
        Host(name="corp-dns", fqdn="corp-dns.example.com", roles=(Resolver(),), resolver="corp-dns"),
    )


def _internet() -> tuple[Host, ...]:
    return (
        Host(name="core1", fqdn="core1.nic.net", router=True),
        Host(name="a-root", fqdn="a.root-servers.net", roles=(NameServer(primary=(".",)),)),
        Host(name="tld-ns", fqdn="tld-ns.nic.net", roles=(NameServer(primary=_TOP),)),
        Host(name="auth-ns", fqdn="auth-ns.nic.net", roles=(NameServer(primary=_ZONES + _REVERSE),)),
    )


def _recipient() -> tuple[Host, ...]:
    mail = MailServer(submission=True, mailboxes=("example.org",))
    bob = MailClient(user="bob@example.org", server="rcpt-mx")
    return (
        Host(name="rcpt-mx", fqdn="rcpt-mx.example.org", roles=(mail, ImapServer()), resolver="rcpt-dns"),
        Host(name="rcpt-dns", fqdn="rcpt-dns.example.org", roles=(Resolver(),), resolver="rcpt-dns"),
        Host(name="bob", fqdn="bob.example.org", roles=(bob,), resolver="rcpt-dns"),
    )


def _links() -> tuple[Link, ...]:
    """Offices are at hand; the Internet is slower and, where the kernel can, further away."""
    lan = {"alice": "corp-lan", "corp-mta": "corp-lan", "corp-dns": "corp-lan"}
    lan |= {"rcpt-mx": "rcpt-lan", "rcpt-dns": "rcpt-lan", "bob": "rcpt-lan"}
    return (
        *(Link(a=host, b=network, rate_mbit=1000) for host, network in lan.items()),
        Link(a="core1", b="corp-lan", rate_mbit=100, delay_ms=5),
        Link(a="core1", b="rcpt-lan", rate_mbit=100, delay_ms=5),
        Link(a="a-root", b="core1", address="198.41.0.4", delay_ms=10),
        Link(a="tld-ns", b="core1", delay_ms=10),
        Link(a="auth-ns", b="core1", delay_ms=10),
    )
