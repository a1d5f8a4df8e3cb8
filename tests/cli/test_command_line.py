# SPDX-License-Identifier: Apache-2.0
"""The command line as a contract: lazy, documented exit codes, errors on stderr."""

from __future__ import annotations

import json
import runpy
import shlex
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.support.cli import leaves_of, parsed, tinyfin
from tests.support.process import ROOT, call, tinyfin_process
from tinyfin import __version__, errors
from tinyfin.cli import VERBS, main
from tinyfin.cli.repack import command
from tinyfin.optional_packages import install_command

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


def groups_of(words: list[str], command: click.Command) -> list[list[str]]:
    if not isinstance(command, click.Group):
        return []
    inner = [groups_of([*words, name], one) for name, one in command.commands.items()]
    return [words, *(group for groups in inner for group in groups)]


def test_the_help_of_every_group_has_whole_sentences() -> None:
    context = click.Context(main)
    verbs = [(verb, main.get_command(context, verb)) for verb, _, _ in VERBS]
    groups = [words for verb, found in verbs if found for words in groups_of([verb], found)]
    assert {"state", "command", "fleet"} < {words[0] for words in groups}
    for words in groups:
        listed = tinyfin(" ".join(words), "--help").stdout.partition("\nCommands:\n")[2]
        assert listed, words
        assert "..." not in listed, words


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


def test_a_decision_is_asked_for_by_a_decision(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path), "--security-counter", "3"])
    assert done.exit_code == 2
    assert "give a threshold, a budget, a cost or --rules" in done.output


def test_the_models_are_made_by_commands_that_there_are() -> None:
    """`make nightly` runs the lines at the top of each configuration."""
    lines = [
        line.removeprefix("#   tinyfin ")
        for path in sorted((ROOT / "models").rglob("*.toml"))
        for line in path.read_text().splitlines()
        if line.startswith("#   tinyfin ")
    ]
    assert len(lines) > 10
    nightly = runpy.run_path(str(ROOT / ".ci" / "nightly.py"))
    for line in lines:
        parsed(nightly["today"](shlex.split(line, comments=True)))
