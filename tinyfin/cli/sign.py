# SPDX-License-Identifier: Apache-2.0
"""``tinyfin sign``: the same pack with another key, another security counter, other layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note
from tinyfin.cli.trust import key_option, public_key_option, security_counter_option

if TYPE_CHECKING:
    from tinyfin.pack.signing import Key
    from tinyfin.quantization.repack import Recounted

__all__ = ["command"]


@click.command()
@click.argument("pack", type=click.Path(path_type=Path, exists=True))
@key_option
@security_counter_option
@click.option(
    "--out",
    "out_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --key: write the signed pack there, and leave PACK alone.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Only the layout of this target; may be repeated. All layouts if not given.",
)
@public_key_option
@boards_option
@json_option
def command(
    pack: Path,
    key_path: Path | None,
    security_counter: int | None,
    out_path: Path | None,
    targets: tuple[str, ...],
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Sign a PACK, a run folder or a .tfpack, whose model and decision stay.

    --key with another key than the one that signed it: checks the pack, signs it again, and writes
    public.key and the layouts next to it, as `quantize --key` does. Sections stay byte for byte.
    This turns a development pack into one that a release opens. A pack signed by an older key of
    your own needs --public-key of that key, unless public.key is next to the pack.

    --security-counter keeps old packs out: a terminal remembers the highest counter that it has
    seen and refuses a lower one. Raise it with the first pack that no older one may replace.

    Otherwise: writes PACK in other layouts, next to it. A layout is the same model with its weights
    in the order that a core's kernels read fastest; answers, state and model id stay. `build`,
    `flash` and `budget` take model.LAYOUT.tfpack when it is next to model.tfpack; for a pack signed
    by the development key they need no such file.
    """
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.targets.flash import run_pack

    key = None if key_path is None else load_key(key_path)
    if out_path is not None and key is None:
        raise click.UsageError("--out goes with --key")
    if key is not None and (out_path is not None or _is_others(pack, key)):
        from tinyfin.pack.change_key import change_key

        claim(pack)
        claim(out_path)
        signed = change_key(
            run_pack(pack),
            key,
            keys=trusted_keys(pack, public_keys),
            out=out_path,
            security_counter=security_counter,
            layouts=_chosen(targets),
        )
        emit(signed, as_json, _signed(signed))
    elif security_counter is None:
        _layouts(pack, targets, key, as_json)
    else:
        from tinyfin.quantization.repack import recount

        if targets:
            raise click.UsageError("--target goes with layouts; set the counter first")
        claim(pack)
        counted = recount(run_pack(pack), security_counter, key=key)
        emit(counted, as_json, _counted(counted))


def _is_others(pack: Path, key: Key) -> bool:
    """Whether another key than ``key`` signed the pack."""
    from tinyfin.pack.container import parse_pack
    from tinyfin.targets.flash import run_pack

    return parse_pack(run_pack(pack).read_bytes(), keys=[key.public]).key_id != key.key_id


def _chosen(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Layouts of the targets; all where none is given."""
    from tinyfin.formats import LAYOUTS
    from tinyfin.targets import catalogue

    return tuple(dict.fromkeys(catalogue.get(name).layout for name in targets)) or LAYOUTS


def _layouts(pack: Path, targets: tuple[str, ...], key: Key | None, as_json: bool) -> None:
    from tinyfin.pack.layouts import write_layouts
    from tinyfin.pack.signing import DEVELOPMENT_KEY
    from tinyfin.targets.flash import run_pack

    layouts = _chosen(targets)
    claim(pack)
    files = write_layouts(run_pack(pack), key=key or DEVELOPMENT_KEY, layouts=layouts)
    if not files:
        note("there is nothing to write: no network, or it has this layout already")
    emit({"files": [str(path) for path in files]}, as_json, "\n".join(map(str, files)))


def _signed(result: dict[str, Any]) -> str:
    counters, before = _counters(result), result["key_before"]
    if result["public_key_replaced"]:
        note(f"{result['public_key']} held another key; packs of that one need --public-key now")
    return "\n".join(
        [
            f"pack {result['pack_id'][:16]}, signed by key {result['key']}, follows "
            f"{result['pack_id_before'][:16]}, signed by "
            f"{'the development key' if before == 'development' else f'key {before}'}: model "
            f"{result['model_id'][:16]} as before, {counters}",
            f"pack: {result['pack']}",
            *result["layouts"],
        ]
    )


def _counted(result: Recounted) -> str:
    return (
        f"pack {result['pack_id'][:16]} follows {result['parent'][:16]}: {_counters(result)}\n"
        f"pack: {result['pack']}"
    )


def _counters(result: Mapping[str, Any]) -> str:
    was, now = result["security_counter_before"], result["security_counter"]
    if now < was:
        note(f"terminals that have run a pack with security counter {was} refuse this one")
    return f"security counter {now}, {was} before"
