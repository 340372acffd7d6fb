"""Questions that a plan answers about itself."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.topologies.plans import small
from topologies.plan import ROLES, Host, NameServer, User


def test_hosts_are_found_by_name() -> None:
    """A host is found by its name, and a name that nobody bears is a KeyError."""
    assert small().host("mx").fqdn == "mx.example.org"
    with pytest.raises(KeyError):
        small().host("ghost")


def test_roles_come_in_the_order_of_the_plan() -> None:
    """Every role comes with its host, also several of one host."""
    assert [(host.name, role.kind) for host, role in small().roles()] == [
        ("ns", "name-server"),
        ("ns", "resolver"),
        ("mx", "mail-server"),
        ("bob", "mail-client"),
    ]


def test_a_zones_primary_comes_first() -> None:
    """The servers of a zone are its primary, then its secondaries, wherever they stand in the plan."""
    hosts = (
        Host(name="b", fqdn="b.org", roles=(NameServer(secondary=("org",)),)),
        Host(name="a", fqdn="a.org", roles=(NameServer(primary=("org",)),)),
        Host(name="c", fqdn="c.org", roles=(NameServer(primary=(".",), secondary=("org",)),)),
    )
    plan = small(hosts=hosts)
    assert [host.name for host in plan.servers_of("org")] == ["a", "b", "c"]
    assert [host.name for host in plan.servers_of(".")] == ["c"]
    assert plan.servers_of("net") == []


def test_passwords_need_not_be_thought_up() -> None:
    """Without a password it is the local part again."""
    assert (User(local="bob").secret, User(local="bob", password="s3").secret) == ("bob", "s3")


def test_plans_do_not_change() -> None:
    """A plan that has been checked stays as it was."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        small().name = "other"  # type: ignore[misc]  # that it is refused is the point


def test_each_role_has_a_name_of_its_own() -> None:
    """Plan files tell roles apart by `kind`."""
    assert set(ROLES) == {
        "name-server",
        "resolver",
        "mail-server",
        "imap-server",
        "mail-client",
        "virus-engine",
        "spam-engine",
        "command",
    }
    assert all(cls.kind == kind for kind, cls in ROLES.items())
