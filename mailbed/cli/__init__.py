"""The command line: `mailbed VERB …`, in modules by what the verbs are about.

app         the verbs together, and how errors and signals end the command
run         one lab, one journey, and down again        labs       list, up, down, ps
send        a message through a running lab             programs   exec
faults      fault add, list, clear                      cleaning   clean
diagnosis   doctor                                      background the process that owns a lab that is `up`

A verb imports what it needs when it is called: `mailbed --help` must not wait for the lab's imports.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with its exit status."""
    try:
        from mailbed.cli.app import entry

        entry()
    except KeyboardInterrupt:
        # Before there is anything to take down, or when all is said.
        sys.exit(130)
