"""The built-in plans for Mininet's own launcher.

::

    unshare --user --map-root-user --net --mount --pid --fork --mount-proc --uts \\
        sh -c 'mount -t tmpfs tmpfs /tmp && exec "$@"' - \\
        mn --custom topologies/custom.py --topo minimal --switch lxbr --controller none

Every built-in topology is there; parameters stand behind commas: `--topo internet,DOMAINS=30`. The launcher's
`lxbr` needs Debian's `bridge-utils`.

Run it in a sandbox only, as above (root leaves out `--user --map-root-user`): when something goes wrong, or
at Ctrl-C, the launcher cleans up by killing processes by name and by removing `/tmp/*.log` and `/tmp/*.out`,
whoever's they are.

What works: hosts, bridges, routers, addresses and static routes, so that `pingall` drops nothing; Mininet's
command line and its `--test`. To the command line a hyphen ends a host's name: write `alice ping bob`, but
`py net["corp-mta"].cmd("ip route")`. What does not: there are no services, hence no names and no mail; links
have neither rate nor delay; nothing is captured; offloads and IPv6 are as the machine has them; faults, and
routes around them, are the lab's alone. For all that there is `mailbed up`.

Theory of operation. The launcher runs this text with the system's Python and without `__file__`, and makes
every name it finds here one of its own globals: hence the underscores, and the look at the command line for
where the checkout is. Nothing but the standard library and Mininet may be needed on this way.
"""

from __future__ import annotations

import sys as _sys
from functools import partial as _partial
from itertools import pairwise as _pairwise
from pathlib import Path as _Path


def _checkout() -> str:
    """Where our packages are: beside the file that `--custom` names, else where we were started, or above."""
    words = _sys.argv
    named = [value for option, value in _pairwise(words) if option == "--custom"]
    named += [word.partition("=")[2] for word in words if word.startswith("--custom=")]
    # The launcher takes one file, or several with commas between them.
    files = [_Path(part).resolve() for value in named for part in (value, *value.split(","))]
    here = _Path.cwd()
    for place in [*(file.parent.parent for file in files), here, *here.parents]:
        if (place / "topologies" / "custom.py").is_file():
            return str(place)
    raise ImportError("no Mailbed checkout at --custom, nor at the working directory or above it")


if __name__ != "topologies.custom":
    _sys.path.insert(0, _checkout())

from topologies import catalog as _catalog  # noqa: E402 - it is found only now
from topologies.addressing import assign as _assign  # noqa: E402
from topologies.nodes import PlanTopo as _PlanTopo  # noqa: E402
from topologies.nodes import StockHost as _StockHost  # noqa: E402


class _StockTopo(_PlanTopo):
    """A plan whose hosts configure themselves: the launcher needs no `--host`."""

    def addHost(self, name: str, **opts: object) -> str:  # noqa: N802 - Mininet's name
        return super().addHost(name, cls=_StockHost, **opts)


def _topology(name: str, **settings: object) -> _StockTopo:
    """`--topo internet,DOMAINS=30` is what `mailbed` calls internet:DOMAINS=30."""
    given = ",".join(f"{key}={value}" for key, value in settings.items())
    plan = _catalog.load(f"{name}:{given}" if given else name)
    return _StockTopo(plan=plan, addressing=_assign(plan))


topos = {name: _partial(_topology, name) for name in _catalog.BUILT_IN}
"""What the launcher's `--topo` chooses from, besides its own. Its own `minimal` is replaced by ours."""
