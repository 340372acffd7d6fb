"""A program for the virtual machine that says that it is there, and stays.

python -m tests.kernel.idle FINDINGS
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Write one line and wait to be ended with the machine."""
    with open(sys.argv[1], "a", encoding="utf-8") as findings:
        print(json.dumps({"name": "idle"}), file=findings, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
