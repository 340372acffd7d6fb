"""An SMTP session said command by command, by Python's smtplib on a host of a lab.

swaks knows no parameters of MAIL and RCPT and no BDAT; smtplib sends whatever it is told to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mailbed import Lab

_CLIENT = """
import json, smtplib, sys
asked = json.load(sys.stdin)
replies = []
with smtplib.SMTP(asked["server"], asked["port"], timeout=60) as session:
    session.ehlo()
    if asked["login"]:
        session.starttls()
        session.login(*asked["login"])
    for command in asked["commands"]:
        session.send(command.encode() * asked["times"].get(command, 1))
        if command not in asked["silent"]:
            code, text = session.getreply()
            replies.append(f"{code} {text.decode()}")
json.dump(replies, sys.stdout)
"""


def say(
    lab: Lab,
    host: str,
    server: str,
    *commands: str,
    port: int = 25,
    login: Sequence[str] = (),
    flood: tuple[str, int] = ("", 0),
) -> list[str]:
    """Return the reply to each command, on whose end CRLF is put unless it is a `chunk`.

    With `login` (user, password) it is said after STARTTLS and AUTH. `flood` is a text to which no reply is
    due, and how many times it is sent before the dot that ends the message.
    """
    lines = [command if command.startswith("BDAT ") else f"{command}\r\n" for command in commands]
    text, count = flood
    if text:
        lines.insert(lines.index(".\r\n"), text)
    asked = {
        "server": server,
        "port": port,
        "login": list(login),
        "commands": lines,
        "times": {text: count},
        "silent": [text],
    }
    done = lab.exec(host, "/usr/bin/python3", "-c", _CLIENT, stdin=json.dumps(asked), timeout_s=120)
    assert done.returncode == 0, done.stderr
    replies: list[str] = json.loads(done.stdout)
    return replies


def chunk(text: str, *, last: bool = False) -> str:
    """The command BDAT with its octets (RFC 3030 §2)."""
    return f"BDAT {len(text.encode())}{' LAST' if last else ''}\r\n{text}"
