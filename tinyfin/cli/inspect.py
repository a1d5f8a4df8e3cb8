# SPDX-License-Identifier: Apache-2.0
"""``tinyfin inspect``: explain a pack or a ``.tflite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.output import emit, json_option
from tinyfin.cli.trust import public_key_option, seal_key_option
from tinyfin.errors import InputError

if TYPE_CHECKING:
    from tinyfin.tflite.model import Tensor

__all__ = ["command"]

_SEALED_MAGIC = b"TFSD"
_PACK_MAGIC = b"TFPK"
_TFLITE_MAGIC = b"TFL3"


@click.command()
@click.argument("file", type=click.Path())
@seal_key_option
@public_key_option
@json_option
def command(file: str, seal_key: Path | None, public_keys: tuple[Path, ...], as_json: bool) -> None:
    """Explain FILE, a pack, a .tflite or a run folder: contents, sizes, memory.

    A sealed file says what is sealed in it and by which key; with that key a sealed pack is
    explained as any other. A damaged file is refused with the offset and the rule it breaks (exit
    code 3).
    """
    if Path(file).is_dir():
        from tinyfin.training.run_folder import open_run

        folder = open_run(file)
        file = str(folder.file(folder.pack.name))
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}; check the path") from error
    by: dict[str, object] = {}
    said = ""
    if data[:4] == _SEALED_MAGIC:
        by, said, data = _sealed(Path(file), seal_key, data)
        if data[:4] != _PACK_MAGIC:
            emit({"kind": "sealed", **by}, as_json, said)
            return
    if data[4:8] == _TFLITE_MAGIC:
        result = _tflite(data, file)
        emit(result, as_json, _tflite_text(file, result))
        return
    if data[:4] != _PACK_MAGIC:
        raise InputError(f"{file}: is neither a pack (TFPK) nor a .tflite (TFL3)")
    result = _pack(data, file, public_keys)
    text = _pack_text(file, result)
    emit({**by, **result}, as_json, f"{said}\n{text}" if said else text)


def _sealed(path: Path, seal_key: Path | None, data: bytes) -> tuple[dict[str, object], str, bytes]:
    """What to say of a sealed file, and what is in it: empty without the key."""
    from tinyfin.cli.sealing import contents
    from tinyfin.field.sealing import parse_sealed

    sealed = parse_sealed(data, path)
    named, size = sealed.key_id.hex(), len(sealed.content)
    facts = {"sealed": sealed.kind.name.lower(), "sealed_by": named, "bytes": size}
    said = f"{path}: sealed {sealed.what} of {size} bytes, by key {named}"
    if seal_key is None:
        return facts, said, b""
    opened = contents(path, seal_key, sealed.kind)
    return facts, f"{said}; it opens with {seal_key}", opened


def _pack(data: bytes, file: str, public_keys: tuple[Path, ...]) -> dict[str, Any]:
    from tinyfin.errors import PackError
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.explain import explain_pack
    from tinyfin.pack.trust import trusted_keys

    keys = trusted_keys(file, public_keys)
    try:
        return explain_pack(parse_pack(data, keys=keys))
    except PackError as error:
        raise PackError(f"{file}: {error}") from error


def _tflite(data: bytes, file: str) -> dict[str, Any]:
    from tinyfin.pack.container import model_id
    from tinyfin.pack.plan import compile_plan, describe
    from tinyfin.tflite.model import load

    model = load(data, file)
    plan = describe(compile_plan(model))
    return {
        "kind": "tflite",
        "model_id": model_id(data).hex(),
        "bytes": len(data),
        "operators": [op.name for op in model.operators],
        "input": _tensor(model.input_tensor),
        "output": _tensor(model.output_tensor),
        "plan": plan,
    }


def _tensor(tensor: Tensor) -> dict[str, object]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "scale": float(tensor.scale),
        "zero_point": tensor.zero_point,
    }


def _tflite_text(file: str, r: dict[str, Any]) -> str:
    plan = r["plan"]
    return "\n".join(
        [
            f"{file}: int8 .tflite, {r['bytes']} bytes, model {r['model_id']}",
            f"  operators   {', '.join(r['operators'])}",
            f"  input       {_tensor_text(r['input'])}",
            f"  output      {_tensor_text(r['output'])}",
            f"  as a plan   {plan['plan_bytes']} bytes, {plan['macs']} multiply-accumulates, "
            f"{plan['arena_bytes']} bytes of memory",
        ]
    )


def _tensor_text(tensor: dict[str, Any]) -> str:
    return (
        f"{tensor['name']} {tensor['shape']}, scale {tensor['scale']:.6g}, "
        f"zero point {tensor['zero_point']}"
    )


def _pack_text(file: str, r: dict[str, Any]) -> str:
    program, network, decision = r["program"], r["network"], r["decision"]
    lines = [
        f"{file}: pack {r['pack_id']}, format {r['format_version']}, {r['bytes']} bytes",
        f"  signed by   {r['signed_by']} ({r['signature']}), security counter "
        f"{r['security_counter']}, engine {r['minimum_engine']} or newer",
        f"  events      {r['schema'] or 'unnamed schema'}, {len(r['fields'])} fields",
        f"  features    {len(r['features'])}: {', '.join(r['features'])}",
        f"  program     {program['operators']} operators, {program['registers']} registers, "
        f"{program['pending']} pending, {program['cards']} cards of "
        f"{program['card_slot_bytes']} bytes, known labels {program['terminal_labels']} of the "
        f"terminal, {program['card_labels']} of each card",
        f"  memory      {r['memory_bytes']} bytes: state {r['state_bytes']}, scratch "
        f"{r['scratch_bytes']}",
    ]
    if network:
        operators = ", ".join(
            f"{op['name']} {op['inputs']}x{op['outputs']}" for op in network["operators"]
        )
        table = r["calibration"]
        lines += [
            f"  network     model {r['model_id']}, layout {r['layout']}: {operators}",
            f"              {network['macs']} multiply-accumulates, {network['plan_bytes']} bytes",
            f"  read-out    {r['readout']['kind']}",
            f"  calibration {table['knots']} knots, raw {table['raw'][0]}..{table['raw'][1]}, "
            f"probability {table['probability'][0]:.2g}..{table['probability'][1]:.2g}",
            f"  decision    go online {_threshold(decision['go_online'])}, verify "
            f"{_threshold(decision['verify'])}, decline "
            f"{_threshold(decision['decline'])}, control share {decision['control_share']:.2%}"
            + (", shadow" if decision["shadow"] else ""),
            f"  golden      {r['golden_vectors']} vectors",
        ]
    else:
        lines.append("  network     none: this pack computes features only")
    if r["probation"]:
        lines += _probation_text(r["probation"])
    if monitor := r["monitor"]:
        lines.append(f"  monitor     {monitor['memory_bytes']} bytes" + _monitor(monitor))
    sections = ", ".join(f"{tag} {size}" for tag, size in r["sections"].items())
    return "\n".join([*lines, f"  bytes       {sections}"])


def _probation_text(r: dict[str, Any]) -> list[str]:
    factor, more = r["alerts_factor_q8"] / 256, r["alerts_more"]
    trial = (
        f"{r['trial_events']} events, at most {r['trial_alerts']} alerts and "
        f"{r['trial_saturated']} saturated"
        if r["trial_events"]
        else "without bounds, ended by command"
    )
    by_itself = {True: "by itself", False: "by command"}
    return [
        f"  probation   follows model {r['parent']}; goes on trial {by_itself[r['auto_trial']]}, "
        f"confirms {by_itself[r['auto_confirm']]}",
        *(
            f"              after {look['events']} events in shadow at most {look['far']} far "
            f"apart, {look['differ']} in other bins, stability index "
            f"{look['psi_q10'] / 1024:.3g}"
            for look in r["looks"]
        ),
        f"              alerts at most {factor:.3g} times the parent's and {more} more; trial: "
        f"{trial}",
    ]


def _monitor(m: dict[str, Any]) -> str:
    parts = []
    if "features" in m:
        counted = [f"score in {m['score_bins']} bins"]
        counted += [f"{name} in {bins}" for name, bins in m["features"].items()]
        parts.append(f": {', '.join(counted)}")
    if "levels" in m:
        parts.append(
            f"; {len(m['levels'])} levels for {m['alerts_per_event']:.3%} alerts, a step at most "
            f"every {m['step']['events']} events and {m['step']['seconds']} s"
        )
    return "".join(parts)


def _threshold(value: float | None) -> str:
    return "never" if value is None else f"at {value:.4g}"
