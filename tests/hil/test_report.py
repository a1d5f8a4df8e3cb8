# SPDX-License-Identifier: Apache-2.0
"""The report: it says what was measured, fails by default, and needs nothing but itself."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.run_json import RUN
from tests.support.transactions import transactions
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.hil.replay import ReplayResult
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.reporting.page import render, write
from tinyfin.hil.reporting.report import ExtraSection, ReplayReport, Sizes

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
HOSTILE = "<script>alert('x')</script>\"'&\x00\x1b[31m\ud800 onload=\"x\" {{ 7 * 7 }}"
ROWS = 400


class Page(html.parser.HTMLParser):
    """Checks that every element is closed in order; collects elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text, white space folded."""
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of that name."""
        return [attrs for name, attrs in self.elements if name == tag]


def facts_of_replay(**changes: object) -> ReplayFacts:
    """A good replay, as ``ReplayResult.facts()`` gives it."""
    good: dict[str, object] = {
        "target": "cortex-m4",
        "pack": "ab" * 16,
        "device_pack": "ab" * 16,
        "build_id": "b1",
        "transactions": ROWS,
        "verdicts": ROWS,
        "terminals": 4,
        "events": 900,
        "checkpoints": 4,
        "compared": ["features", "score_q32"],
        "mismatches": 0,
        "first_mismatch": None,
        "lost": 0,
        "retransmitted": 0,
        "seconds": 2.5,
        "transactions_per_second": 160.0,
        "bytes_up_per_transaction": 31.5,
        "bytes_down_per_transaction": 11.25,
        "flash_bytes": 36512,
        "ram_bytes": 14120,
        "device_stats": {"scored": ROWS},
        "instructions": {"median": 5200, "p99_9": 9900, "max": 10400},
    }
    return ReplayFacts.model_validate({**good, **changes})


class Result(ReplayResult):
    """A ReplayResult of given facts, its verdicts made up."""

    def __init__(self, facts: ReplayFacts, tx: Transactions) -> None:
        super().__init__(facts.target, "", "", "")
        rng = np.random.default_rng(7)
        n = len(tx)
        self.given = facts
        self.row = np.arange(n)
        p = np.where(tx.label == 1, rng.uniform(0.3, 0.9, n), rng.uniform(1e-4, 0.05, n))
        self.score_q32 = (p * 2**32).astype(np.uint32)
        self.action = (p > 0.5).astype(np.uint8)
        self.instructions = (5000 + rng.integers(0, 900, n) + 4000 * (p > 0.5)).astype(np.int64)

    def facts(self) -> ReplayFacts:
        return self.given


def attacked() -> Transactions:
    """Two attacks on terminal 0, one on terminal 1, and a hard negative without fraud."""
    row = np.arange(ROWS)
    terminal = row % 4
    scenario = np.zeros(ROWS)
    scenario[(terminal == 0) & ((row < 40) | (row >= 360))] = 1
    scenario[(terminal == 1) & (row >= 380)] = 1
    scenario[terminal == 2] = 2
    return transactions(
        600_000_000 + 3600 * row,
        terminal=terminal,
        terminals=("a", "b", "c", "d"),
        label=scenario == 1,
        scenario=("genuine", "card_testing", "lunch_rush"),
        scenario_code=scenario,
    )


def run_folder(path: Path, *, differing: int = 0) -> Path:
    """A run folder with everything but a pack."""
    path.mkdir()
    rng = np.random.default_rng(3)
    label = (np.arange(3000) % 50 == 0).astype(np.int8)
    score = (rng.normal(size=3000) + 3 * label).astype(np.float32)
    np.savez(
        path / "slices.npz",
        test_label=label,
        test_float=score,
        calibration_label=label,
        calibration_float=score,
        test_rule_amount=rng.normal(size=3000),
    )
    rule = {
        "rows": 3000,
        "frauds": 60,
        "average_precision": 0.33,
        "roc_auc": 0.9,
        "recall_at_0.1%": 0.5,
        "precision_at_0.1%": None,
        "recall_at_1%": 0.7,
        "precision_at_1%": 0.2,
    }
    model = {
        **rule,
        "average_precision": 0.61,
        "calibration_error": 0.001,
        "brier_skill": 0.4,
        "expected_frauds": 58.2,
        "scenario_recall_at_0.1%": {"card_testing": {"frauds": 60, "recall": 0.5}},
    }
    sizes = ("pack_bytes", "tflite_bytes", "plan_bytes", "arena_bytes", "macs")
    recall = {"float": 0.5, "int8": None}
    files = {
        "metrics.json": {
            "populations": {"all": {"model_int8": model, "model_float": model, "amount": rule}}
        },
        "parity.json": {
            "rows": 4000,
            "bytes": 4000,
            "plan": {"differing_bytes": differing, "max_abs_difference": differing},
            "litert_auto": {"differing_bytes": 44, "max_abs_difference": 1},
            "float_and_int8": {
                "all": {
                    "average_precision": {"float": 0.6123, "int8": 0.6119},
                    "recall_at_0.1%": recall,
                }
            },
            "sizes": dict.fromkeys(sizes, 1000),
        },
        "run.json": {
            **RUN,
            "name": "tiny",
            "model": {**RUN["model"], "hidden": [32, 16], "seed": 5, "parameters": 1345},
            "data": {
                **RUN["data"],
                "files": [{"name": "data set.parquet", "path": "d", "bytes": 1, "sha256": ""}],
                "fingerprint": "f1" * 32,
            },
            "split": {
                **RUN["split"],
                "until": "2019-01-08T00:00:00",
                "test_until": "2019-02-01T00:00:00",
                "fit": {"rows": 10, "frauds": 2},
                "calibration": {"rows": 5, "frauds": 1},
            },
            "versions": {"numpy": "2.0"},
            "config_sha256": "c0" * 32,
        },
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    return path


def read(path: Path) -> tuple[Page, dict[str, object]]:
    text = path.read_text(encoding="utf-8")
    return Page(text), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def full(tmp_path: Path, **changes: object) -> Path:
    tx = attacked()
    return write(
        tmp_path / "full.html",
        replay=Result(facts_of_replay(**changes), tx),
        tx=tx,
        run_dir=run_folder(tmp_path / "tiny"),
        date="2026-01-02",
        sizes={"cortex-m4": Sizes(stack_bytes=904)},
        more=[
            ExtraSection.model_validate(
                {
                    "title": "Model card",
                    "blocks": [
                        {"text": "Intended for payment terminals."},
                        {"code": ["tinyfin evaluate"]},
                        {"caption": "Slices", "columns": ["slice", "AP"], "rows": [["keyed", 0.5]]},
                    ],
                }
            )
        ],
    )


def test_a_full_report_says_everything(tmp_path: Path) -> None:
    page, facts = read(full(tmp_path))
    assert facts["verdict"]["pass"] is True
    for words in (
        "PASS",
        "2026-01-02",
        "Cortex-M4",
        "qemu-system-arm",
        "features, score_q32",
        "b1",
        "0.610",
        "model, int8",
        "ai-edge-litert, default kernels",
        "44",
        "-0.0004",
        "Precision and recall",
        "Calibration in the test period",
        "card_testing",
        "lunch_rush",
        "36,512",
        "14,120",
        "904",
        "31.5",
        "11.25",
        "Model card",
        "keyed",
        "tinyfin train 'data set.parquet' --config runs/tiny/config.toml --name tiny-again",
        "tinyfin replay runs/tiny 'data set.parquet' --target cortex-m4",
        "instructions / 100 MHz",
    ):
        assert words in page.text, words
    assert "cycles" not in page.text.replace("They are not cycles", "")
    assert len(page.of("svg")) >= 6
    assert "stack on cortex-m4" not in page.text
    assert "nan" not in page.text.lower().split()
    # the run has no pack: that is said
    assert "model.tfpack" in page.text


def test_attacks_and_false_alerts_are_counted(tmp_path: Path) -> None:
    _, facts = read(full(tmp_path))
    caught = facts["replayed"]["caught"]
    by_name = {row["scenario"]: row for row in caught["scenarios"]}
    # 2019-01-05 begins the data, 2019-01-08 the test: the first attack lies before it
    assert facts["replayed"]["only_later"] is True
    assert facts["replayed"]["later_than_learning"] < ROWS
    assert by_name["card_testing"]["attacks"] == 2
    assert by_name["card_testing"]["attacks_detected"] == 2
    assert by_name["card_testing"]["transactions_until_detected_median"] >= 1
    assert by_name["lunch_rush"]["frauds"] == 0
    assert caught["false_alerts"] == 0
    assert caught["frauds_alerted"] <= caught["frauds"] == by_name["card_testing"]["frauds"]
    instructions = facts["instructions"][0]
    assert sum(instructions["histogram"]["counts"]) == instructions["count"] == ROWS
    assert instructions["alerted"]["median"] > instructions["accepted"]["max"]


def test_a_minimal_report_says_what_is_missing(tmp_path: Path) -> None:
    page, facts = read(write(tmp_path / "r.html", replay=None))
    assert facts["verdict"]["pass"] is False
    assert "FAIL" in page.text
    assert "nothing was replayed" in page.text
    assert "no run folder was given" in page.text


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"mismatches": 1}, "mismatches"),
        ({"lost": 1}, "lost"),
        ({"verdicts": ROWS - 1}, "verdicts"),
        ({"compared": []}, "compared"),
        ({"compared": None}, "compared"),
        ({"transactions": 0, "verdicts": 0}, "transactions replayed"),
        ({"mismatches": None}, "mismatches"),
        ({"mismatches": False}, "mismatches"),
        ({"lost": "0"}, "lost"),
        ({"device_pack": "cd" * 16}, "pack on the target"),
        ({"pack": None, "device_pack": None}, "pack on the target"),
        ({"error": "no answer for 20 s"}, "error"),
    ],
)
def test_what_is_not_proven_fails(tmp_path: Path, changes: dict[str, object], check: str) -> None:
    page, facts = read(write(tmp_path / "r.html", replay=facts_of_replay(**changes)))
    assert facts["verdict"]["pass"] is False
    assert "✗ FAIL" in page.text
    failed = [c["name"] for c in facts["verdict"]["checks"] if not c["ok"]]
    assert check in failed


def test_a_good_replay_alone_passes(tmp_path: Path) -> None:
    # the control of the test above: without a change, nothing fails
    page, facts = read(write(tmp_path / "r.html", replay=facts_of_replay()))
    assert facts["verdict"]["pass"] is True
    assert "stack on cortex-m4" in page.text
    assert "✓ PASS" in page.text


def test_one_bad_target_of_two_fails(tmp_path: Path) -> None:
    bad = facts_of_replay(target="stm32f405", lost=2)
    _, facts = read(write(tmp_path / "r.html", replay=[facts_of_replay(), bad]))
    assert [c["name"] for c in facts["verdict"]["checks"] if not c["ok"]] == ["stm32f405: lost"]


def test_network_bytes_that_differ_fail(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "tiny", differing=1)
    _, facts = read(write(tmp_path / "r.html", replay=facts_of_replay(), run_dir=run))
    assert facts["verdict"]["pass"] is False


@pytest.mark.parametrize("change", [{"plan": None}, {"schema_version": 2}])
def test_a_parity_that_cannot_be_read_proves_nothing(
    tmp_path: Path, change: dict[str, object]
) -> None:
    run = run_folder(tmp_path / "tiny")
    parity = json.loads((run / "parity.json").read_text())

    def failed() -> tuple[list[str], list[str]]:
        _, facts = read(write(tmp_path / "r.html", replay=facts_of_replay(), run_dir=run))
        checks = [check["name"] for check in facts["verdict"]["checks"] if not check["ok"]]
        why = {row["what"]: row["why"] for row in facts["missing"]}
        return checks, [why[what] for what in why if what == "parity.json of the run"]

    assert failed() == ([], [])
    (run / "parity.json").write_text(json.dumps({**parity, **change}))
    checks, (why,) = failed()
    assert checks == ["network bytes that differ from TFLM"]
    assert why.startswith("parity.json: ")
    (run / "parity.json").unlink()
    checks, (why,) = failed()
    assert checks == []  # not quantized: there is nothing to prove
    assert "parity.json is missing" in why


def test_what_the_files_of_a_run_say_is_in_the_json_as_it_was_given(tmp_path: Path) -> None:
    _, facts = read(full(tmp_path))
    for name in ("run", "metrics", "parity"):
        given = json.loads((tmp_path / "tiny" / f"{name}.json").read_text())
        assert facts[name] == {**given, "schema_version": 1}


def test_the_first_difference_is_named_on_top(tmp_path: Path) -> None:
    first = {
        "terminal": "T-7",
        "row": 1234,
        "id": 99,
        "field": "feature amt_dev",
        "expected": 311,
        "got": 310,
        "note": "",
    }
    replay = facts_of_replay(mismatches=1, first_mismatch=first)
    page, _ = read(write(tmp_path / "r.html", replay=replay))
    at = page.text.index("row 1234 (id 99, terminal T-7), feature amt_dev")
    assert at < page.text.index("What ran where", page.text.index("Every check"))
    assert "the workstation gives 311, the target 310" in page.text


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    path = full(tmp_path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    for tag in ("script", "link", "iframe", "object", "embed", "base", "form", "image", "use"):
        assert not page.of(tag), tag
    for tag, attrs in page.elements:
        assert not {"src", "srcset", "style", "background", "poster", "data"} & attrs.keys(), tag
        href = attrs.get("href")
        assert href is None or href.startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        for target in (attrs.get("href") or "#").removeprefix("#").split():
            assert target in ids
        for target in (attrs.get("aria-labelledby") or "").split():
            assert target in ids


def test_everybody_can_read_it(tmp_path: Path) -> None:
    page = Page(full(tmp_path).read_text(encoding="utf-8"))
    assert page.of("html")[0]["lang"] == "en"
    pictures = [a for a in page.of("svg") if a.get("aria-hidden") != "true"]
    assert pictures
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in pictures)
    assert len(page.of("title")) == len(pictures) + 1
    assert len(page.of("desc")) == len(pictures)
    assert len(page.of("caption")) == len(page.of("table"))
    assert len(page.of("figcaption")) == len(page.of("figure"))
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "tiny")
    facts = json.loads((run / "run.json").read_text())
    facts["name"] = facts["data"]["files"][0]["name"] = HOSTILE.replace("\ud800", "")
    facts["versions"] = {HOSTILE.replace("\ud800", ""): "1"}
    (run / "run.json").write_text(json.dumps(facts))
    metrics = json.loads((run / "metrics.json").read_text())
    scorers = metrics["populations"]["all"]
    scorers[HOSTILE.replace("\ud800", "")] = scorers["amount"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    names = ("terminal", "row", "id", "field", "expected", "got", "note")
    mismatch = dict.fromkeys(names, HOSTILE)
    replay = facts_of_replay(
        target=HOSTILE,
        build_id=HOSTILE,
        compared=[HOSTILE],
        first_mismatch=mismatch,
        device_stats={HOSTILE: 1},
        pack=HOSTILE,
        device_pack=HOSTILE,
        error=HOSTILE,
    )
    path = write(
        tmp_path / "r.html",
        replay=replay,
        run_dir=run,
        title=HOSTILE,
        date=HOSTILE,
        more=[ExtraSection.model_validate({"title": HOSTILE, "blocks": [{"text": HOSTILE}]})],
    )
    text = path.read_text(encoding="utf-8")
    page, _ = read(path)
    assert not page.of("script")
    assert not [a for _, a in page.elements if "onload" in a]
    assert "<script" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "{{ 7 * 7 }}" in page.text
    assert "<script>alert('x')</script>" in page.text


def test_hostile_scenarios_stay_words_in_pictures(tmp_path: Path) -> None:
    tx = attacked()
    object.__setattr__(tx, "scenario", ("genuine", HOSTILE, "lunch_rush"))
    object.__setattr__(tx, "fingerprint", lambda: "f")
    path = write(tmp_path / "r.html", replay=Result(facts_of_replay(), tx), tx=tx)
    page, _ = read(path)
    assert not page.of("script")
    assert "<script>alert('x')</script>" in page.text


def test_the_html_is_made_of_the_json_alone(tmp_path: Path) -> None:
    path = full(tmp_path)
    assert render(ReplayReport.read(path.with_suffix(".json"))) == path.read_text(encoding="utf-8")


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = full(tmp_path / "one"), full(tmp_path / "two")
    # of the folder's path, only its name may appear
    assert one.read_bytes().replace(b"/one/", b"/two/") == two.read_bytes()


def test_numbers_that_are_none_stay_none(tmp_path: Path) -> None:
    replay = facts_of_replay(seconds=float("nan"), device_stats={"a": float("inf")})
    path = write(tmp_path / "r.html", replay=replay, json_path=tmp_path / "facts.json")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["replays"][0]["seconds"] is None
    assert "nan" not in Page(path.read_text()).text.lower().split()


def test_damaged_files_of_the_run_are_named(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "tiny")
    (run / "metrics.json").write_text("{")
    (run / "model.tfpack").write_bytes(b"TFPK" + bytes(60))
    (run / "slices.npz").write_bytes(b"PK\x03\x04 not a zip")
    _, facts = read(write(tmp_path / "r.html", replay=facts_of_replay(), run_dir=run))
    missing = {row["what"]: row["why"] for row in facts["missing"]}
    assert "metrics.json of the run" in missing
    assert "the pack's contents" in missing
    assert any("test period" in what for what in missing)
    assert all(missing.values())


def test_a_bug_is_not_reported_as_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder(tmp_path / "tiny")

    def wrong(*_: object) -> None:
        raise KeyError("a typo")

    monkeypatch.setattr("tinyfin.hil.reporting.facts.curves", wrong)
    with pytest.raises(KeyError, match="a typo"):
        write(tmp_path / "r.html", replay=facts_of_replay(), run_dir=run)


def test_slices_that_lack_an_array_are_named(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "tiny")
    np.savez(run / "slices.npz", test_label=np.zeros(3, np.int8))
    _, facts = read(write(tmp_path / "r.html", replay=facts_of_replay(), run_dir=run))
    assert any("slices.npz: has no test_float" in row["why"] for row in facts["missing"])


def test_html_and_json_need_two_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same name"):
        write(tmp_path / "r.json", replay=None)


def test_a_path_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "file" / "r.html", replay=None)


def test_the_wire_shows_damage_and_repair_and_names_what_stayed_zero() -> None:
    from tinyfin.hil.reporting.wire_section import wire_blocks

    calm = ReplayFacts(
        target="a",
        events=10,
        faults={},
        repaired={"stray": 0, "timeouts": 0},
        device_stats={"scored": 5, "evictions": 0},
    )
    hostile = ReplayFacts(
        target="b",
        events=10,
        faults={"flip": 3},
        repaired={"stray": 2, "timeouts": 0},
        device_stats={},
    )
    line, damage, device, zeros = wire_blocks([calm, hostile])
    assert "events" in str(line)
    assert [row[0] for row in damage.rows] == ["done: flip", "repaired: stray"]
    assert damage.rows[0][1:] == ["0", "3"]
    assert [row[0] for row in device.rows] == ["scored"]
    assert zeros.text == "0 everywhere: timeouts, evictions."
    assert wire_blocks([ReplayFacts(target="c", error="gone")]) == []


def test_a_red_page_begins_with_what_went_wrong(tmp_path: Path) -> None:
    """Not with the names of all that was not proven because of it."""
    nothing = {"transactions": None, "verdicts": None, "compared": None, "mismatches": None}
    replays = [
        facts_of_replay(target="a/flash", error="flash: no such port", **nothing),
        facts_of_replay(target="a/parity", error="flash: not reached: no such port", **nothing),
        facts_of_replay(target="b/parity", lost=3),
    ]
    page = tmp_path / "r.html"
    write(page, replay=replays)
    verdict = re.search(r'<section class="verdict.*?<details', page.read_text(), re.DOTALL)
    assert verdict
    lines = re.findall("<p>(.*?)</p>", verdict[0])
    assert lines == [
        "a/flash: flash: no such port",
        "Not reached: a/parity.",
        "Not proven: b/parity: lost.",
    ]
