"""Run a request in the background and look at the WebUI's progress meanwhile."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .http import Reply
from .server import Webui

INTERVAL = 0.02


@dataclass(frozen=True)
class Moment:
    """One look at /sdapi/v1/progress, `seconds` after the request was sent."""

    seconds: float
    progress: float
    text: str
    picture: str | None
    job: str

    @property
    def stage(self) -> int:
        """Number of the running stage, 0 before the first."""
        found = re.search(r"\b(\d+) of \d+: ", self.text)
        return int(found[1]) if found else 0


@dataclass
class Once:
    """Something to do at the first moment of a kind."""

    when: Callable[[Moment], bool]
    act: Callable[[], Any]
    done: bool = False

    def look(self, moment: Moment) -> None:
        if not self.done and self.when(moment):
            self.done = True
            self.act()


def in_stage(number: int) -> Callable[[Moment], bool]:
    """From the beginning of stage `number` on."""
    return lambda moment: moment.stage >= number


def looked(webui: Webui, since: float, pictures: bool) -> Moment:
    skip = "false" if pictures else "true"
    reply = webui.get("/sdapi/v1/progress", skip_current_image=skip).json
    return Moment(
        time.monotonic() - since,
        reply["progress"],
        reply["textinfo"] or "",
        reply["current_image"],
        reply["state"]["job"],
    )


def watched(
    webui: Webui, body: dict[str, Any], once: Once | None = None, pictures: bool = False
) -> tuple[Reply, list[Moment]]:
    """The reply to an img2img request and what was seen until then."""
    replies: list[Reply] = []
    worker = threading.Thread(
        target=lambda: replies.append(webui.post("/sdapi/v1/img2img", body)), daemon=True
    )
    start = time.monotonic()
    worker.start()
    seen: list[Moment] = []
    while worker.is_alive():
        moment = looked(webui, start, pictures)
        if moment.job:
            seen.append(moment)
        if once is not None:
            once.look(moment)
        time.sleep(INTERVAL)
    worker.join()
    assert once is None or once.done, f"the moment to act never came: {replies[0].text[:2000]}"
    return replies[0], seen
