# SPDX-License-Identifier: Apache-2.0
"""A twin that assumes restarts lets every step take what a start may take, after an import too."""

from __future__ import annotations

import pytest

from tests.support import packs
from tinyfin.twin import FLAGS, Twin

DAY_S = 86_400
CLOCK = next(bit for bit, name in FLAGS.items() if name == "CLOCK")


@pytest.mark.parametrize("restarts", [True, False])
def test_a_long_step_after_an_import(restarts: bool) -> None:
    twin = Twin(packs.build(packs.small()), restarts=restarts)
    twin.score(0, 1, DAY_S, 0, [0] * 3, 0)
    twin.import_state(0, twin.export_state(0))
    twin.score(0, 2, 2 * DAY_S, 0, [0] * 3, 0)  # the first step may always be long
    late = twin.score(0, 3, 32 * DAY_S, 0, [0] * 3, 0)
    assert bool(late.flags & CLOCK) is not restarts
