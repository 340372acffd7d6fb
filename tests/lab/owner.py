"""A program that owns a lab, to be killed: `python -m tests.lab.owner NAME RUN [--fork]`.

It says `begins` when it starts the lab and `up` when that is up, and ends when its input does. With --fork it
has a child by then, which inherits whatever the owner holds and outlives it; it says `child PID`.
"""

from __future__ import annotations

import os
import sys
import time

from mailbed import Lab


def main() -> None:
    name, run, *options = sys.argv[1:]
    lab = Lab("minimal", name=name, out=run)
    print("begins", flush=True)
    lab.up()
    if "--fork" in options:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        print("child", pid, flush=True)
    print("up", flush=True)
    sys.stdin.read()
    lab.down()


if __name__ == "__main__":
    main()
