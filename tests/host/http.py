"""HTTP with the standard library, so that the host tests need no package of their own."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """Status and body of an answer, also of a refusal."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def reason(self) -> str:
        """What a refusal says, wherever the WebUI puts it."""
        try:
            said = self.json
        except ValueError:
            return self.text
        detail = said.get("detail") if isinstance(said, dict) else None
        return str(detail or (said.get("errors") if isinstance(said, dict) else None) or said)


def call(
    method: str,
    url: str,
    body: Any = None,
    auth: tuple[str, str] | None = None,
    timeout: float = 280,
    **query: Any,
) -> Reply:
    """Send JSON; OSError (ConnectionError among others) if nobody answers."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    request = urllib.request.Request(url, method=method)
    if body is not None or method == "POST":
        request.data = json.dumps({} if body is None else body).encode()
        request.add_header("Content-Type", "application/json")
    if auth:
        token = base64.b64encode(":".join(auth).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return Reply(reply.status, reply.read().decode())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Reply(refusal.code, refusal.read().decode(errors="replace"))
