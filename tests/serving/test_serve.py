# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve``: the answers of `tinyfin score`, under load and through restarts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.serving.served import Running, cells, passing_run, requests_of, running, score_file, sent
from tests.support.cli import tinyfin
from tinyfin.config import load
from tinyfin.data.events import OUTCOME
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions

pytestmark = [pytest.mark.xdist_group("serve")]
ROWS = 450


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


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


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
        found = sent(service, terminals, connections=6)
        assert [cells(found[row]) for row in range(ROWS)] == wanted
        with service.client() as client:
            health = client.get("/health").json()
        assert health["terminals"] == 5
        assert health["events"] == sum(len(p.rows) for q in terminals for p in q)


def test_lost_outcomes_are_seen(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions
) -> None:
    """The control: a service that does not get what it needs answers otherwise."""
    terminals = [
        [posted for posted in requests if posted.kind != OUTCOME]
        for requests in requests_of(tx, "both", random.Random(1))
    ]
    with running("serve", stream["run"]) as service:
        found = sent(service, terminals, connections=2)
    assert [cells(found[row]) for row in range(ROWS)] != wanted


def through_restarts(
    run: Path, tx: Transactions, state: Path, how: str, *options: object
) -> list[dict[str, str]]:
    """Verdicts of the stream in three parts, with a restart between them."""
    terminals = requests_of(tx, "both", random.Random(2))
    found = {}
    for third in range(3):
        parts = [q[len(q) * third // 3 : len(q) * (third + 1) // 3] for q in terminals]
        with running("serve", run, "--state", state, *options) as service:
            found |= sent(service, parts, connections=3)
            if how == "kill":
                service.kill()
            else:
                service.end()
    return [cells(found[row]) for row in range(len(tx))]


@pytest.mark.parametrize(
    ("how", "options"), [("kill", ()), ("end", ("--sync",)), ("kill", ("--save-every-s", "1"))]
)
def test_no_restart_loses_anything(
    stream: dict[str, Path],
    wanted: list[dict[str, str]],
    tx: Transactions,
    state: Path,
    how: str,
    options: tuple[str, ...],
) -> None:
    assert through_restarts(stream["run"], tx, state, how, *options) == wanted
    names = {path.suffix for path in state.iterdir()}
    assert ".tfjournal" in names
    assert (".tfstate" in names) == (how == "end" or bool(options))


def test_a_lost_journal_is_seen(
    stream: dict[str, Path], wanted: list[dict[str, str]], tx: Transactions, state: Path
) -> None:
    """The control of the one above, and what is refused."""
    run = stream["run"]
    with running("serve", run, "--state", state) as service:
        parts = requests_of(tx, "both", random.Random(2))
        sent(service, [q[:40] for q in parts], connections=1)
        busy = tinyfin(f"serve {run} --state {state}", code=3).output
        assert "another process" in busy or "is writing" in busy
        service.kill()
    journal = max(state.glob("*.tfjournal"))
    good = journal.read_bytes()
    journal.rename(state / "journal-00000000000000000007.tfjournal")
    said = tinyfin(f"serve {run} --state {state}", code=3).output
    assert "its journal begins with event 7" in said
    (state / "journal-00000000000000000007.tfjournal").unlink()
    journal.write_bytes(good[: len(good) // 2])
    with running("serve", run, "--state", state) as service, service.client() as client:
        kept = client.get("/health").json()["events"]
        assert 0 < kept < sum(len(p.rows) for q in parts for p in q[:40])
        service.end()
    journal.unlink(missing_ok=True)
    for path in state.glob("*.tfjournal"):
        path.unlink()
    (state / "terminals.tfstate").write_bytes(b"TFTS" + bytes(60))
    assert "another --state" in tinyfin(f"serve {run} --state {state}", code=3).output


@pytest.fixture(scope="module")
def service(stream: dict[str, Path]) -> Iterator[Running]:
    with running(
        "serve",
        stream["run"],
        "--terminals",
        3,
        "--batch",
        5,
        "--body-bytes",
        4000,
        "--deadline-s",
        "0.7",
    ) as service:
        yield service
