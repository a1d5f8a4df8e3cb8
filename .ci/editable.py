# SPDX-License-Identifier: Apache-2.0
"""Let pytest begin with -W error in an environment that has tinyfin as an editable install.

pytest warns of the module by which such an install is found, because Python has loaded it before;
with -W error that warning ends pytest. A module whose docstring holds PYTEST_DONT_REWRITE is left
alone: pytest's own words for it.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

WORDS = '"""PYTEST_DONT_REWRITE"""\n'

for path in Path(sysconfig.get_path("purelib")).glob("_editable_skbc_tinyfin.py"):
    text = path.read_text(encoding="utf-8")
    if not text.startswith(WORDS):
        path.write_text(WORDS + text, encoding="utf-8")
