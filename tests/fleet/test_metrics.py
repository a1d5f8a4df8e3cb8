# SPDX-License-Identifier: Apache-2.0
"""The fleet for Prometheus: figures against the lake, rules and the board in a real Prometheus."""

from __future__ import annotations

import dataclasses
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.terminal_drift import FIRST_DAY
from tests.fleet.conftest import DAYS, TERMINALS
from tests.rollout.test_store import begun
from tests.support import fleet as bench
from tests.support import registries
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import ROOT
from tinyfin.errors import InputError
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake, day_number, newest_day
from tinyfin.fleet.monitors import OTHERS
from tinyfin.fleet.packs import PackFacts
from tinyfin.fleet.requests import Cause, record
from tinyfin.fleet.views import connect, rows_of
from tinyfin.prometheus import figures
from tinyfin.prometheus.board import PANELS, board, setup_files
from tinyfin.prometheus.figures import FAMILIES, MOST_PACKS, MOST_STRATA, Sources, exposed

DEADLINE_S = 240.0
LAST = day_number(FIRST_DAY) + DAYS - 1
"""On which there are transactions; labels come for a week more."""
MOST_SERIES = 5000

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="Prometheus is not installed; `tinyfin doctor` says how",
)


def series(text: bytes) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels, as Prometheus' own client reads them."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def sources(calm: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """All that can be looked at, on the last day."""
    folder = tmp_path_factory.mktemp("sources")
    lake = Lake(Path(shutil.copytree(calm.lake.path, folder / "lake")))
    facts = PackFacts(pack_id=calm.pack.pack_id.hex(), notice_share=0.5)
    durable.folder(lake.path / "packs")
    durable.write(lake.path / "packs" / f"{facts.pack_id[:16]}.json", facts.text().encode())
    durable.folder(lake.path / "rejected" / "mac")
    durable.write(lake.path / "rejected" / "mac" / "one", b"x")
    store = begun(f"sqlite:///{folder / 'campaigns.sqlite'}")
    registry = registries.with_pack(folder / "registry", calm.path)
    record(registry, calm.pack, {Cause.AGE: "it is old"}, LAST - 3, registries.key("b"))
    strata = {lake.key.terminal(bench.terminal(n)): f"street {n}" for n in range(TERMINALS - 1)}
    return Sources(lake, [calm.pack], strata, store, registry, LAST)


@pytest.fixture(scope="module")
def text(sources: Sources) -> bytes:
    return exposed(sources)


def test_figures_are_those_of_the_lake(
    calm: SimpleNamespace, sources: Sources, text: bytes
) -> None:
    found = series(text)
    pack = calm.pack.pack_id.hex()[:16]
    own = {key[2]: value for key, value in found.items() if key[0] == "tinyfin_terminals"}
    assert sum(own.values()) == TERMINALS
    assert len(own) == MOST_STRATA + 2  # "other", and the terminal that the inventory has not
    assert (own[OTHERS], own["other"]) == (1, TERMINALS - 1 - MOST_STRATA)
    with connect(sources.lake, LAST) as base:
        [row] = rows_of(base, "SELECT sum(scored) AS scored, sum(restarts) AS n FROM terminal_day")
        [late] = rows_of(base, "SELECT sum(restarts) AS n FROM restart WHERE reset_cause = 'power'")
    of = [value for key, value in found.items() if key[0] == "tinyfin_scored_total"]
    assert sum(of) == row["scored"] == DAYS * TERMINALS
    assert found["tinyfin_restarts_total", "power", pack] == late["n"] <= row["n"]
    assert found["tinyfin_terminals_silent", "1", OTHERS] == 0
    assert found["tinyfin_request_oldest_age_seconds",] == 3 * 86_400
    assert found["tinyfin_requests_open", "age"] == 1
    assert found["tinyfin_campaign_state", "north", "approved"] == 1
    assert sum(v for k, v in found.items() if k[:2] == ("tinyfin_campaign_members", "north")) == 400


def test_terminals_that_fall_silent_are_counted(sources: Sources) -> None:
    later = Sources(sources.lake, day=newest_day(sources.lake) + 8)
    found = series(exposed(later))
    silent = {key[1]: v for key, v in found.items() if key[0] == "tinyfin_terminals_silent"}
    assert silent == {"1": TERMINALS, "3": TERMINALS, "7": TERMINALS, "30": 0}


def test_no_label_names_a_terminal_and_series_are_bounded(
    sources: Sources, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(sources.lake) as base:
        aliases = {row["terminal"] for row in rows_of(base, "SELECT DISTINCT terminal FROM report")}
    said = text.decode()
    assert not any(alias in said for alias in aliases)
    assert not any(bench.terminal(n).hex() in said for n in range(TERMINALS))
    most = {"pack": MOST_PACKS + 2, "stratum": MOST_STRATA + 2, "histogram": 64, "phase": 8}
    most |= {"days": 4, "reason": 16, "cause": 8, "of": 4, "campaign": figures.MOST_CAMPAIGNS}
    most |= {"state": 10, "stage": 9, "standing": 6}
    bound = 0
    for _, _, labels in FAMILIES.values():
        product = 1
        for label in labels:
            product *= most[label]
        bound += product
    assert bound <= MOST_SERIES
    # the control: without the bound every stratum has series of its own
    monkeypatch.setattr(figures, "MOST_STRATA", 10_000)
    unbounded = Sources(sources.lake, strata=sources.strata, day=sources.day)
    own = [key for key in series(exposed(unbounded)) if key[0] == "tinyfin_terminals"]
    assert len(own) == TERMINALS > MOST_STRATA + 2


def test_the_page_names_every_family(text: bytes) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert named == {
        f"tinyfin_{n}{'_total' if k == 'counter' else ''}" for n, (k, *_) in FAMILIES.items()
    }
    assert {key[0] for key in series(text)} <= named


def test_promtool_takes_figures_and_rules(text: bytes, tmp_path: Path) -> None:
    def promtool(*words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["promtool", *words], input=stdin, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S
        )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, said
        return said

    for name, content in setup_files().items():
        (tmp_path / name).write_text(content)
    promtool("check", "metrics", stdin=text)
    promtool("check", "config", "prometheus.yml")
    cases = Path(__file__).with_name("prometheus_rules_test.yml").read_text()
    (tmp_path / "cases.yml").write_text(cases)
    promtool("test", "rules", "cases.yml")
    rules = setup_files()["rules.yml"]
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert all(cases.count(f"alertname: {one}}}") == 1 for one in alerts)
    # the control: a threshold that is off by a factor is noticed
    (tmp_path / "rules.yml").write_text(rules.replace("ratio3d > 0.05", "ratio3d > 0.5"))
    with pytest.raises(AssertionError, match="TinyfinTerminalsSilent"):
        promtool("test", "rules", "cases.yml")


def test_amtool_takes_the_routes(tmp_path: Path) -> None:
    if shutil.which("amtool") is None:
        pytest.skip("the Alertmanager is not installed; `tinyfin doctor` says how")
    path = tmp_path / "alertmanager.yml"
    path.write_text(setup_files()["alertmanager.yml"])
    for severity, receiver in (("page", "on_call"), ("ticket", "tickets")):
        words = ["amtool", "config", "routes", "test", f"--config.file={path}"]
        done = subprocess.run(
            [*words, f"severity={severity}"], capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert done.stdout.strip() == receiver, done.stderr


@contextmanager
def exporter(texts: list[bytes]) -> Iterator[int]:
    """Answers with the first text until it was asked for twice, then with the next one."""
    asked = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            asked += 1
            data = texts[min(asked // 2, len(texts) - 1)]
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[httpx.Client]:
    """A Prometheus with the rules that are shipped, scraping every second."""
    for name, content in setup_files().items():
        (folder / name).write_text(content)
    config = (folder / "prometheus.yml").read_text()
    quick = config.replace("scrape_interval: 1m", "scrape_interval: 1s, evaluation_interval: 1s")
    (folder / "prometheus.yml").write_text(quick.replace("127.0.0.1:9464", f"127.0.0.1:{target}"))
    [port] = bench.free_ports(1)
    words = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            ["prometheus", *words, f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        running.terminate()
        running.wait(60)


def eventually(is_so: Callable[[], bool], what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, what()
        time.sleep(0.5)


def test_every_query_of_the_board_has_an_answer(sources: Sources, tmp_path: Path) -> None:
    """Grafana itself is not run: what it would draw is asked for here."""
    whole = dataclasses.replace(sources, strata=None)  # a stratum of one terminal shows no drift
    before = Sources(sources.lake, day=LAST - 1)
    asked = [panel["targets"][0]["expr"] for panel in board()["panels"]]  # type: ignore[index]
    assert asked == [panel.query for panel in PANELS]
    empty: list[str] = []

    with exporter([exposed(before), exposed(whole)]) as port, prometheus(tmp_path, port) as asks:

        def answered() -> bool:
            empty.clear()
            for query in asked:
                try:
                    got = asks.get("/api/v1/query", params={"query": query}, timeout=30)
                except httpx.TransportError:  # it has not begun
                    empty.append("Prometheus")
                    return False
                if got.status_code == 503:
                    empty.append("Prometheus")
                    return False
                assert got.json()["status"] == "success", (query, got.text)
                if not got.json()["data"]["result"]:
                    empty.append(query)
            return not empty

        eventually(answered, lambda: f"no data of: {empty}")


def test_the_verb(calm: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "tinyfin.prom"
    said = tinyfin_json("fleet", "metrics", calm.lake.path, "--out", out)
    assert said["series"] == len(series(out.read_bytes())) > 20
    setup = tmp_path / "setup"
    tinyfin("fleet", "metrics", calm.lake.path, "--setup", setup)
    assert json.loads((setup / "grafana.json").read_text()) == board()
    wrong = tinyfin("fleet", "metrics", calm.lake.path, "--out", "a.txt", code=2)
    assert "end in .prom" in wrong.stderr


def test_they_are_served_and_looked_at_again(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    first, *more = bench.fleet(6, 2)
    bench.take(lake, first)
    words = ["fleet", "metrics", lake.path, "--http", "127.0.0.1:0", "--every", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "tinyfin", *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[-1]

        def reports() -> float:
            got = httpx.get(url, trust_env=False, timeout=60)
            assert got.headers["content-type"].startswith("text/plain; version=")
            return series(got.content)["tinyfin_lake_reports",]

        assert reports() == 1
        bench.take(lake, *more)
        eventually(lambda: reports() == 12, reports)
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE_S) == 0
    said = tinyfin("fleet", "metrics", lake.path, "--http", "0.0.0.0:0", code=3).stderr
    assert "other machines are answered over TLS alone" in said


def test_too_many_packs_are_refused(sources: Sources) -> None:
    many = dataclasses.replace(sources, packs=[*sources.packs] * (MOST_PACKS + 1))
    with pytest.raises(InputError, match="give at most 4"):
        exposed(many)
