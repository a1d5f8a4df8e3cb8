# SPDX-License-Identifier: Apache-2.0
"""The list of configuration macros in tinyfin.h is whole; its defaults are those of the code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.support import sample
from tests.support.native import HEADER
from tinyfin.codegen.emit import emit
from tinyfin.paths import firmware_dir

OWN = ("TFIN_SABOTAGE_", "TFIN_TEST_", "TFIN_INSTRUMENT_")
"""Of the tests; the list says so."""
NAME = re.compile(r"\b(?:TFIN|TINYFIN)_[A-Z0-9_]+\b")


def sources(generated: Path) -> list[str]:
    """What is compiled for a terminal, the generated C too, without comments."""
    emit(sample.make_pack(), generated)
    places = [firmware_dir() / name for name in ("lib", "src", "ports")]
    files = sorted(path for place in places for path in place.rglob("*.[chS]"))
    return [plain(path.read_text()) for path in [*files, *generated.glob("*.[ch]")]]


def plain(text: str) -> str:
    return re.sub(r"/\*.*?\*/|\\\n", " ", text, flags=re.DOTALL)


def found(texts: Iterable[str]) -> dict[str, list[str]]:
    """Macros that conditions ask for and that a project may set, with the defaults they get."""
    asked: set[str] = set()
    fixed: set[str] = set()
    defaults: dict[str, list[str]] = {}
    for text in texts:
        open_: list[str] = []
        for line in text.splitlines():
            word = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
            if word is None:
                continue
            if word[1] in ("if", "ifdef", "ifndef", "elif"):
                asked |= set(NAME.findall(word[2]))
            if word[1] in ("if", "ifdef", "ifndef"):
                open_.append(word[2].strip() if word[1] == "ifndef" else "")
            elif word[1] == "endif":
                open_.pop()
            elif word[1] == "define" and (name := NAME.match(word[2])):
                value = word[2][name.end() :].strip()
                guard = name[0] in open_ and not value
                if name[0] in open_ and not guard:
                    defaults.setdefault(name[0], []).append(value)
                else:
                    fixed.add(name[0])
    return {name: defaults.get(name, []) for name in asked - fixed if not name.startswith(OWN)}


def listed() -> dict[str, str]:
    """Macro and line of the list."""
    blocks = re.findall(r"\[configuration: .*?\n(.*?)\n \*\n", HEADER.read_text(), re.DOTALL)
    text = "\n".join(blocks).replace(" *   [/configuration]", "")
    lines = re.sub(r"\n \* {40,}", " ", text).splitlines()  # a meaning may take two lines
    rows = [line.removeprefix(" *").split(maxsplit=1) for line in lines if line.strip()]
    assert len(blocks) == 2
    assert len({name for name, _ in rows}) == len(rows)
    return dict(rows)


def test_every_macro_is_in_the_list_and_no_other(tmp_path: Path) -> None:
    assert set(found(sources(tmp_path))) == set(listed())


def test_the_defaults_are_those_of_the_code(tmp_path: Path) -> None:
    """Macros without a default in the code are unset, or there is none; also small sizes."""
    rows, names = listed(), {}
    for text in sources(tmp_path):
        names.update(re.findall(r"#define (TFIN_\w+) (\w+)$", text, re.MULTILINE))
    for name, values in found(sources(tmp_path)).items():
        default, meaning = rows[name].split(maxsplit=1)
        if not values:
            assert default in ("unset", "none"), name
            continue
        if name != "TFIN_REGISTER":
            assert default in (values[0], names.get(values[0])), name
        for other in values[1:]:
            assert f"(small: {other})" in meaning, name


def test_a_new_macro_would_be_missed() -> None:
    """Negative control, in each spelling; what the code defines itself is none."""
    for line in (
        "#ifdef TFIN_NEW\n#endif",
        "#if X && defined(TFIN_NEW)\n#endif",
        "#elif defined TFIN_NEW",
        "#ifndef TFIN_NEW\n#define TFIN_NEW 3\n#endif",
        "#if TFIN_NEW > 3\n#endif",
    ):
        assert set(found([line])) == {"TFIN_NEW"}, line
    for line in (
        "#define TFIN_NEW 1\n#ifdef TFIN_NEW\n#endif",
        "#ifndef TFIN_H\n#define TFIN_H\n#endif",
        plain("/* #ifdef TFIN_NEW */"),
        "#ifdef TFIN_TEST_NEW\n#endif",
    ):
        assert not found([line]), line
