"""Who is told of what."""

from __future__ import annotations

import pytest

from services.smtp.wishes import Action, is_told


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ("", "failed delayed"),
        ("NEVER", ""),
        ("FAILURE", "failed"),
        ("DELAY", "delayed"),
        ("SUCCESS", "delivered relayed"),
        ("SUCCESS FAILURE", "failed delivered relayed"),
        ("SUCCESS FAILURE DELAY", "failed delayed delivered relayed"),
    ],
)
def test_wishes(notify: str, told: str) -> None:
    """A sender is told what NOTIFY says, without it of failures and delays; the null one of nothing."""
    actions: list[Action] = ["failed", "delayed", "delivered", "relayed"]
    found = [action for action in actions if is_told(action, notify=notify.split(), sender="a@example.com")]
    assert found == told.split()
    assert not any(is_told(action, notify=notify.split(), sender="") for action in actions)
