# SPDX-License-Identifier: Apache-2.0
"""A finished pack signed by another key: the way from a development pack to a release.

The sections stay byte for byte, lineage among them, because the model is the same; what changes is
the header: key id, development mark, signature, and the security counter where one is asked for.
So the pack has another pack id, and is the one that ``tinyfin quantize RUN --key FILE`` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyfin.formats import LAYOUTS
from tinyfin.output_claims import claimed
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.layouts import replace_pack
from tinyfin.pack.signing import Key
from tinyfin.pack.trust import PUBLIC_KEY_FILE, require_trusted

__all__ = ["change_key"]


def change_key(
    path: Path,
    key: Key,
    *,
    keys: Sequence[bytes] = (),
    security_counter: int | None = None,
    layouts: Sequence[str] = LAYOUTS,
    out: Path | None = None,
) -> dict[str, Any]:
    """Sign the pack at ``path`` with ``key`` and write it, there or to ``out``; next to it the
    public half of the key and the pack in the other ``layouts``.

    keys: public keys of which one, or the development key, signed it until now. Raises PackError
    when none did, or the pack breaks a rule.
    """
    place = path if out is None else out
    with claimed(place):
        old = require_trusted(path.read_bytes(), [*keys, key.public], path)
        made = sign_with(old, key, security_counter=security_counter)
        new = parse_pack(made, keys=[key.public])
        public = key.public.hex().encode()
        remembered = place.with_name(PUBLIC_KEY_FILE)
        was = remembered.read_bytes().strip() if remembered.is_file() else public
        written = replace_pack(place, made, key, layouts)
    return {
        "pack": str(place),
        "model_id": new.model_id.hex(),
        "pack_id": new.pack_id.hex(),
        "pack_id_before": old.pack_id.hex(),
        "key": f"{new.key_id:08x}",
        "key_before": "development" if old.development else f"{old.key_id:08x}",
        "security_counter": new.security_counter,
        "security_counter_before": old.security_counter,
        "public_key": str(remembered),
        "public_key_replaced": was != public,
        "layouts": [str(file) for file in written],
    }
