"""Where a forward-path leads in the end, whatever hosts it names on the way there.

Two old notations name hosts to pass, and each host that honours them takes itself off:

    @open-2.example.net:bob@example.org                     a source route (RFC 821 §3.1)
    bob%example.org%open-2.example.net@open-1.example.net   the percent hack (RFC 1123 §5.2.16)

All of these lead to bob@example.org: so a recipient is the same one at every hop.
"""

from __future__ import annotations


def mailbox(path: str) -> str:
    """Return the mailbox that a forward-path leads to; a plain one is that itself."""
    if path.startswith("@"):
        path = path.partition(":")[2] or path
    local, at, domain = path.rpartition("@")
    if "%" in local and not local.startswith('"'):
        local, _, domain = local.partition("%")
        domain = domain.partition("%")[0]
    return f"{local}{at}{domain}"


def same(path: str) -> str:
    """Return that mailbox as it compares: its domain without case, its local part not (RFC 5321 §2.4)."""
    local, at, domain = mailbox(path).rpartition("@")
    return f"{local}{at}{domain.lower()}"
