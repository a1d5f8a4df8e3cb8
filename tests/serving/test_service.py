# SPDX-License-Identifier: Apache-2.0
"""What requests that come at once, that are cancelled and that fail leave on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import served
from tests.serving.served import DEADLINE_S, InProcess, passing_run
from tinyfin.serving.journal import Journal
from tinyfin.serving.scoring_service import ScoringService
from tinyfin.serving.web import Limits, application

ONE: dict[str, Any] = {"terminal": "T1", "id": 1, "time": 1_700_000_000, "amount_minor": 1234}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return passing_run(tmp_path_factory.mktemp("kept") / "run")


def opened(run: Path, state: Path, *, sync: bool = True, **how: Any) -> ScoringService:
    return served.opened(run, state, terminals=2, sync=sync, **how)


def client_of(service: ScoringService) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(service, Limits()))
    return httpx.AsyncClient(transport=transport, base_url="http://here")


@pytest.mark.parametrize("sync", [True, False])
def test_requests_at_once_do_not_pass_the_limit(run: Path, tmp_path: Path, sync: bool) -> None:
    service = opened(run, tmp_path, sync=sync)

    async def go() -> list[int]:
        async with client_of(service) as client:
            posts = (client.post("/score", json={**ONE, "terminal": f"N{i}"}) for i in range(5))
            return sorted(answer.status_code for answer in await asyncio.gather(*posts))

    assert asyncio.run(go()) == [200, 200, 422, 422, 422]
    again = opened(run, tmp_path)
    assert len(again.terminals) == 2
    assert again.next == 3


def test_a_cancelled_request_keeps_its_turn(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is being written in a thread: no other gets its number meanwhile."""
    service = opened(run, tmp_path)
    honest, begun, go_on = Journal.append, threading.Event(), threading.Event()

    def slow(self: Journal, payloads: Sequence[bytes]) -> int:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        return honest(self, payloads)

    monkeypatch.setattr(Journal, "append", slow)

    async def go() -> None:
        async with client_of(service) as client:
            first = asyncio.create_task(client.post("/score", json=ONE))
            await asyncio.to_thread(begun.wait, DEADLINE_S)
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
            begun.clear()
            second = asyncio.create_task(client.post("/score", json={**ONE, "id": 2}))
            await asyncio.sleep(0.1)
            at_once = begun.is_set()
            go_on.set()
            assert not at_once
            assert (await second).status_code == 200
            await service.stop()

    asyncio.run(go())
    again = opened(run, tmp_path)
    assert again.next == 3


@pytest.mark.parametrize("sync", [True, False])
def test_an_event_that_was_answered_with_500_is_not_on_the_disk(
    run: Path, tmp_path: Path, sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened(run, tmp_path, sync=sync)
    client = InProcess(service)
    assert client.post("/score", json=ONE).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(service.terminals, "apply", None)
        assert client.post("/score", json={**ONE, "id": 2}).status_code == 500
    answer = client.post("/score", json={**ONE, "id": 3})
    assert answer.status_code == 503
    assert "restart the service" in answer.json()["errors"][0]["message"]
    assert client.get("/health").json()["status"] == "failed"
    client.stop()
    assert opened(run, tmp_path).next == 2


@pytest.mark.parametrize("error", [OSError(28, "No space"), KeyError("x"), ValueError("y")])
def test_snapshots_go_on_after_any_error(
    run: Path,
    tmp_path: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = opened(run, tmp_path, save_every_s=0.01)
    calls = []

    async def snapshot(path: Path, journal: Journal) -> int:
        calls.append(path)
        raise error

    monkeypatch.setattr(service, "snapshot", snapshot)

    async def go() -> None:
        async with client_of(service) as client, asyncio.timeout(DEADLINE_S):
            await client.post("/score", json=ONE)
            await service.start()
            while len(calls) < 3:
                await asyncio.sleep(0.01)
            await service.stop()

    asyncio.run(go())
    assert capsys.readouterr().err.count("error: no snapshot: ") >= 3


def test_a_full_disk_at_a_snapshot_loses_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened(run, tmp_path, sync=False)
    client = InProcess(service)
    assert client.post("/score", json=ONE).status_code == 200
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("os.fsync", full)
        asyncio.run(service._try_to_save())
    assert client.post("/score", json={**ONE, "id": 2}).status_code == 200
    assert opened(run, tmp_path).next == 3


def test_a_snapshot_is_on_the_disk_before_its_journal_goes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut at any step leaves the one or the other."""
    service, steps = opened(run, tmp_path, sync=False), list[str]()
    assert InProcess(service).post("/score", json=ONE).status_code == 200
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).suffix}")

    def named(path: Path, target: Path) -> Path:
        steps.append(f"name {target.suffix}")
        return replace(path, target)

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            steps.append(f"remove {path.suffix}")
        unlink(path, missing_ok)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    monkeypatch.setattr(Path, "unlink", removed)
    asyncio.run(service.save())
    folder, temporary = "sync ", f"sync .{threading.get_ident()}"
    segment = ["sync .tfjournal", "sync .new", "name .tfjournal", folder]
    snapshot = ["sync .tfjournal", temporary, "name .tfstate", folder]
    assert steps == [*segment, *snapshot, "remove .tfjournal"]
