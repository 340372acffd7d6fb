"""Virus engines on a host's loopback, in clamd's protocol: our own, and ClamAV's clamd.

Both read the same signatures, those of the plan and the built-in ones, from one directory. clamd gets no
others: no freshclam runs, and the machine's own database, if it has any, is left alone. Names of its findings
end in `.UNOFFICIAL`, as it calls every signature that ClamAV's makers have not signed.
"""

from __future__ import annotations

import tomli_w

from mailbed.errors import UsageError
from mailbed.roles.service import Service, World
from services.errors import ConfigError
from services.filters.virus.signatures import BUILT_IN, read
from topologies.plan import Host, VirusEngine

_DIRECTORY = "signatures"
_BUILT_IN = "built-in.ndb"
_CONFIG = """\
Foreground yes
TCPSocket 3310
TCPAddr 127.0.0.1
DatabaseDirectory {directory}/signatures
OfficialDatabaseOnly no
Bytecode no
# It would look for new signatures by itself; who changes them says RELOAD.
SelfCheck 0
# Of the lab's own, so that nothing stays behind.
TemporaryDirectory /run
MaxThreads 2
# A bomb, and what nobody can look into, is a finding, as with ours.
AlertExceedsMax yes
AlertEncryptedArchive {encrypted}
"""


def built_in(world: World, host: Host, role: VirusEngine) -> Service:  # noqa: ARG001 -- the signature of all
    """Return our engine. Raises: UsageError for a signature file that is wrong."""
    config = {"signatures": _DIRECTORY, "block_encrypted": role.block_encrypted}
    files = _signatures(host, role)
    return Service(
        host=host.name,
        role=role.kind,
        module="services.filters.virus.engine",
        config="virus-engine.toml",
        files={**files, "virus-engine.toml": tomli_w.dumps(config)},
    )


def clamav(world: World, host: Host, role: VirusEngine) -> Service:
    """Return clamd, with these signatures alone. Raises: UsageError for a signature file that is wrong."""
    directory = world.directory(host.name)
    text = _CONFIG.format(directory=directory, encrypted="yes" if role.block_encrypted else "no")
    config = {
        "command": ["clamd", "--config-file", str(directory / "clamd.conf")],
        "ready": "tcp:3310",
        "directory": str(directory),
        "log": str(directory / f"{role.kind}.log"),
        "events": {r" FOUND$": "found", r"^ERROR: (.*)": "error"},
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="mailbed.daemon",
        config="virus-engine.toml",
        files={**_signatures(host, role), "clamd.conf": text, "virus-engine.toml": tomli_w.dumps(config)},
    )


def _signatures(host: Host, role: VirusEngine) -> dict[str, str]:
    """The signature files, by path below the host's directory."""
    for name, text in role.signatures.items():
        if "/" in name or name == _BUILT_IN:
            raise UsageError(f"host {host.name}: a signature file cannot be called {name!r}")
        try:
            read(text, file=name)
        except ConfigError as error:
            raise UsageError(f"host {host.name}: {role.kind}: {error}") from None
    files = {_BUILT_IN: BUILT_IN, **role.signatures}
    return {f"{_DIRECTORY}/{name}": text for name, text in files.items()}
