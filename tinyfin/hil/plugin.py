# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: ``pytest --tinyfin-rig=hil/rig.emulated.toml`` and two fixtures.

``terminal`` is a terminal of the rig, cold and answering; ``replay`` replays transactions on it
and compares. Every test that uses one of them runs once per target.
``@pytest.mark.capability("infer")`` says what a terminal must offer. Nothing of tinyfin is imported
before a test needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tinyfin.hil.bench_terminal import Bench, Replayer, Terminal

__all__ = ["replay", "terminal"]

_DEFAULT = "hil/rig.emulated.toml"
_TARGET = "tinyfin_target"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--tinyfin-rig, --tinyfin-target, --tinyfin-run."""
    group = parser.getgroup("tinyfin", "terminals on a rig")
    group.addoption(
        "--tinyfin-rig", metavar="FILE", help=f"rig file; {_DEFAULT} if it is there",
    )
    group.addoption(
        "--tinyfin-target", metavar="NAME", action="append", default=[],
        help="a target of the rig; may be repeated; all that are not off if not given",
    )  # fmt: skip
    group.addoption("--tinyfin-run", metavar="RUN", help="run folder or pack, not the rig file's")


def pytest_configure(config: pytest.Config) -> None:
    """The marker. UsageError where pytest has taken the rig for tests."""
    _refuse_other_root(config)
    config.addinivalue_line(
        "markers",
        "capability(*names): skip where the terminal does not offer them: ticks, stack, infer, "
        "reboot, exit",
    )


def _refuse_other_root(config: pytest.Config) -> None:
    """Before it knows a plugin's options, pytest takes the word after ``--tinyfin-rig`` for a path
    of tests, and may choose its root, and its settings, by it."""
    words = [str(word) for word in config.invocation_params.args]
    ours = [at + 1 for at, word in enumerate(words) if word in ("--tinyfin-rig", "--tinyfin-run")]
    there = config.invocation_params.dir
    given = [there / words[at] for at in ours if at < len(words) and (there / words[at]).exists()]
    if not given or any(word.startswith("--rootdir") for word in words):
        return
    paths = [
        there / word.partition("::")[0] for at, word in enumerate(words)
        if at not in ours and not word.startswith("-")
    ]  # fmt: skip
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per target."""
    if _TARGET in metafunc.fixturenames:
        names = _names(metafunc.config)
        metafunc.parametrize(_TARGET, names, scope="session", indirect=True)


def _names(config: pytest.Config) -> list[str]:
    from tinyfin.errors import TinyfinError
    from tinyfin.hil.rigs.rigfile import select

    try:
        return list(select(_rig(config), config.getoption("--tinyfin-target")))
    except TinyfinError as error:
        raise pytest.UsageError(str(error)) from error


def _rig(config: pytest.Config) -> Any:
    from tinyfin.hil.rigs import rigfile as rig

    given = config.getoption("--tinyfin-rig")
    if given is None:
        beside = config.rootpath / _DEFAULT
        return rig.load(beside if beside.is_file() else rig.default_path())
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
    request: pytest.FixtureRequest, record_testsuite_property: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:  # fmt: skip
    """A target of the rig: leased, flashed and booted for the whole session."""
    from tinyfin.hil.bench_terminal import Bench

    run = request.config.getoption("--tinyfin-run")
    bench = Bench(_rig(request.config), request.param, Path(run) if run else None,
                  tmp_path_factory.mktemp("tinyfin"))  # fmt: skip
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
    from tinyfin.text import printable
    from tinyfin.wire.messages import Capability

    known = [str(flag.name).lower() for flag in Capability]
    unknown = [name for name in needs if name not in known]
    if unknown:
        pytest.fail(
            f"no capability {', '.join(map(repr, unknown))}; there are {', '.join(known)}",
            pytrace=False,
        )

    tinyfin_target.begin(request.node.nodeid)
    try:
        found = tinyfin_target.terminal()
    except TinyfinError as error:
        pytest.fail(printable(f"{error.kind}: {error}"), pytrace=False)
    missing = [name for name in needs if name not in found.capabilities]
    if missing:
        pytest.skip(f"{tinyfin_target.name} does not offer {', '.join(missing)}")
    return found


@pytest.fixture
def replay(terminal: Terminal, tinyfin_target: Bench) -> Replayer:
    """A function that replays transactions on the terminal and fails at the first difference."""
    return tinyfin_target.replayer()
