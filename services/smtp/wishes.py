"""Whether a sender is told of what became of a recipient (RFC 3461 §4.1).

    NOTIFY        failed   delayed   delivered, relayed
    (none)         yes       yes       no
    NEVER          no        no        no
    FAILURE        yes       no        no
    DELAY          no        yes       no
    SUCCESS        no        no        yes
    several words: whatever one of them says

Who says nothing is warned of a delay, as Sendmail and Exim do (Postfix leaves it to the site, and is silent
unless told otherwise); the RFC permits either. Whom an alias stands for is told of one by one, with the alias
as their original recipient (§5.2.7): so nothing is ever reported as expanded. Nobody is told of anything that
came from the null reverse-path: so there is no report about a report (RFC 5321 §4.5.5).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Action = Literal["failed", "delayed", "delivered", "relayed"]
"""What became of a recipient, in the words of RFC 3464 §2.3.3."""

_WORD: dict[Action, str] = {
    "failed": "FAILURE",
    "delayed": "DELAY",
    "delivered": "SUCCESS",
    "relayed": "SUCCESS",
}
_BY_DEFAULT = frozenset({"FAILURE", "DELAY"})


def is_told(action: Action, *, notify: Collection[str], sender: str) -> bool:
    """Return whether `sender` ("" is the null one) is told of `action`, having said NOTIFY=`notify`."""
    return bool(sender) and _WORD[action] in (notify or _BY_DEFAULT)
