"""The loaded checkpoint: while the host loads it, changes it, or has failed to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from standin import Host
from test_webui_api import PLAN, body, client, host

from msbd.errors import EditError

__all__ = ["host"]
REFUSED = "still being loaded, or could not be"


@pytest.fixture
def model(host: Host, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of which the host has taken leave."""
    from msbd.webui.hosts import checkpoint as facts

    data = host.sd_models.model_data
    taken, data.sd_model = data.sd_model, None
    monkeypatch.setattr(facts, "LOADING_LIMIT", 30.0)
    return taken


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from msbd.webui.hosts import checkpoint as facts

    monkeypatch.setattr(facts, "LOADING_LIMIT", 0.3)


@contextmanager
def changing(host: Host, model: Any = None) -> Iterator[None]:
    """The host, in another thread, is about to load `model`, if there is one to come."""
    begun, over = threading.Event(), threading.Event()

    def change() -> None:
        with host.call_queue.queue_lock:
            begun.set()
            over.wait(10 if model is None else 0.15)
            if model is not None:
                host.load(model)

    thread = threading.Thread(target=change)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_model_that_is_there_is_taken(host, monkeypatch):
    from msbd.webui.hosts import checkpoint as facts

    monkeypatch.setattr(facts.time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert facts.loaded_model() is host.model


def test_a_change_is_waited_for(host, model):
    from msbd.webui.hosts.checkpoint import loaded_model

    with changing(host, model):
        assert loaded_model() is model


def test_a_plan_waits_for_it(host, model):
    with changing(host, model):
        assert client().post(PLAN, json=body()).status_code == 200


def test_one_that_takes_too_long_is_refused_in_words(host, model, impatient):
    from msbd.webui.hosts.checkpoint import model_spec

    with changing(host):
        with pytest.raises(EditError, match=REFUSED):
            model_spec("Euler a")
        reply = client().post(PLAN, json=body())
    assert reply.status_code == 422 and REFUSED in reply.json()["detail"]


def test_if_a_change_has_failed_nobody_waits(host, model):
    start = time.monotonic()
    reply = client().post(PLAN, json=body())
    assert reply.status_code == 422 and REFUSED in reply.json()["detail"]
    assert time.monotonic() - start < 5


def test_the_first_is_waited_for_until_all_of_it_is_there(host, model):
    """The host shows it before its last parts are made."""
    from msbd.webui.hosts.checkpoint import loaded_model

    complete = []

    def finish() -> None:
        complete.append(True)
        host.sd_models.model_data.lock.release()

    host.sd_models.model_data.lock.acquire()
    host.load(model)
    threading.Timer(0.15, finish).start()
    assert loaded_model() is model and complete


def test_the_first_may_take_too_long(host, model, impatient):
    from msbd.webui.hosts.checkpoint import loaded_model

    with host.sd_models.model_data.lock, pytest.raises(EditError, match=REFUSED):
        loaded_model()


def test_if_there_never_was_one_the_host_loads_it(host, model, monkeypatch):
    from msbd.webui.hosts.checkpoint import loaded_model

    host.sd_models.model_data.was_loaded_at_least_once = False
    monkeypatch.setattr(host.sd_models, "load_model", lambda: host.load(model))
    assert loaded_model() is model


def test_if_it_cannot_it_tries_once(host, model):
    from msbd.webui.hosts.checkpoint import loaded_model

    host.sd_models.model_data.was_loaded_at_least_once = False
    attempts = len(host.errors.exception_records)
    with pytest.raises(EditError, match=REFUSED):
        loaded_model()
    assert len(host.errors.exception_records) == attempts + 1


def test_whoever_holds_the_queue_tries_once_too(host, model, impatient):
    """As the check does: nobody else can load one meanwhile."""
    from msbd.webui.hosts.checkpoint import loaded_model

    host.sd_models.model_data.was_loaded_at_least_once = False
    attempts = len(host.errors.exception_records)
    with host.call_queue.queue_lock, pytest.raises(EditError, match=REFUSED):
        loaded_model()
    assert len(host.errors.exception_records) == attempts + 1


def test_a_change_in_the_midst_of_a_plan_is_told(host, monkeypatch):
    from msbd.webui import dry_run

    def fail(*_: Any) -> Any:
        host.sd_models.model_data.sd_model = None
        raise AttributeError("'NoneType' object has no attribute 'model'")

    monkeypatch.setattr(dry_run, "loaded", fail)
    reply = client().post(PLAN, json=body())
    assert reply.status_code == 422 and "changed meanwhile: try again" in reply.json()["detail"]


def test_a_fault_of_our_own_is_no_change(host, monkeypatch):
    from msbd.webui import dry_run

    def fail(*_: Any) -> Any:
        raise AttributeError("a fault")

    monkeypatch.setattr(dry_run, "loaded", fail)
    with pytest.raises(AttributeError, match="a fault"):
        client().post(PLAN, json=body())


def test_a_host_that_takes_hold_of_all_objects_is_told(host):
    """While it puts a checkpoint away; the interpreter's own words say nothing to users."""
    from msbd.webui.hosts.checkpoint import same_model

    with pytest.raises(EditError, match="changed meanwhile"), same_model():
        raise SystemError("Objects/tupleobject.c:964: bad argument to internal function")
