# SPDX-License-Identifier: Apache-2.0
"""Options on trust, shared by the verbs that open packs or build them in."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["public_key_option", "release_option"]

public_key_option = click.option(
    "--public-key", "public_keys", multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Trust packs signed by this key: a .pub file of `tinyfin keygen`. May be repeated; the "
    "key that the run was signed with if not given.",
)  # fmt: skip

release_option = click.option(
    "--release", is_flag=True,
    help="Trust release keys alone, and leave out the frames that a rig needs but a terminal not.",
)  # fmt: skip
