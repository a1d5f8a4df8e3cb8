# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve``: the answers of `tinyfin score`, under load and through restarts."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.serving.served import (
    DEADLINE_S,
    InProcess,
    Posted,
    cells,
    item_of,
    opened,
    passing_run,
    requests_of,
    running,
    score_file,
    sent,
)
from tests.support.cli import tinyfin
from tinyfin.config import load
from tinyfin.data.events import NOTICE, OUTCOME, SCORE
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.serving.scoring_service import ScoringService
from tinyfin.serving.terminal_events import Score, unpacked
from tinyfin.serving.web import Limits

NAME = ScoringService.snapshot_name
pytestmark = [pytest.mark.xdist_group("serve")]
ROWS = 240


@pytest.fixture(scope="module")
def stream(town: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reference pack as a ``run``; ``data`` of some terminals, without what lives in RAM only;
    labels are known after hours, so that notices come before the last transactions."""
    folder = tmp_path_factory.mktemp("served")
    run = passing_run(folder / "run", label_delay="6h")
    table = town.to_pandas().drop(columns=["bin_hash", "expiry_hash"], errors="ignore")
    some = table["terminal"].isin([f"T{i:07d}" for i in (2, 7, 10, 12, 15)])
    table[some].loc[7900:].head(ROWS).to_parquet(folder / "part.parquet")
    return {"run": run, "data": folder / "part.parquet", "folder": folder}


@pytest.fixture(scope="module")
def wanted(stream: dict[str, Path]) -> list[dict[str, str]]:
    return score_file(stream["run"], stream["data"], stream["folder"] / "scores.csv")


@pytest.fixture(scope="module")
def tx(stream: dict[str, Path]) -> Transactions:
    return read([stream["data"]], load(stream["run"] / "config.toml"))


def test_the_data_says_something(wanted: list[dict[str, str]], tx: Transactions) -> None:
    assert len(wanted) == ROWS == len(tx)
    assert len({row["action"] for row in wanted}) > 1
    assert any(row["reasons"] for row in wanted)
    assert len(tx.terminals) == 5
    assert (tx.label == 1).any()


def test_answers_under_load_are_those_of_score(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions
) -> None:
    terminals = requests_of(tx, "both", random.Random(1))
    assert any(len(p.rows) > 1 for requests in terminals for p in requests)
    with running("serve", stream["run"], "--terminals", 5) as service:
        found = sent(service.client, terminals, connections=6)
        assert [cells(found[row]) for row in range(ROWS)] == wanted
        with service.client() as client:
            health = client.get("/health").json()
        assert health["terminals"] == 5
        assert health["events"] == sum(len(p.rows) for q in terminals for p in q)
        service.end()


RESTARTS = (("kill", "--save-every-s", "1"), ("kill",), ("end", "--sync"), ("end",))


def test_no_restart_loses_anything(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions, tmp_path: Path
) -> None:
    """Killed after a snapshot with a journal, with a journal alone; ended as it should be."""
    terminals, state = requests_of(tx, "both", random.Random(2)), tmp_path / "state"
    found, left = {}, state / f".{NAME}.999999999.1"
    for i, (how, *options) in enumerate(RESTARTS):
        parts = [
            q[len(q) * i // len(RESTARTS) : len(q) * (i + 1) // len(RESTARTS)] for q in terminals
        ]
        with running("serve", stream["run"], "--state", state, *options) as service:
            found |= sent(service.client, parts, connections=3)
            if i == 0:
                saved(state)
                refused = tinyfin(f"serve {stream['run']} --state {state}", code=3).output
                assert "is using this name" in refused
                left.touch()
            (service.kill if how == "kill" else service.end)()
    assert [cells(found[row]) for row in range(ROWS)] == wanted
    assert not left.exists(), "what a killed process left of a snapshot"
    assert {path.stat().st_mode & 0o077 for path in state.glob("*.tf*")} == {0}


def saved(state: Path) -> None:
    """Wait for a snapshot."""
    until = time.monotonic() + DEADLINE_S
    while not (state / NAME).exists():
        assert time.monotonic() < until
        time.sleep(0.05)


def answers(
    service: ScoringService, terminals: list[list[Posted]], limits: Limits | None = None
) -> list[dict[str, str]]:
    """Verdicts by row; the service is then not ended."""
    client = InProcess(service, limits or Limits())
    found = sent(lambda: contextlib.nullcontext(client), terminals, connections=1)
    return [cells(found[row]) for row in sorted(found)]


@pytest.mark.parametrize("kind", [OUTCOME, NOTICE])
def test_lost_events_are_seen(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions, kind: int
) -> None:
    """The control of the two above: without outcomes or notices the answers are others."""
    terminals = requests_of(tx, "both", random.Random(1))
    assert answers(opened(stream["run"]), terminals) == wanted
    some = [[posted for posted in q if posted.kind != kind] for q in terminals]
    assert answers(opened(stream["run"]), some) != wanted


def test_a_lost_journal_is_seen(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions, tmp_path: Path
) -> None:
    """The control of the restarts: with half of the journal the answers are others."""
    terminals = requests_of(tx, "both", random.Random(2))
    first = [q[: len(q) // 2] for q in terminals]
    rest = [q[len(q) // 2 :] for q in terminals]
    for share, equal in ((1.0, True), (0.5, False)):
        state = tmp_path / str(share)
        found = answers(opened(stream["run"], state), first)
        journal = next(state.glob("*.tfjournal"))
        data = journal.read_bytes()
        journal.write_bytes(data[: int(len(data) * share)])
        found += answers(opened(stream["run"], state), rest)
        assert (sorted(map(str, found)) == sorted(map(str, wanted))) == equal


def test_events_between_the_steps_of_a_snapshot(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions, tmp_path: Path
) -> None:
    """What comes while terminals are saved is in the snapshot or behind it, once."""
    terminals = requests_of(tx, "both", random.Random(3))
    service = opened(stream["run"], tmp_path)
    assert service.journal is not None
    found = dict[int, dict[str, Any]]()
    queues = [list(q) for q in terminals if q]
    client = InProcess(service)

    def go_on(count: int) -> None:
        for q in queues:
            for posted in q[:count]:
                replies = posted.send(client)
                if posted.kind == SCORE:
                    found.update(zip(posted.rows, replies, strict=True))
            del q[:count]

    while queues:
        go_on(1)
        first = service.journal.rotate()
        for _ in service.terminals.write(tmp_path / NAME, first, service.journal.sync_all):
            go_on(3)
        service.journal.drop_before(first)
        queues = [q for q in queues if q]
        service = opened(stream["run"], tmp_path)
        assert service.journal is not None
        client = InProcess(service)
    assert [cells(found[row]) for row in range(ROWS)] == wanted


def test_what_lives_in_ram_only_is_in_no_file(
    stream: dict[str, Path], town: pa.Table, tmp_path: Path
) -> None:
    path = tmp_path / "whole.parquet"
    town.to_pandas().loc[7900:7960].to_parquet(path)
    tx = read([path], load(stream["run"] / "config.toml"))
    assert tx.has("bin_hash").any()
    service = opened(stream["run"], tmp_path / "state")
    answers(service, requests_of(tx, "both", random.Random(1)))
    journal = next((tmp_path / "state").glob("*.tfjournal"))
    scores = [e for e in map(unpacked, records(journal)) if isinstance(e, Score)]
    assert len(scores) == len(tx)
    for name in ("bin_hash", "expiry_hash"):
        i = tx.schema.index(name)
        assert {(e.present >> i & 1, e.values[i]) for e in scores} == {(0, -1)}


def records(path: Path) -> list[bytes]:
    """Of a journal, by docs/formats/served_state.md."""
    data, at, found = path.read_bytes(), 32, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found


def test_a_state_that_is_damaged_or_foreign(
    stream: dict[str, Path], tx: Transactions, tmp_path: Path
) -> None:
    """Every byte, changed, is refused by name, or is the end of a journal that was cut."""
    run, state = stream["run"], tmp_path / "state"
    terminals = [q[:3] for q in requests_of(tx, "both", random.Random(2), most=1)]
    service = opened(run, state)
    client = InProcess(service)
    sent(lambda: contextlib.nullcontext(client), terminals, connections=1)
    client.stop()
    assert {path.name for path in state.glob("*.tf*")} == {NAME, f"journal-{16:020d}.tfjournal"}
    path = state / NAME
    good = path.read_bytes()
    assert len(opened(run, state).terminals) == 5
    with pytest.raises(InputError, match="holds 5 terminals, the limit is 3; raise --terminals"):
        opened(run, state, terminals=3)
    for at in [*range(40), *range(40, len(good), 997), len(good) - 1]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x11]) + good[at + 1 :])
        with pytest.raises(InputError):
            opened(run, state)
    path.write_bytes(good[:-1])
    with pytest.raises(InputError, match="is cut; restore an older copy"):
        opened(run, state)
    path.unlink()
    with pytest.raises(InputError, match="begins with event 16, and the snapshot ends before ev"):
        opened(run, state)
    path.write_bytes(good)
    other = tmp_path / "other"
    shutil.copytree(run, other)
    pack = Path(__file__).parents[2] / "models" / "label_free" / "model.tfpack"
    (other / "model.tfpack").write_bytes(pack.read_bytes())
    with pytest.raises(InputError, match=r"and this pack has .*; give another --state"):
        opened(other, state)


def test_a_disk_that_is_full(
    stream: dict[str, Path], tx: Transactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is not done, and is not answered as if it were."""
    service = opened(stream["run"], tmp_path)
    client = InProcess(service)
    item = item_of(tx, 0, SCORE, int(tx.t_mono_s[0]))
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("os.fsync", full)
        assert service.journal is not None
        patch.setattr(service.journal, "sync", True)
        refused = client.post("/score", json=item)
        assert refused.status_code == 503
        assert "No space left" in refused.json()["errors"][0]["message"]
    assert service.next == 1
    assert len(service.terminals) == 0
    assert client.post("/score", json=item).status_code == 200
    assert len(opened(stream["run"], tmp_path).terminals) == 1
