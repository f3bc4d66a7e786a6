"""install.py adds nothing that the WebUI has and changes no version."""

from __future__ import annotations

import re

from .server import Installation, Webui


def test_nothing_is_installed(
    webui: Webui, installation: Installation, packages: dict[str, str]
) -> None:
    assert installation.packages() == packages


def test_the_start_is_clean(webui: Webui) -> None:
    said = webui.log.read_text(errors="replace")
    start = said[: said.index("Startup time")]
    if not webui.installation.is_fork:  # whose own preprocessors lack packages
        assert "Error loading script" not in start and "Error executing callback" not in start
    assert not re.search(r"multi_stage_blended_diffusion|msbd/\w+", start)
