"""Write a labelled corpus: `python -m mailbed.corpus --seed 7 corpus`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mailbed.corpus.generate import EACH, corpus, write
from mailbed.errors import UsageError


def main() -> None:
    """Write the messages below a directory that is new or empty: USE/CATEGORY/NUMBER.eml."""
    parser = argparse.ArgumentParser(prog="python -m mailbed.corpus", description=main.__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--each", type=int, default=EACH, metavar="N", help="of each category and use")
    given = parser.parse_args()
    try:
        count = write(corpus(seed=given.seed, now=time.time(), each=given.each), given.directory)
    except (UsageError, OSError) as error:
        parser.error(str(error))
    print(f"{count} messages in {given.directory}")


if __name__ == "__main__":
    main()
