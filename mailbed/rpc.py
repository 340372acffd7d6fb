"""JSON-RPC 2.0, one object a line: how everybody outside talks to a lab.

A request names a method; its parameters are an object. A response has the request's id; a notification
(method `event`) has none. An error carries the class of mailbed.errors in `data.kind`, so that the caller
can raise the same one.

    -> {"jsonrpc": "2.0", "id": 1, "method": "fault.add", "params": {"kind": "host-down", "target":
    ["rcpt-mx"]}} <- {"jsonrpc": "2.0", "id": 1, "result": {"id": 1}}

File descriptors travel beside a request or a response (SCM_RIGHTS) in the order in which it names them.
Source: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mailbed import errors

VERSION = "2.0"
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
APPLICATION_ERROR = 1


def request(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a request as a line."""
    return _line({"jsonrpc": VERSION, "id": number, "method": method, "params": params})


def result(number: object, value: object) -> bytes:
    """Return a successful response as a line."""
    return _line({"jsonrpc": VERSION, "id": number, "result": value})


def error(number: object, code: int, message: str, kind: str = "LabError") -> bytes:
    """Return a failed response as a line."""
    return _line(
        {
            "jsonrpc": VERSION,
            "id": number,
            "error": {"code": code, "message": message, "data": {"kind": kind}},
        }
    )


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """Return a notification as a line."""
    return _line({"jsonrpc": VERSION, "method": method, "params": params})


def parse(line: bytes) -> dict[str, Any]:
    """Return the object in a line. Raises: ValueError."""
    message = json.loads(line)
    if not isinstance(message, dict) or message.get("jsonrpc") != VERSION:
        raise ValueError("not a JSON-RPC 2.0 object")
    return message


def exception(problem: Mapping[str, Any]) -> errors.MailbedError:
    """Return the exception that a response's `error` stands for."""
    kind = problem.get("data", {}).get("kind", "LabError")
    cls = getattr(errors, kind, errors.LabError)
    if not (isinstance(cls, type) and issubclass(cls, errors.MailbedError)):
        cls = errors.LabError
    return cls(str(problem.get("message", "")))


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"
