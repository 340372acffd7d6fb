"""A capture file gets comments on its packets: the edge of `commenting`.

Theory of operation. The capture is the only record of a run, so it is never written to. A copy with the
comments is made beside it, of the same owner and mode, and takes its place when it is whole and on the disk:

    network.pcapng ──► .network.pcapng.xxxx ──(whole)──► network.pcapng

Whatever goes wrong before, a full disk or Ctrl-C, removes the copy and leaves the capture as it was. So does
a capture that has grown meanwhile: its recorder would go on writing to a file that is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from captures.errors import NotACapture
from captures.reports.commenting import Commented


def annotate(path: str | PathLike[str], comments: Mapping[int, str]) -> int:
    """Have the packets of a pcapng file commented; return how many comments were not there before.

    `comments` are by frame number, from 1. If all of them are there already, or none is for a packet of the
    file, it is not touched. Needs constant memory, and for a moment as much disk space as the file has.
    Raises: NotACapture, naming the file; OSError, also when the file changed meanwhile (EBUSY). Either leaves
    the file as it was.
    """
    capture = Path(path).resolve()
    if not comments:
        return 0
    with open(capture, "rb", buffering=0) as source:
        before = os.fstat(source.fileno())
        number, copy = tempfile.mkstemp(dir=capture.parent, prefix=f".{capture.name}.")
        try:
            with open(number, "wb") as target:
                added = _copy(source, target, comments, path)
                _make_alike(target, before)
                if added:
                    target.flush()
                    os.fdatasync(target.fileno())
            if added:
                _take_place(copy, capture, before)
        finally:
            # Not there any more if it has taken the capture's place.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(copy)
    return added


def _copy(source: BinaryIO, target: BinaryIO, comments: Mapping[int, str], path: object) -> int:
    commented = Commented(source, comments)
    try:
        target.writelines(commented)
    except NotACapture as error:
        raise NotACapture(f"{path}: {error}") from None
    return commented.added


def _make_alike(target: BinaryIO, model: os.stat_result) -> None:
    """Give the copy the owner first: that may cost mode bits."""
    now = os.fstat(target.fileno())
    if (now.st_uid, now.st_gid) != (model.st_uid, model.st_gid):
        os.fchown(target.fileno(), model.st_uid, model.st_gid)
    os.fchmod(target.fileno(), model.st_mode & 0o7777)


def _take_place(copy: str, capture: Path, before: os.stat_result) -> None:
    now = os.stat(capture)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
        raise OSError(errno.EBUSY, "the capture changed while its packets were being commented", str(capture))
    os.replace(copy, capture)
