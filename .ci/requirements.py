# SPDX-License-Identifier: Apache-2.0
"""Print what pyproject.toml requires, a line each: ``requirements.py build train dev``.

``build-system`` names what compiles the package, ``dependencies`` what it always needs, any other
word an extra. Needs only the standard library.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> None:
    with (Path(__file__).resolve().parents[1] / "pyproject.toml").open("rb") as file:
        facts = tomllib.load(file)
    groups = {
        **facts["project"]["optional-dependencies"],
        "dependencies": facts["project"]["dependencies"],
        "build-system": facts["build-system"]["requires"],
    }
    words = sys.argv[1:]
    for word in words:
        if word not in groups:
            sys.exit(f"pyproject.toml has no extra {word!r}; it has {', '.join(sorted(groups))}")
        for requirement in groups[word]:
            extra = requirement.removeprefix("tinyfin[").removesuffix("]")
            if extra in groups:
                words.append(extra)
            else:
                print(requirement)


if __name__ == "__main__":
    main()
