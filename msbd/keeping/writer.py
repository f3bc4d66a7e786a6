"""Work that is done beside an edit, one piece after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Writer:
    """A thread that does what it is given, in order, until the first failure.

    problem: what that was, in words. Whatever failed, or came after, is lost; whoever gave it is
    not disturbed.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._tasks = queue.Queue[Callable[[], None] | None]()
        self._thread = threading.Thread(target=self._run, name="msbd-keeping")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Return when all is done."""
        self._tasks.put(None)
        self._thread.join()

    def later(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.problem is None:
                try:
                    task()
                except Exception as error:  # whatever it is, the edit is worth more
                    self.problem = str(error) or type(error).__name__
