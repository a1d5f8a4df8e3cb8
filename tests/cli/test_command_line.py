# SPDX-License-Identifier: Apache-2.0
"""The command line as a contract: lazy, documented exit codes, errors on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.support.cli import leaves_of, tinyfin
from tests.support.process import call, tinyfin_process
from tinyfin import __version__, errors
from tinyfin.cli import VERBS, main
from tinyfin.cli.old_spellings import renewed
from tinyfin.cli.repack import command
from tinyfin.optional_packages import install_command
from tinyfin.pack.signing import generate_key, save_key

HEAVY = ("tensorflow", "keras", "sklearn", "platformio", "SCons", "pyarrow", "pydantic", "numpy")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom tinyfin.cli import main\n"
        "try:\n    main(['--help'], prog_name='tinyfin')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = call(sys.executable, "-c", program)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_documents_every_exit_code() -> None:
    text = tinyfin_process("--help").stdout
    for code in (0, 2, 3, 4, 5, 6, 7, 130):
        assert f"\n    {code}  " in text


def test_version() -> None:
    assert tinyfin_process("--version").stdout == f"tinyfin {__version__}\n"


@pytest.mark.parametrize("verb", [verb for verb, _, _ in VERBS])
def test_every_verb_of_the_table_exists_and_takes_json(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    if command is None:
        pytest.fail(f"{verb}: its module is not there")
    assert command.name == verb
    for leaf in leaves_of(command):
        assert "--json" in [option for p in leaf.params for option in p.opts], leaf.name


@pytest.mark.parametrize("line", ["no-such-verb", "build", "targets --no-such-option"])
def test_usage_is_exit_code_2(line: str) -> None:
    tinyfin_process(line, code=2)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 3),
        (errors.DataError, 3),
        (errors.ModelError, 3),
        (errors.PackError, 3),
        (errors.MismatchError, 4),
        (errors.TargetError, 5),
        (errors.ToolError, 6),
        (errors.BudgetError, 7),
    ],
)
def test_an_error_becomes_its_exit_code(
    kind: type[errors.TinyfinError], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise kind("there: that; do this")

    monkeypatch.setattr("tinyfin.targets.catalogue.load", fail)
    done = tinyfin("targets", code=code)
    assert done.stderr == "error: there: that; do this\n"
    assert done.stdout == ""

    done = tinyfin("targets --json", code=code)
    report = json.loads(done.stdout)["error"]
    assert report == {"kind": kind.__name__, "message": "there: that; do this", "exit_code": code}


def test_a_missing_extra_is_a_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow.keras")

    monkeypatch.setattr("tinyfin.targets.catalogue.load", fail)
    done = tinyfin("targets", code=6)
    assert install_command("train") in done.stderr


def test_a_missing_module_of_tinyfin_itself_is_a_bug_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'tinyfin.nowhere'", name="tinyfin.nowhere")

    monkeypatch.setattr("tinyfin.targets.catalogue.load", fail)
    with pytest.raises(ModuleNotFoundError):
        tinyfin("targets")


def test_a_run_that_does_not_exist(tmp_path: Path) -> None:
    done = tinyfin_process(f"build {tmp_path} --target cortex-m4", code=3)
    assert "model.tfpack" in done.stderr
    assert "tinyfin quantize" in done.stderr


def test_an_output_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    pack = Path(__file__).parents[2] / "models" / "payment" / "model.tfpack"
    (tmp_path / "file").touch()
    done = tinyfin(f"codegen {pack} --out {tmp_path / 'file' / 'c'}", code=3)
    assert str(tmp_path / "file") in done.stderr


PACK = str(Path(__file__).parents[2] / "models" / "payment" / "model.tfpack")


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("features d.csv --inputs runs/r --out o.csv", "network-inputs runs/r d.csv --out o.csv"),
        ("features d.csv --inputs=runs/r --with-part", "network-inputs runs/r d.csv --with-part"),
        ("features d.csv --as-host card --out o", "host-fields d.csv --out o"),
        ("repack runs/r", "sign runs/r"),
        ("repack p.tfpack --key k --out q", "sign p.tfpack --key k --out q"),
        ("repack runs/r --security-counter 3", "sign runs/r --security-counter 3"),
    ],
)
def test_an_old_spelling_is_the_new_one_with_a_warning(
    old: str, now: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("tinyfin.progress.say", said.append)
    assert renewed(old.split()) == now.split()
    (warning,) = said
    assert warning.startswith("WARNING: ")
    assert f"`tinyfin {now.split()[0]} " in warning


@pytest.mark.parametrize(
    "words",
    [
        "",
        "features amt_log",
        "features d.csv --out o.csv --config c.toml",
        "features --markdown nothing",
        "features --inputs",
        "repack --help",
        "repack runs/r --per-1000=1 --key k",
        "repack runs/r --rules r.toml --security-counter 2",
        "bench m.tflite --target t --inputs x.npy",
    ],
)
def test_what_is_spelled_as_ever_stays(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyfin.progress.say", pytest.fail)
    assert renewed(words.split()) == words.split()


def test_old_spellings_work(tmp_path: Path) -> None:
    """In a shell; with --quiet the warning stays."""
    table = tinyfin_process("features --markdown reasons")
    assert table.stdout.startswith("| reason | text | given for |")
    assert "python -m tinyfin.features.describe reasons" in table.stderr
    signed = tinyfin_process(f"repack {PACK} --key {_key(tmp_path)} --out {tmp_path}/p -q")
    assert "WARNING: this is spelled `tinyfin sign PACK` now" in signed.stderr
    assert (tmp_path / "p").is_file()


def test_a_decision_is_asked_for_by_a_decision(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path), "--security-counter", "3"])
    assert done.exit_code == 2
    assert "give a threshold, a budget, a cost or --rules" in done.output


def _key(folder: Path) -> Path:
    save_key(generate_key(), folder / "release.key")
    return folder / "release.key"
