# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: ``pytest --tinyfin-rig=hil/rig.emulated.toml`` and two fixtures.

``terminal`` is a terminal of the rig, cold and answering; ``replay`` replays transactions on it
and compares. Every test that uses one of them runs once per target.
``@pytest.mark.capability("infer")`` says what a terminal must offer. Nothing of tinyfin is imported
before a test needs it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tinyfin.hil.pytest_terminal import Bench, Replayer, Terminal
    from tinyfin.hil.rigs.rigfile import Rig

__all__ = ["replay", "terminal"]

_DEFAULT = "hil/rig.emulated.toml"
_TARGET = "tinyfin_target"
_PATHS = {"--tinyfin-rig": "tinyfin_rig", "--tinyfin-run": "tinyfin_run"}
_wrong = pytest.StashKey[str]()
"""What is wrong with the rig file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """--tinyfin-rig, --tinyfin-target, --tinyfin-run."""
    group = parser.getgroup("tinyfin", "terminals on a rig")
    group.addoption(
        "--tinyfin-rig",
        metavar="FILE",
        help=f"rig file; {_DEFAULT} if it is there. Seen from where pytest was called; in addopts "
        "from the file that holds them",
    )
    group.addoption(
        "--tinyfin-target",
        metavar="NAME",
        action="append",
        default=[],
        help="a target of the rig; may be repeated; all that are not off if not given",
    )
    group.addoption("--tinyfin-run", metavar="RUN", help="run folder or pack, not the rig file's")


def pytest_configure(config: pytest.Config) -> None:
    """The marker, and where the rig is. UsageError where pytest has taken the rig for tests."""
    _refuse_other_root(config)
    for option, name in _PATHS.items():
        if (given := getattr(config.option, name)) is not None:
            setattr(config.option, name, str(_seen_from(config, option) / given))
    config.addinivalue_line(
        "markers",
        "capability(*names): skip where the terminal does not offer them: ticks, stack, infer, "
        "reboot, exit, replay, state",
    )


def _refuse_other_root(config: pytest.Config) -> None:
    """Before it knows a plugin's options, pytest takes the word after ``--tinyfin-rig`` for a path
    of tests, and may choose its root, and its settings, by it."""
    words = _called_with(config)
    ours = [at + 1 for at, word in enumerate(words) if word in ("--tinyfin-rig", "--tinyfin-run")]
    there = config.invocation_params.dir
    given = [there / words[at] for at in ours if at < len(words) and (there / words[at]).exists()]
    if not given or any(word.startswith("--rootdir") for word in words):
        return
    paths = [
        there / word.partition("::")[0]
        for at, word in enumerate(words)
        if at not in ours and not word.startswith("-")
    ]
    tests = [path.resolve() for path in paths if path.exists()] or [there]
    root = config.rootpath
    common = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in tests]))
    at_tests = all(path.is_relative_to(root) for path in tests)
    has_settings = config.inipath is not None or (root / "setup.py").is_file()
    if not at_tests or not (has_settings or root == common):
        raise pytest.UsageError(
            f"pytest took {given[0]} for tests and {root} for its root; write --tinyfin-rig=FILE "
            "and --tinyfin-run=RUN, with the equals sign"
        )


def _called_with(config: pytest.Config) -> list[str]:
    """The words of the command line, those of the environment in front, as pytest reads them."""
    return [
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        *(str(word) for word in config.invocation_params.args),
    ]


def _seen_from(config: pytest.Config, option: str) -> Path:
    """The folder from which a path is seen: that of the settings where addopts gave it."""

    def gives(words: Sequence[str]) -> bool:
        return any(word == option or word.startswith(f"{option}=") for word in words)

    if gives(_called_with(config)) or not gives(config.getini("addopts")):
        return config.invocation_params.dir
    return config.inipath.parent if config.inipath is not None else config.rootpath


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per target."""
    if _TARGET in metafunc.fixturenames:
        names = _names(metafunc.config)
        metafunc.parametrize(_TARGET, names, scope="session", indirect=True)


def _names(config: pytest.Config) -> list[str]:
    """The targets. What is wrong with the rig file ends the session when all is collected: pytest
    would show an exception that is raised here once per test, as a traceback."""
    from tinyfin.errors import TinyfinError
    from tinyfin.hil.rigs.rigfile import run_of, select

    if _wrong not in config.stash:
        try:
            rig = _rig(config)
            run_of(rig, _run(config), "--tinyfin-run")
            return list(select(rig, config.getoption("--tinyfin-target")))
        except TinyfinError as error:
            config.stash[_wrong] = _said(error)
    if hasattr(config, "workerinput"):  # a process of pytest-xdist cannot end the session
        raise pytest.Collector.CollectError(config.stash[_wrong])
    return []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """UsageError when a test needs the rig and its file is wrong."""
    if _wrong in config.stash and not hasattr(config, "workerinput"):
        raise pytest.UsageError(config.stash[_wrong])


def _run(config: pytest.Config) -> Path | None:
    given = config.getoption("--tinyfin-run")
    return None if given is None else Path(given)


def _said(error: Exception) -> str:
    from tinyfin.text import printable

    return printable(str(error))


def _rig(config: pytest.Config) -> Rig:
    from tinyfin.hil.rigs import rigfile as rig

    given = config.getoption("--tinyfin-rig")
    if given is None:
        own = config.rootpath / _DEFAULT
        return rig.load(own if own.is_file() else rig.default_path())
    return rig.load(given)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed shows what went over the wire, and names the whole transcript."""
    outcome: Any = yield
    report = outcome.get_result()
    bench = getattr(item, "funcargs", {}).get(_TARGET)
    if bench is None or not report.failed:
        return
    report.sections.append((f"wire of {bench.name}", bench.wire()))
    if bench.transcript is not None:
        item.user_properties.append(("tinyfin_transcript", str(bench.transcript)))
        report.sections.append(("transcript", f"tinyfin hil transcript {bench.transcript}"))


@pytest.fixture(scope="session")
def tinyfin_target(
    request: pytest.FixtureRequest,
    record_testsuite_property: Callable[[str, object], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """A target of the rig: leased, flashed and booted for the whole session."""
    from tinyfin.errors import TinyfinError
    from tinyfin.hil.pytest_terminal import Bench

    wrong = ""
    try:
        bench = Bench(
            _rig(request.config),
            request.param,
            _run(request.config),
            tmp_path_factory.mktemp("tinyfin"),
        )
    except TinyfinError as error:
        wrong = _said(error)
    if wrong:  # outside the handler: pytest would show both exceptions
        pytest.fail(wrong, pytrace=False)
    try:
        yield bench
        for name, value in bench.facts().items():
            record_testsuite_property(f"{bench.name}.{name}", value)
    finally:
        bench.close()


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tinyfin_target: Bench) -> Terminal:
    """The terminal, cold, whatever the test before has left; see docs/hil.md for what it does."""
    needs = [name for mark in request.node.iter_markers("capability") for name in mark.args]
    from tinyfin.errors import TinyfinError
    from tinyfin.wire.messages import Capability

    known = [str(flag.name).lower() for flag in Capability]
    unknown = [name for name in needs if name not in known]
    if unknown:
        pytest.fail(
            f"no capability {', '.join(map(repr, unknown))}; there are {', '.join(known)}",
            pytrace=False,
        )

    tinyfin_target.begin(request.node.nodeid)
    wrong = ""
    try:
        found = tinyfin_target.terminal()
    except TinyfinError as error:
        wrong = f"{error.kind}: {_said(error)}"
    if wrong:
        pytest.fail(wrong, pytrace=False)
    missing = [name for name in needs if name not in found.capabilities]
    if missing:
        pytest.skip(f"{tinyfin_target.name} does not offer {', '.join(missing)}")
    return found


@pytest.fixture
def replay(terminal: Terminal, tinyfin_target: Bench) -> Replayer:
    """A function that replays transactions on the terminal and fails at the first difference."""
    return tinyfin_target.replayer()
