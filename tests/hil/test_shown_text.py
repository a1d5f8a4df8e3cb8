# SPDX-License-Identifier: Apache-2.0
"""What devices, files and tools say is shown as text: on the console, in HTML and in JUnit."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hil.faulty_bench import Line, job, log_frame
from tests.support.cli import tinyfin
from tinyfin import paths, progress
from tinyfin.cli import output
from tinyfin.cli.hil import text as result_text
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.replay.localize import Mismatch
from tinyfin.hil.reporting.page import write
from tinyfin.hil.reporting.report import ExtraSection
from tinyfin.hil.runs import junit
from tinyfin.hil.runs.display import Display
from tinyfin.hil.runs.report import write_report
from tinyfin.hil.runs.results import RigResult
from tinyfin.hil.runs.target import run_target
from tinyfin.text import json_safe, one_line, printable
from tinyfin.wire.messages import Reader

pytestmark = pytest.mark.live

EVIL = "till\x1b[2J\u202e\u2066\x9b31m\r\x07\u200f\ud800\u2028"


def obeyed(text: str) -> list[str]:
    """What a console, a browser or an editor would obey, but for line breaks and tabs."""
    return [
        c
        for c in text
        if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn")
    ]


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl"])))
def test_nothing_is_left_that_is_obeyed(text: str) -> None:
    assert not obeyed(printable(text))
    assert not set(one_line(text)) & {"\n", "\t"}
    assert not obeyed(one_line(text))
    whole = json.dumps({"a": text}, ensure_ascii=False, indent=1)
    assert not obeyed(json_safe(whole))
    # two halves of a pair are one character in JSON, however they are written
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert json.loads(json_safe(whole)) == {"a": joined}
    assert printable(printable(text)) == printable(text)


def test_plain_text_of_all_languages_stays() -> None:
    plain = "Zürich 東京 कैफ़े مقهى ✓ 12\u00a0345"
    assert printable(plain) == one_line(plain) == plain
    assert one_line("x" * 50, 10) == "xxxxxxx..."


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"name": EVIL}, False, f"name {EVIL}")
    output.emit({"name": EVIL}, True, "")
    output.note(EVIL)
    out, err = capsys.readouterr()
    assert not obeyed(out + err)
    assert r"till\x1b[2J\u202e" in out


def test_an_error_that_names_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\u202eb.toml"
    path.write_text("[")
    done = tinyfin(f"hil list --rig {path}", code=3)
    assert r"a\x1b[2J\u202eb.toml" in done.stderr
    assert not obeyed(done.stderr)


def test_texts_of_a_device(program: Path, pack: Path, tmp_path: Path) -> None:
    """A log line of the terminal that would clear the console and forge a line of its own."""
    log = log_frame("\x1b[2Jboot\nPASS \u202e")
    line = Line(program, down=lambda line, data: log + data if data else data)
    result = run_target(job(pack, line.url, folder=tmp_path))
    line.close()
    result.name = f"b{EVIL}"
    assert result.logs[-1] == r"\x1b[2Jboot\nPASS \u202e"
    whole = RigResult(
        rig=EVIL, rig_file="r.toml", run=str(pack), suites=["small"], targets=[result]
    )
    write_report(tmp_path / "report.html", whole)
    shown = {
        "junit": junit.document(whole).decode(),
        "html": (tmp_path / "report.html").read_text(encoding="utf-8"),
        "json": (tmp_path / "report.json").read_text(encoding="utf-8"),
        "console": printable(result_text(whole)),
    }
    for where, text in shown.items():
        assert not obeyed(text), where
    xml.fromstring(shown["junit"])
    done = tinyfin(f"hil transcript {tmp_path}/board.transcript.gz")
    assert not obeyed(done.output)
    assert "PASS" in done.output
    assert not any(row.startswith("PASS") for row in done.output.splitlines())


def test_a_terminal_cannot_break_the_line_of_a_difference() -> None:
    told = str(Mismatch("till\nrow 0: all equal\x1b[2J", 3, 4, "raw", 1, 2))
    assert "\n" not in told
    assert not obeyed(told)


def test_pages_of_names_from_files(tmp_path: Path) -> None:
    facts = ReplayFacts(target="m4", error=EVIL, terminals=1)
    path = write(
        tmp_path / "r.html",
        replay=facts,
        title=EVIL,
        date=EVIL,
        more=[ExtraSection.model_validate({"title": EVIL, "blocks": [{"text": EVIL}]})],
    )
    assert not obeyed(path.read_text(encoding="utf-8"))


def test_the_text_of_a_frame_is_one_line() -> None:
    data = "a\nb\u202e".encode()
    assert Reader(bytes([len(data)]) + data, "LOG").text() == r"a\nb\u202e"


class _Console(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "moves"), [("xterm", True), ("dumb", False)])
def test_what_moves_on_a_terminal(term: str, moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    console = _Console()
    monkeypatch.setattr(sys, "stderr", console)
    with progress.showing(progress.Screen(clock=lambda: 0.0, first_s=0.0)) as screen:
        display = Display()
        for event in (
            {"event": "begin", "case": "x\x1b]0;y"},
            {"event": "progress", "case": "x", "done": 1, "of": 2},
            {"event": "note", "text": "a\x1b]0;b\nc"},
        ):
            display({"target": "m4", **event})
            screen.show()
        display.close()
    said = console.getvalue()
    assert ("\x1b[K" in said) == moves
    assert "\x1b]0;" not in said
    assert r"x\x1b]0;y" in said
    assert r"a\x1b]0;b\nc" in said


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"NO_COLOR": "1", "TERM": "xterm"}])
def test_no_colour_where_none_is_wanted(more: dict[str, str]) -> None:
    """On a real terminal, which click does not strip."""
    master, slave = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "tinyfin", "features"],
        stdout=slave,
        stderr=slave,
        stdin=slave,
        env={**os.environ, **more},
    )
    os.close(slave)
    said = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        said += data
    assert done.wait(60) == 0, said
    os.close(master)
    assert len(said) > 500
    assert b"\x1b" not in said


PROJECT = "[tool.pytest.ini_options]\naddopts = '--this-is-another-project'\n"


@pytest.mark.timeout(900)  # eight runs of pytest, each with a deadline
def test_pytest_does_not_take_the_root_of_the_rig(pack: Path, tmp_path: Path) -> None:
    rig_folder, mine = tmp_path / "theirs" / "hil", tmp_path / "mine"
    rig_folder.mkdir(parents=True)
    mine.mkdir()
    (rig_folder / "rig.toml").write_text(f'[rig]\nrun = "{pack}"\n[targets.a]\ntarget = "host"\n')
    (mine / "test_mine.py").write_text("def test_one(terminal):\n    assert terminal.fields\n")
    rig_file = str(rig_folder / "rig.toml")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *words],
            cwd=mine,
            capture_output=True,
            text=True,
            timeout=120,
        )

    good = run(f"--tinyfin-rig={rig_file}")
    assert good.returncode == 0, good.stdout + good.stderr
    assert f"rootdir: {mine}\n" in good.stdout
    for words in (
        ["--tinyfin-rig", rig_file],
        [".", "--tinyfin-rig", rig_file],
        ["test_mine.py", "--tinyfin-rig", rig_file],
    ):
        bad = run(*words)
        assert bad.returncode == 4, bad.stdout + bad.stderr
        assert "write --tinyfin-rig=FILE" in bad.stderr
    (mine / "pytest.ini").write_text("[pytest]\n")
    assert run("test_mine.py", "--tinyfin-rig", rig_file).returncode in (0, 4)
    (rig_folder.parent / "pyproject.toml").write_text(PROJECT)
    assert run(f"--tinyfin-rig={rig_file}").returncode == 0
    (mine / "pytest.ini").unlink()
    (mine / "rig.toml").write_text((rig_folder / "rig.toml").read_text())
    assert run("--tinyfin-rig", "rig.toml").returncode == 0, "no other root is near"


def test_the_checkout_may_use_either_form() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "hil/tests",
            "--tinyfin-rig",
            "hil/rig.emulated.toml",
            "--tinyfin-target",
            "host",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
        ],
        cwd=paths.project_dir(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
