# SPDX-License-Identifier: Apache-2.0
"""Packs in the layout of a target: the same model with its weights in another order.

A repack is lossless: every section but PLAN stays as it is, the plan's answers stay too, the model
id and the state's layout with them. It is another pack all the same (another pack id, because the
header names the layout), so it is signed again: by the public development key at once, by a release
key where that key is, which leaves a file next to the pack (:func:`layout_file`) for all others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tinyfin import files
from tinyfin.errors import PackError
from tinyfin.formats import LAYOUTS, PACK_HEADER, SIGNED_BYTES, PackHeader, offsets
from tinyfin.pack.container import Pack, parse_pack, sign_again
from tinyfin.pack.plan import repack
from tinyfin.pack.signing import Key, hash32
from tinyfin.pack.trust import PUBLIC_KEY_FILE, save_public_key

__all__ = [
    "choose",
    "is_repack",
    "layout_file",
    "name_of",
    "remove_layouts",
    "repack_pack",
    "replace_pack",
    "running",
    "write_layouts",
]

SUFFIX = ".tfpack"
_LAYOUT_AT, _DIGEST_AT = (
    offsets(PACK_HEADER)[PackHeader._fields.index(name)] for name in ("layout", "digest")
)
_FIXED = (*range(_LAYOUT_AT), *range(_LAYOUT_AT + 4, _DIGEST_AT))
"""Bytes of the header that a repack leaves alone."""


def name_of(pack: Pack) -> str:
    """The name of a pack's layout."""
    return LAYOUTS[pack.layout] if pack.layout < len(LAYOUTS) else f"layout {pack.layout}"


def repack_pack(data: bytes, layout: str, *, key: Key | None = None) -> bytes:
    """The pack in another layout (a name of LAYOUTS), signed by the key that signed it.

    key: that key; the development key, which is public, may be left out. A pack without a network,
    and one that has this layout already, comes back as it is. Raises PackError when the layout has
    no such name, or the key is missing or another one.
    """
    keys = () if key is None else (key.public,)
    pack = parse_pack(data, keys=keys)
    if layout not in LAYOUTS:
        raise PackError(f"layout {layout!r}: there are {', '.join(LAYOUTS)}")
    if pack.plan is None or name_of(pack) == layout:
        return pack.data
    sections = {**pack.sections, "PLAN": repack(pack.plan, layout)}
    made = sign_again(pack, key, sections=sections, layout=LAYOUTS.index(layout))
    if len(made) != len(pack.data) or not is_repack(parse_pack(made, keys=keys), pack):
        raise AssertionError("a repack changed more than the layout")
    return made


def is_repack(one: Pack, other: Pack) -> bool:
    """True when two packs differ in layout alone: header, plan brought to one layout, the rest."""
    if any(one.data[at] != other.data[at] for at in _FIXED):
        return False
    if one.plan is None or other.plan is None:
        return one.sections == other.sections
    return {**one.sections, "PLAN": repack(one.plan, LAYOUTS[0])} == {
        **other.sections,
        "PLAN": repack(other.plan, LAYOUTS[0]),
    }


def layout_file(path: Path, layout: str) -> Path:
    """Where a signed pack of that layout is: ``model.rows.tfpack`` next to ``model.tfpack``."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.{layout}{SUFFIX}")


def write_layouts(path: Path, *, key: Key, layouts: Sequence[str] = LAYOUTS) -> list[Path]:
    """Sign the pack at ``path`` in the other ``layouts`` too; the files, next to it.

    Raises PackError as :func:`repack_pack` does.
    """
    data = path.read_bytes()
    own = name_of(parse_pack(data, keys=[key.public]))
    made = []
    for layout in layouts:
        again = repack_pack(data, layout, key=key)
        if layout != own and again != data:
            made.append(files.write(layout_file(path, layout), again))
    return made


def remove_layouts(path: Path) -> None:
    """Remove what :func:`write_layouts` left next to a pack that is about to change."""
    for layout in LAYOUTS:
        layout_file(path, layout).unlink(missing_ok=True)


def replace_pack(
    path: Path, pack: bytes, key: Key | None, layouts: Sequence[str] = LAYOUTS
) -> list[Path]:
    """Write a pack that ``key`` has signed, and next to it the key's public half and the pack in
    the other ``layouts``; of the development key, which is None, neither. Returns the layouts."""
    remembered = path.with_name(PUBLIC_KEY_FILE)
    # neither the old key nor the old layouts are next to the new pack, whatever happens
    remembered.unlink(missing_ok=True)
    remove_layouts(path)
    files.write(path, pack)
    if key is None:
        return []
    save_public_key(key.public, remembered)
    return write_layouts(path, key=key, layouts=layouts)


def choose(path: Path, layout: str, keys: Sequence[bytes] = ()) -> bytes:
    """The pack at ``path`` in ``layout`` where that can be had, else in the canonical layout.

    Signed by the development key it is repacked here and now. A release pack comes from the file
    that was signed next to it; without that file it stays canonical. keys: public keys that are
    trusted. Raises PackError when the file next to it is of another pack (or its key is not
    trusted), and when a release pack is in a third layout, which the target does not run.
    """
    data = path.read_bytes()
    pack = parse_pack(data, keys=keys)
    if pack.plan is None or name_of(pack) == layout:
        return pack.data
    if pack.development:
        return repack_pack(data, layout)
    file = layout_file(path, layout)
    if file.is_file():
        other = parse_pack(file.read_bytes(), keys=keys)
        if other.verified < pack.verified or not is_repack(other, pack):
            raise PackError(
                f"{file}: is not {path.name} in another layout; make it again with "
                "`tinyfin sign PACK --key FILE`"
            )
        return other.data
    if pack.layout:
        raise PackError(
            f"{path}: is in layout {name_of(pack)}, which a target of layout {layout} does not "
            f"run; make {file.name} with `tinyfin sign PACK --key FILE`"
        )
    return pack.data


def running(path: Path, pack_id: str, keys: Sequence[bytes] = ()) -> bytes:
    """The layout of the pack at ``path`` that has this pack id (hexadecimal), as a terminal reports
    it; the pack as it is when none has."""
    for layout in LAYOUTS:
        with contextlib.suppress(PackError):
            data = choose(path, layout, keys)
            if hash32(data[:SIGNED_BYTES])[:16].hex() == pack_id:
                return data
    return path.read_bytes()
