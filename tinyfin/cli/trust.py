# SPDX-License-Identifier: Apache-2.0
"""The option that names the public keys of releases, shared by the verbs that open packs."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["public_key_option"]

public_key_option = click.option(
    "--public-key", "public_keys", multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Trust packs signed by this key: a .pub file of `tinyfin keygen`. May be repeated; the "
    "key that the run was signed with if not given.",
)  # fmt: skip
