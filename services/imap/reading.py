"""A mail program's reading side: it looks into the mailbox of one user over IMAP, and ends.

    python -m services.imap.reading < job.json

The job names the mail program's `settings` (a TOML file: imap_server, username, password, ca_file, keylog)
and what to do: `wait_s` waits that long for a message that was not there, `uids` picks messages (default:
all), `content` fetches them whole, `mark_read` and `delete` change them afterwards. The answer is one JSON
object on standard output: `messages`, each with its `uid`, `flags`, `arrival` (s since
1970), `size`, `from`, `to`, `subject`, `date`, `message_id`, and `content` in base64; or `error`, a sentence.

Looking changes nothing: the mailbox is opened for reading alone unless it is to be changed.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import json
import re
import ssl
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from email.policy import compat32
from pathlib import Path
from typing import Any

_PORT = 143
_TIMEOUT_S = 30.0
_FIELDS = "FROM TO SUBJECT DATE MESSAGE-ID"
_HEAD = re.compile(rb"UID (\d+)")
_SIZE = re.compile(rb"RFC822\.SIZE (\d+)")


class ReadingFailed(Exception):
    """The mailbox could not be read; the message is one line."""


def main() -> int:
    """Do the job on standard input; return the exit status."""
    job = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"messages": run(job)}
    except ReadingFailed as error:
        answer = {"error": str(error)}
    except imaplib.IMAP4.error as error:
        answer = {"error": _sentence(error)}
    except OSError as error:
        answer = {"error": f"the IMAP server cannot be reached: {error.strerror or error}"}
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


def run(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a job, changed as it says. Raises: ReadingFailed, IMAP4.error, OSError."""
    settings = tomllib.loads(Path(job["settings"]).read_text(encoding="utf-8"))
    changing = bool(job.get("mark_read") or job.get("delete"))
    with _session(settings) as imap:
        _ok(imap.select("INBOX", readonly=not changing))
        uids = job.get("uids")
        if job.get("wait_s") is not None:
            uids = _wait(imap, float(job["wait_s"]))
        found = _messages(imap, uids)
        missing = [uid for uid in uids or () if uid not in [message["uid"] for message in found]]
        if missing:
            raise ReadingFailed(f"there is no message {missing[0]}")
        if job.get("content"):
            for message in found:
                message["content"] = base64.b64encode(_content(imap, message["uid"])).decode()
        if changing and found:
            _change(imap, [message["uid"] for message in found], job)
    return found


@contextlib.contextmanager
def _session(settings: Mapping[str, Any]) -> Iterator[imaplib.IMAP4]:
    """A session that has logged in under TLS, and logs out."""
    context = ssl.create_default_context(cafile=settings["ca_file"])
    context.keylog_filename = settings["keylog"]
    with imaplib.IMAP4(settings["imap_server"], _PORT, timeout=_TIMEOUT_S) as imap:
        imap.starttls(context)
        if settings["username"].isascii():
            imap.login(settings["username"], settings["password"])
        else:
            # LOGIN of imaplib writes ASCII (and RFC 3501 has no other strings).
            secret = f"\0{settings['username']}\0{settings['password']}".encode()
            imap.authenticate("PLAIN", lambda _: secret)
        yield imap


def _messages(imap: imaplib.IMAP4, uids: Sequence[int] | None) -> list[dict[str, Any]]:
    if uids is not None and not uids:
        return []
    which = ",".join(map(str, uids)) if uids is not None else "1:*"
    items = f"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({_FIELDS})])"
    found = _ok(imap.uid("FETCH", which, items))
    return [_message(*part) for part in found if isinstance(part, tuple)]


def _message(head: bytes, header: bytes) -> dict[str, Any]:
    uid, size = _HEAD.search(head), _SIZE.search(head)
    when = imaplib.Internaldate2tuple(head)
    if uid is None or size is None or when is None:
        raise ReadingFailed(f"the IMAP server gave no sense: {head!r}")
    return {
        "uid": int(uid[1]),
        "flags": [flag.decode() for flag in imaplib.ParseFlags(head)],
        "arrival": int(time.mktime(when)),
        "size": int(size[1]),
        **summary(header),
    }


def summary(header: bytes) -> dict[str, str]:
    """Return the fields of a message's header that a list of messages shows, as people read them."""
    fields = BytesHeaderParser(policy=compat32).parsebytes(header)
    return {name.lower().replace("-", "_"): _text(fields.get(name)) for name in _FIELDS.split()}


def _text(value: Any) -> str:
    """A header field as people read it."""
    if value is None:
        return ""
    text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with contextlib.suppress(ValueError, LookupError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.split())


def _content(imap: imaplib.IMAP4, uid: int) -> bytes:
    for part in _ok(imap.uid("FETCH", str(uid), "(BODY.PEEK[])")):
        if isinstance(part, tuple):
            return bytes(part[1])
    raise ReadingFailed(f"message {uid} is gone")


def _change(imap: imaplib.IMAP4, uids: Sequence[int], job: Mapping[str, Any]) -> None:
    which = ",".join(map(str, uids))
    if job.get("mark_read"):
        _ok(imap.uid("STORE", which, "+FLAGS.SILENT", "(\\Seen)"))
    if job.get("delete"):
        _ok(imap.uid("STORE", which, "+FLAGS.SILENT", "(\\Deleted)"))
        _ok(imap.uid("EXPUNGE", which))


def _wait(imap: imaplib.IMAP4, seconds: float) -> list[int]:
    """Idle (RFC 2177) until there are messages that were not there; return their UIDs, none in the end."""
    deadline = time.monotonic() + seconds
    known = set(_uids(imap))
    tag = b"IDLE1"
    imap.send(tag + b" IDLE\r\n")
    if not imap.readline().startswith(b"+"):
        raise ReadingFailed("the IMAP server does not idle")
    try:
        while (left := deadline - time.monotonic()) > 0:
            imap.sock.settimeout(left)
            line = imap.readline()
            if not line:
                raise ReadingFailed("the IMAP server has gone away")
            if line.rstrip().endswith(b" EXISTS"):
                break
    except TimeoutError:
        raise ReadingFailed(f"no new message within {seconds:g} s") from None
    imap.sock.settimeout(_TIMEOUT_S)
    imap.send(b"DONE\r\n")
    while not imap.readline().startswith(tag):
        pass
    new = [uid for uid in _uids(imap) if uid not in known]
    if not new:
        raise ReadingFailed(f"no new message within {seconds:g} s")
    return new


def _uids(imap: imaplib.IMAP4) -> list[int]:
    return [int(uid) for uid in (_ok(imap.uid("SEARCH", "ALL"))[0] or b"").split()]


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    status, data = answer
    if status != "OK":
        said = data[0].decode(errors="replace") if data and isinstance(data[0], bytes) else str(data)
        raise ReadingFailed(f"the IMAP server said: {said}")
    return data


def _sentence(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return f"the IMAP server said: {said.decode(errors='replace') if isinstance(said, bytes) else said}"


if __name__ == "__main__":
    sys.exit(main())
