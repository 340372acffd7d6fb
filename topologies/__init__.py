"""The emulated world: plans (pure data) and how a plan becomes a running network.

plan        the dataclasses: hosts, roles, links, networks, zones, mail domains
check       every mistake of a plan, at once and by name
addressing  interfaces and addresses        routing     static routes
zonedata    zone files, root hints          planfile    TOML
catalog     built-in plans by name, and users' files
network     the plan realised by Mininet (the one module that imports it)
"""
