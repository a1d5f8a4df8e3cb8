# SPDX-License-Identifier: Apache-2.0
"""``python -m tinyfin`` is the command ``tinyfin``."""

from __future__ import annotations

from tinyfin.cli import main

main(prog_name="tinyfin")
