"""Mail that waits for a hop that nobody could reach, and moves on in order once it can be reached again.

Theory of operation. When none of a hop's exchangers answers, its mail is deferred, each message for as long
as retry says. But once the hop is back none of it need wait any longer. So what waits is noted by hop, and

    it is called again      as soon as one of its exchangers may be tried (availability), with a session that
                            carries nothing yet; so no message uses up an attempt while nobody answers
    it answers              a call, or any message, gets through: all that waits is due at once, and goes one
                            after the other, in order of arrival, until the last of it is through

Who gets through first is chance: a message whose own time has come, or one that looks up the exchangers
while others are deferred. So whoever has a session with a hop that others wait for asks, before it says MAIL,
whether it is the first of all that are on their way there:

    an earlier one is under way     it waits until that one is through, without a place at the hop
    an earlier one was called       it goes back to the queue, due as it was, and comes again behind that one

Mail that comes meanwhile goes behind what waited. A message that is tried elsewhere just then, or is held by
an administrator, keeps nobody waiting. Once all that waited is through, messages go side by side again.

So a secondary hands its mail to the primary as soon as that is back, in order, and no message twice.
Nothing of this is on disk: after a restart what the queue says was not reached waits as before.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping

from services.smtp.message import QueuedMessage
from services.smtp.routing import Remote

Recipients = tuple[str, ...]
_Place = tuple[float, str]


class _Attempt:
    """A message on its way to a hop. `first`: it was its turn, and it is not asked again."""

    __slots__ = ("first", "gone", "place")

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.first = False
        self.gone: asyncio.Event | None = None


class _Line:
    """The messages of one hop.

    `left`: those that have waited and are not through; there is an order as long as there are any. `called`:
    those that are due since the hop `answers`, in order of arrival, until they are under way. `back`: those
    that go back to the queue.
    """

    __slots__ = ("answers", "back", "called", "left", "under_way", "waiting")

    def __init__(self) -> None:
        self.under_way: dict[str, _Attempt] = {}
        self.waiting: dict[str, tuple[float, Recipients]] = {}
        self.left: set[str] = set()
        self.called: list[_Place] = []
        self.back: dict[str, _Place] = {}
        self.answers = False

    def call(self, place: _Place) -> None:
        self.left.add(place[1])
        heapq.heappush(self.called, place)

    def before(self, place: _Place) -> _Attempt | None:
        """Return the last one under way of those that arrived before."""
        earlier = (one for one in self.under_way.values() if one.place < place)
        return max(earlier, key=lambda one: one.place, default=None)


class Recovery:
    """Who is on the way to which hop, what waits for it, and whose turn it is there.

    `to_come` tells whether the queue is about to hand out a message that was called.
    """

    def __init__(self, to_come: Callable[[str], bool]) -> None:
        self._to_come = to_come
        self._lines: dict[Remote, _Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def begins(self, remote: Remote, message: QueuedMessage) -> None:
        """Note that a message is on its way to the hop, from when it is handed out until it `ends`."""
        line = self._lines.get(remote)
        if line is None:
            line = self._lines[remote] = _Line()
        line.under_way[message.id] = _Attempt((message.arrival, message.id))
        line.waiting.pop(message.id, None)

    def ends(self, remote: Remote, queue_id: str, *, back: bool = False) -> None:
        """Note that a message is through, or not reached; `back`: it was not its turn (`released`)."""
        line = self._lines.get(remote)
        attempt = line.under_way.pop(queue_id, None) if line else None
        if line is None or attempt is None:
            return
        if attempt.gone:
            attempt.gone.set()
        if back:
            line.back[queue_id] = attempt.place
        elif queue_id not in line.waiting:
            line.left.discard(queue_id)
        self._settle(remote, line)

    def released(self, remote: Remote, queue_id: str) -> None:
        """Note that the queue has the message again, and hands it out anew if it was not its turn."""
        self.ends(remote, queue_id)
        line = self._lines.get(remote)
        if line and (place := line.back.pop(queue_id, None)):
            line.call(place)
            self._settle(remote, line)

    def waits(self, remote: Remote, message: QueuedMessage, recipients: Iterable[str]) -> None:
        """Note that a message waits for the hop with these recipients: nobody could be reached."""
        line = self._lines.setdefault(remote, _Line())
        line.waiting[message.id] = (message.arrival, tuple(recipients))
        line.left.add(message.id)
        line.answers = False

    def forget(self, remote: Remote, queue_id: str) -> None:
        """Note that a message does not wait any more: it is gone."""
        line = self._lines.get(remote)
        if line and line.waiting.pop(queue_id, None) and queue_id not in line.under_way:
            line.left.discard(queue_id)
            self._settle(remote, line)

    def waiting(self, remote: Remote) -> Mapping[str, Recipients]:
        """Return what waits for the hop, by queue id."""
        line = self._lines.get(remote)
        return {queue_id: recipients for queue_id, (_, recipients) in line.waiting.items()} if line else {}

    def reached(self, remote: Remote) -> Mapping[str, Recipients]:
        """Note that the hop answers; return what waited, which is to be made due and goes in order."""
        line = self._lines.get(remote)
        if line is None or not line.left:
            return {}
        if not line.answers:
            line.answers = True
            line.left.update(line.under_way)
        found = self.waiting(remote) if line.waiting else {}
        for queue_id, (arrival, _) in line.waiting.items():
            line.call((arrival, queue_id))
        line.waiting.clear()
        return found

    def is_first(self, remote: Remote, queue_id: str) -> bool:
        """Return whether a message that has a session with the hop may go: then it may until it ends."""
        line = self._lines[remote]
        attempt = line.under_way[queue_id]
        if not attempt.first:
            attempt.first = not (self._called_before(line, attempt.place) or self._waits_for(line, attempt))
        return attempt.first

    async def turn(self, remote: Remote, queue_id: str) -> bool:
        """Wait for this message's turn, if the hop is catching up. False: the queue has an earlier one."""
        line = self._lines[remote]
        attempt = line.under_way[queue_id]
        while not self._called_before(line, attempt.place):
            earlier = self._waits_for(line, attempt)
            if earlier is None:
                return True
            earlier.gone = earlier.gone or asyncio.Event()
            await earlier.gone.wait()
        return False

    def _called_before(self, line: _Line, place: _Place) -> bool:
        if not line.answers:
            return False
        self._pass_over(line)
        return bool(line.called) and line.called[0] < place

    def _waits_for(self, line: _Line, attempt: _Attempt) -> _Attempt | None:
        return line.before(attempt.place) if line.answers else None

    def _settle(self, remote: Remote, line: _Line) -> None:
        if line.left:
            self._pass_over(line)
        if not (line.under_way or line.waiting or line.called or line.back):
            self._lines.pop(remote, None)

    def _pass_over(self, line: _Line) -> None:
        """Take off the front of those called who is under way, and who will not come now."""
        while line.called and not self._comes(line, line.called[0][1]):
            _, queue_id = heapq.heappop(line.called)
            if not (queue_id in line.under_way or queue_id in line.waiting or queue_id in line.back):
                line.left.discard(queue_id)
        if not line.left:
            line.answers = False

    def _comes(self, line: _Line, queue_id: str) -> bool:
        return queue_id not in line.under_way and self._to_come(queue_id)
