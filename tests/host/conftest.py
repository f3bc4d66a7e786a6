"""One WebUI for nearly all host tests, others with their own flags, and its log on failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .client import Scene, scene
from .server import WHOLE_PRECISION, Installation, Webui, prepare

_LOGS = pytest.StashKey[dict[Webui, int]]()
Start = Callable[..., Webui]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = __package__ or "host"
    for item in items:
        if item.module.__name__.startswith(here + "."):  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session")
def installation() -> Installation:
    found = Installation.from_environment()
    if found is None:
        pytest.skip("MSBD_WEBUI names no WebUI folder")
    return found


@pytest.fixture(scope="session")
def packages(installation: Installation) -> dict[str, str]:
    """What the WebUI's Python had installed before any start."""
    return installation.packages()


@pytest.fixture(scope="session")
def running() -> list[Webui]:
    return []


@pytest.fixture(scope="session")
def start(
    installation: Installation,
    packages: dict[str, str],
    running: list[Webui],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Start]:
    """Start a WebUI: `start("--medvram", options={...})`; all end with the session."""
    with ExitStack() as stack:

        def started(
            *flags: str,
            options: dict[str, Any] | None = None,
            upscaler: bool = True,
            precision: tuple[str, ...] = WHOLE_PRECISION,
            auth: tuple[str, str] | None = None,
            on_a_cpu: bool = True,
            extensions: tuple[Path, ...] = (),
        ) -> Webui:
            data = tmp_path_factory.mktemp("webui")
            prepare(data, options or {}, upscaler, installation.is_fork, extensions)
            webui = Webui(installation, data, (*precision, *flags), auth, on_a_cpu)
            stack.callback(webui.stop)
            running.append(webui)
            webui.start()
            return webui

        yield started


@pytest.fixture(scope="session")
def webui(start: Start) -> Webui:
    """The WebUI with its usual flags."""
    return start()


@pytest.fixture(scope="session")
def small() -> Scene:
    """256x208 pixels with a disc for a mask: two stages, a second an edit."""
    return scene()


@pytest.fixture(autouse=True)
def _logged(request: pytest.FixtureRequest, running: list[Webui]) -> None:
    """Remember where each WebUI's output stood when the test began."""
    request.node.stash[_LOGS] = {w: w.log.stat().st_size for w in running if w.log.exists()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the WebUIs said during a test that failed."""
    report = yield
    if report.failed:
        running = getattr(item, "funcargs", {}).get("running", [])
        starts = item.stash.get(_LOGS, {})
        for webui in running:
            if webui.log.exists() and (said := webui.tail(starts.get(webui, 0))):
                report.sections.append((f"WebUI {' '.join(webui.flags)}", said))
    return report
