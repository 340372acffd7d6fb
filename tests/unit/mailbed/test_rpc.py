"""JSON-RPC 2.0 as lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbed import errors, rpc

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(), st.text(), st.dictionaries(st.text(), JSON, max_size=3))
def test_a_request_is_one_line(number: int, method: str, params: dict[str, object]) -> None:
    """Whatever a request holds, it is one line that reads back as it was."""
    line = rpc.request(number, method, params)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert rpc.parse(line) == {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def test_the_four_kinds_of_message() -> None:
    """A result and an error answer an id; a notification has none."""
    assert rpc.parse(rpc.result(1, [2])) == {"jsonrpc": "2.0", "id": 1, "result": [2]}
    assert rpc.parse(rpc.notification("event", {"a": 1})) == {
        "jsonrpc": "2.0",
        "method": "event",
        "params": {"a": 1},
    }
    assert rpc.parse(rpc.error(None, rpc.PARSE_ERROR, "no JSON")) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "no JSON", "data": {"kind": "LabError"}},
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"[]",
        b"5",
        b"{}",
        b'{"jsonrpc": "1.0"}',
        b'{"jsonrpc": 2.0}',
        b"\xff\xfe",
        b'{"jsonrpc": "2.0"',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    """A line that is no JSON-RPC 2.0 object is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError):
        rpc.parse(line)


@pytest.mark.parametrize("kind", ["UsageError", "LabError", "NotRunning", "SendFailed", "StartFailed"])
def test_an_error_crosses_the_socket(kind: str) -> None:
    """The caller raises the class that the lab raised, with its message."""
    problem = rpc.parse(rpc.error(1, rpc.APPLICATION_ERROR, "no such host", kind))["error"]
    raised = rpc.exception(problem)
    assert type(raised) is getattr(errors, kind)
    assert str(raised) == "no such host"


@pytest.mark.parametrize(
    "problem",
    [
        {"message": "x", "data": {"kind": "annotations"}},
        {"message": "x", "data": {"kind": "SystemExit"}},
        {"message": "x", "data": {}},
        {"message": "x"},
    ],
    ids=json.dumps,
)
def test_only_our_own_errors_are_raised(problem: dict[str, object]) -> None:
    """A class that is none of ours becomes a plain LabError."""
    raised = rpc.exception(problem)
    assert type(raised) is errors.LabError
    assert str(raised) == "x"
