"""Batches on Ray: two nodes on one machine, workers killed meanwhile, and what Ray costs."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import painted, save, speckles

from msbd.cli.batch.on_ray import RayActors, _Actor

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="pip install 'msbd[ray]'")
Cluster = cluster_utils.Cluster
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
ROOT = Path(__file__).parent.parent
DRAFT = ("--preset", "draft", "--set", "steps=4", "--quiet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(ROOT)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def manifest(folder: Path, count: int, size: int = 128) -> Path:
    for number in range(4):
        save(folder / f"p{number}.png", speckles(size, size))
        mask = painted(size, size, slice(20, size - 30 - number), slice(30, size - 20))
        save(folder / f"m{number}.png", mask)
    rows = (
        {"image": f"p{n % 4}.png", "mask": f"m{n % 4}.png", "seed": n, "output": f"{n}.png"}
        for n in range(count)
    )
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a red star", **row}) + "\n" for row in rows))
    return path


def command(path: Path, out: str, *more: object) -> list[str]:
    said = (sys.executable, "-m", "msbd", "batch", path, "-o", path.parent / out, *DRAFT, *more)
    return [str(part) for part in said]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def actors() -> list[psutil.Process]:
    """The workers of any cluster on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if f"ray::{_Actor.__name__}" in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found


def killing(ran: subprocess.Popen[bytes], chance: random.Random, often: float) -> int:
    """Kill workers at random until the command ends; how many."""
    killed = 0
    while ran.poll() is None:
        time.sleep(chance.uniform(0.5, 1.5) * often)
        if there := actors():
            chance.choice(there).send_signal(signal.SIGKILL)
            killed += 1
    return killed


def test_it_begins_one_worker_a_node(cluster: Cluster) -> None:
    crew = RayActors(_Nobody, None, cluster.address, print)
    try:
        assert crew.workers == 2
        for worker in range(2):
            crew.begin(worker)
        deadline = time.monotonic() + 60
        there = 0
        while there < 2 and time.monotonic() < deadline:
            there += len(crew.events(1.0))
        assert there == 2
    finally:
        crew.close()


def test_rows_are_made_once_while_workers_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    """120 of them, or as many as MSBD_ROWS says; stopped, and gone on with, five times."""
    count = int(os.environ.get("MSBD_ROWS", "120"))
    path, chance = manifest(tmp_path, count), random.Random(1)
    whole = command(path, "whole")
    assert subprocess.run(whole, check=False).returncode == 0
    out, killed, stops, codes = tmp_path / "out", 0, 0, []
    written: dict[str, int] = {}
    while not codes or codes[-1] != 0:
        ran = subprocess.Popen(command(path, "out", "--ray", cluster.address, "--workers", 2))
        begun = len(list(out.glob("*.png")))
        if stops < 5:
            while ran.poll() is None and len(list(out.glob("*.png"))) < begun + 12:
                time.sleep(0.2)
                if chance.random() < 0.02 and (there := actors()):
                    chance.choice(there).send_signal(signal.SIGKILL)
                    killed += 1
            ran.send_signal(signal.SIGINT)
            stops += 1
            ran.wait()
        else:
            killed += killing(ran, chance, 8)
        codes.append(ran.returncode)
        assert ran.returncode in (0, 130) and len(codes) < 12
        now = {file.name: file.stat().st_mtime_ns for file in out.glob("*.png")}
        assert written.items() <= now.items(), "nothing is made twice"
        written = now
    print(f"\n{count} rows, {killed} workers killed, {stops} stops")
    assert killed >= 3 and codes[:5] == [130] * 5
    lines = table(out)
    assert len(lines) == count and not any(line["error"] for line in lines)
    for number in range(count):
        made, alone = out / f"{number}.png", tmp_path / "whole" / f"{number}.png"
        assert made.read_bytes() == alone.read_bytes()


def test_a_node_that_goes_costs_what_it_has_in_hand(cluster: Cluster, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, resources={"leaving": 1})
    path, out = manifest(tmp_path, 30), tmp_path / "out"
    ran = subprocess.Popen(command(path, "out", "--ray", cluster.address, "--workers", 3))
    while len(list(out.glob("*.png"))) < 6:
        assert ran.poll() is None
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)
    assert ran.wait() == 0
    assert len(table(out)) == 30 and not any(line["error"] for line in table(out))


def test_ray_costs_little(cluster: Cluster, tmp_path: Path) -> None:
    """Sixty rows, one worker, alone and by Ray in turns; starting is left out by the first rows."""
    path, ratios = manifest(tmp_path, 60, 192), []
    for turn in range(3):
        plain = during(command(path, f"plain{turn}"), tmp_path / f"plain{turn}")
        by_ray = command(path, f"ray{turn}", "--ray", cluster.address, "--workers", 1)
        ratios.append(during(by_ray, tmp_path / f"ray{turn}") / plain)
    print("\n", ratios)
    assert sorted(ratios)[1] <= 1.05


def during(said: list[str], out: Path) -> float:
    """Seconds from the fifth result to the last."""
    assert subprocess.run(said, check=False).returncode == 0
    times = sorted(file.stat().st_mtime for file in out.glob("*.png"))
    return times[-1] - times[4]


def test_two_workers_are_faster_than_one(tmp_path: Path) -> None:
    path, ratios = manifest(tmp_path, 60, 192), []
    os.environ["OMP_NUM_THREADS"] = "1"
    for turn in range(3):
        one = during(command(path, f"one{turn}", "--workers", 1), tmp_path / f"one{turn}")
        two = during(command(path, f"two{turn}", "--workers", 2), tmp_path / f"two{turn}")
        ratios.append(one / two)
    print("\n", ratios)
    assert sorted(ratios)[1] >= 1.6


def memory(make: Callable[[], list[psutil.Process]]) -> int:
    """Bytes that are the processes' own."""
    total = 0
    for process in make():
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


@pytest.mark.parametrize("more", [(), ("--ray",)])
def test_memory_stays(cluster: Cluster, tmp_path: Path, more: tuple[Any, ...]) -> None:
    """At row 400 as at row 100, of the command and its workers; edits of two steps."""
    path = manifest(tmp_path, 420, 64)
    where = ("--ray", cluster.address, "--workers", 1) if more else ()
    ran = subprocess.Popen(command(path, "out", "--set", "steps=1", *where))
    out, seen = tmp_path / "out", dict[int, int]()

    def everyone() -> list[psutil.Process]:
        ours = psutil.Process(ran.pid)
        return [ours, *(actors() if more else ours.children(recursive=True))]

    while ran.poll() is None:
        count = len(list(out.glob("*.png")))
        for row in (100, 400):
            if count >= row and row not in seen:
                seen[row] = memory(everyone)
        time.sleep(0.1)
    assert ran.returncode == 0
    print(f"\n{seen[100] / 2**20:.0f} MiB at row 100, {seen[400] / 2**20:.0f} at row 400")
    assert seen[400] <= 1.05 * seen[100]


class _Nobody:
    def __init__(self, device: str | None) -> None:
        assert device is None

    def ready(self) -> None:
        """Nothing to wait for."""

    def perform(self, row: Any) -> Any:
        raise NotImplementedError
