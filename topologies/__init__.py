"""The emulated world: plans (pure data) and how a plan becomes a running network.

plan        the dataclasses: hosts, roles, links, networks, zones, mail domains
parts       plans put together from pieces     hierarchy  the core, and name servers from the root down
check       every mistake of a plan, at once and by name
addressing  interfaces and addresses        routing     static routes
zonedata    zone files, root hints          planfile    TOML
catalog     built-in plans by name, with parameters, and users' files
minimal, two_companies, company, dns, internet              the built-in plans
network     the plan realised by Mininet (the one module that imports it)
"""

from __future__ import annotations

DEFAULT = "two-companies"
"""The built-in plan that is meant where none is named."""
