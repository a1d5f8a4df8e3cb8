# SPDX-License-Identifier: Apache-2.0
"""The pack: header, sections, digest, signature; docs/formats/pack.md is the norm.

``build_pack`` writes one, ``parse_pack`` checks one as strictly as the engine does.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyfin.errors import InputError, PackError
from tinyfin.features.check_program import check_program, reads_host
from tinyfin.features.compiler import Program
from tinyfin.formats import (
    ALIGN,
    CRITICAL_TAGS,
    DEVELOPMENT,
    MAX_PACK_BYTES,
    NO_FIELD,
    PACK_FORMAT,
    PACK_HEADER,
    PACK_MAGIC,
    SIGNED_BYTES,
    PackHeader,
    ProgramHeader,
)
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.decision import Decision
from tinyfin.pack.drift import DriftSection
from tinyfin.pack.golden import Golden
from tinyfin.pack.levels import LevelsSection
from tinyfin.pack.maps import InputMap, decode_maps, encode_maps
from tinyfin.pack.probation import Probation
from tinyfin.pack.readout import Readout
from tinyfin.pack.sections import (
    decode_json,
    decode_schema,
    encode_json,
    encode_schema,
    join_sections,
    split_sections,
)
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, hash32, key_id, sign, verify
from tinyfin.schema import Schema, built_in

if TYPE_CHECKING:
    from tinyfin.pack.plan import PlanFacts

__all__ = [
    "MAX_SECURITY_COUNTER",
    "MINIMUM_ENGINE",
    "Pack",
    "build_pack",
    "model_id",
    "open_pack",
    "parse_pack",
    "sign_again",
    "sign_with",
    "with_sections",
]

MINIMUM_ENGINE = 0 << 16 | 1 << 8 | 0
"""The oldest engine that runs what this version writes: 0.1.0."""

MAX_SECURITY_COUNTER = (1 << 32) - 1
_NETWORK_TAGS = ("MAPS", "READ", "CALI", "DECI")


def model_id(tflite: bytes) -> bytes:
    """16 bytes that name a model: the first half of the hash of its ``.tflite`` file."""
    return hash32(tflite)[:16]


def build_pack(
    schema: Schema,
    program: Program,
    *,
    maps: Sequence[InputMap] | None = None,
    plan: bytes | None = None,
    readout: Readout | None = None,
    calibration: Calibration | None = None,
    decision: Decision | None = None,
    golden: Golden | None = None,
    meta: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    drift: DriftSection | None = None,
    levels: LevelsSection | None = None,
    model: bytes = bytes(16),
    security_counter: int = 0,
    key: Key = DEVELOPMENT_KEY,
) -> bytes:
    """A signed pack. The same arguments give the same bytes on every machine.

    Without ``plan`` the pack computes features only; with it maps, read-out, calibration and
    decision are needed. ``model`` is :func:`model_id` of the network's file. Names of features,
    schema and fields go to META unless ``meta`` has them. A decision wants host fields when the
    program reads one. Raises PackError.
    """
    if decision is not None and reads_host(program.payload, schema):
        decision = replace(decision, wants_host=True)
    given = {"MAPS": maps, "READ": readout, "CALI": calibration, "DECI": decision}
    for tag, part in given.items():
        if (part is None) != (plan is None):
            fix = f"give {tag} too" if part is None else f"leave {tag} out, or give the plan"
            raise PackError(f"a pack {'without' if plan is None else 'with'} a plan: {fix}")
    if golden is not None and plan is None:
        raise PackError("golden vectors need a plan; leave them out")
    payloads: list[tuple[str, bytes | None]] = [
        ("SCHM", encode_schema(schema)),
        ("PROG", program.payload),
        ("MAPS", encode_maps(maps) if maps is not None else None),
        ("PLAN", plan),
        ("READ", readout.encode() if readout else None),
        ("CALI", calibration.encode() if calibration else None),
        ("DECI", decision.encode() if decision else None),
        ("GOLD", golden.encode() if golden else None),
        ("META", encode_json({**_names(schema, program), **(meta or {})})),
        ("LINE", encode_json(lineage) if lineage is not None else None),
        ("DRFT", drift.encode() if drift else None),
        ("LEVL", levels.encode() if levels else None),
    ]
    sections = [(tag, payload) for tag, payload in payloads if payload is not None]
    body = join_sections(sections)
    total = PACK_HEADER.size + len(body)
    if total > MAX_PACK_BYTES:
        raise PackError(f"a pack of {total} bytes; at most {MAX_PACK_BYTES}")
    schema_bytes, program_bytes = sections[0][1], sections[1][1]
    mask, layout = _plan_needs(plan)
    header = PackHeader(
        magic=PACK_MAGIC,
        version=PACK_FORMAT,
        header_bytes=PACK_HEADER.size,
        total_bytes=total,
        engine=MINIMUM_ENGINE,
        security_counter=security_counter,
        flags=_mark(key),
        signature_algorithm=1,
        hash_algorithm=1,
        sections=len(sections),
        key_id=key.key_id,
        kernels=mask,
        layout=layout,
        schema_hash=hash32(schema_bytes)[:16],
        program_hash=hash32(program_bytes)[:16],
        state_layout=_layout_hash(schema_bytes, program_bytes),
        model_id=model,
        reserved=bytes(24),
        digest=hash32(body),
        signature=bytes(64),
    )
    return _sealed(header, body, key)


def sign_again(
    pack: Pack,
    key: Key | None,
    *,
    sections: Mapping[str, bytes] | None = None,
    layout: int | None = None,
    security_counter: int | None = None,
) -> bytes:
    """``pack`` with other sections, layout or security counter, signed by the key that signed it.

    key: that key; None for the development key, which is public. Raises PackError when the key is
    missing or another one.
    """
    if key is None and pack.development:
        key = DEVELOPMENT_KEY
    if key is None or key.key_id != pack.key_id:
        given = "" if key is None else f", not by {key.key_id:08x}"
        raise PackError(
            f"the pack is signed by key {pack.key_id:08x}{given}: with any other byte it is "
            "another pack and needs that key's signature; give it with --key"
        )
    return _signed(pack, key, sections, layout, security_counter)


def sign_with(pack: Pack, key: Key, *, security_counter: int | None = None) -> bytes:
    """``pack`` signed by ``key``, whoever signed it before; marked when that is the development
    key. All sections stay byte for byte, the security counter too if None.

    Raises PackError for a pack whose own signature was not checked.
    """
    _require_verified(pack)
    return _signed(pack, key, None, None, security_counter)


def with_sections(
    pack: Pack,
    sections: Mapping[str, bytes],
    key: Key | None = None,
    *,
    security_counter: int | None = None,
) -> bytes:
    """``pack`` with ``sections`` (payload by tag) added, or in the place of those it has, signed.

    Model and decision stay: PackError for a section that an engine must know, and for one that
    breaks its own rules. key: any key; the development key if None, for a pack that it signed.
    """
    _require_verified(pack)
    if critical := [tag for tag in sections if tag in CRITICAL_TAGS]:
        raise PackError(
            f"section {critical[0]} is the model's or the decision's; build a pack anew"
        )
    if key is None and not pack.development:
        raise PackError(
            f"the pack is signed by key {pack.key_id:08x}: sign the new one, too, with --key FILE"
        )
    held = {**pack.sections, **sections}
    return _signed(pack, key or DEVELOPMENT_KEY, held, None, security_counter)


def _require_verified(pack: Pack) -> None:
    if not pack.verified:
        raise PackError(
            f"the pack is signed by key {pack.key_id:08x}, which is not trusted here; give its "
            "public key with --public-key FILE, then it can be signed by another one"
        )


def _signed(
    pack: Pack,
    key: Key,
    sections: Mapping[str, bytes] | None,
    layout: int | None,
    security_counter: int | None,
) -> bytes:
    held = list((pack.sections if sections is None else sections).items())
    body = join_sections(held)
    old = PackHeader.read(pack.data)
    header = old._replace(
        total_bytes=PACK_HEADER.size + len(body),
        flags=_mark(key),
        sections=len(held),
        key_id=key.key_id,
        layout=old.layout if layout is None else layout,
        security_counter=old.security_counter if security_counter is None else security_counter,
        digest=hash32(body),
    )
    return _sealed(header, body, key)


def _sealed(header: PackHeader, body: bytes, key: Key) -> bytes:
    signed = header.encode()[:SIGNED_BYTES]
    data = signed + sign(signed, key) + body
    parse_pack(data, keys=[key.public])
    return data


def _mark(key: Key) -> int:
    """The header's flags: every pack of the development key is marked as one."""
    return DEVELOPMENT if key.public == DEVELOPMENT_KEY.public else 0


def _names(schema: Schema, program: Program) -> dict[str, Any]:
    """What the generated C calls things; of built-in fields it knows values and units itself, and
    of the catalogue's reasons the texts."""
    own = [field for field in schema.fields if built_in(schema.name).get(field.name) != field]
    values = {field.name: list(field.values) for field in own if field.values}
    units = {field.name: field.unit for field in own if field.unit}
    texts = {str(number): text for number, text in program.reason_texts.items()}
    return {
        "features": list(program.feature_names),
        "schema": schema.name,
        "fields": list(schema.names),
        **({"values": values} if values else {}),
        **({"units": units} if units else {}),
        **({"reasons": texts} if texts else {}),
    }


def _describe_plan(plan: bytes) -> PlanFacts:
    from tinyfin.pack.plan import describe

    try:
        return describe(plan)
    except (PackError, struct.error, IndexError, ValueError) as error:
        raise PackError(f"PLAN: offset 0: {error}") from error


def _plan_needs(plan: bytes | None) -> tuple[int, int]:
    """Kernel mask and layout id of a plan."""
    if plan is None:
        return 0, 0
    network = _describe_plan(plan)
    return network["kernels"], network["layout"]


def _layout_hash(schema: bytes, program: bytes) -> bytes:
    return hash32(b"tfst1" + schema + program)[:16]


@dataclass(frozen=True)
class Pack:
    """A checked pack. Sections decode when they are asked for."""

    data: bytes
    format_version: int
    minimum_engine: int
    security_counter: int
    development: bool
    key_id: int
    kernels: int
    layout: int
    state_layout: bytes
    model_id: bytes
    sections: Mapping[str, bytes]
    verified: bool
    """The signature was checked against a key that was at hand."""

    @cached_property
    def pack_id(self) -> bytes:
        """16 bytes that name this pack."""
        return hash32(self.data[:SIGNED_BYTES])[:16]

    @cached_property
    def meta(self) -> dict[str, Any]:
        """META, {} without."""
        return decode_json("META", self.sections["META"]) if "META" in self.sections else {}

    @cached_property
    def lineage(self) -> dict[str, Any]:
        """LINE, {} without."""
        return decode_json("LINE", self.sections["LINE"]) if "LINE" in self.sections else {}

    @cached_property
    def fields(self) -> tuple[dict[str, Any], ...]:
        """Fields of the schema: type, ram_only, host, offset, values, missing."""
        return decode_schema(self.sections["SCHM"])

    @property
    def program(self) -> bytes:
        """The PROG payload."""
        return self.sections["PROG"]

    @property
    def token_field(self) -> int | None:
        """Index of the field that is the card's token; None when the schema has none."""
        index = ProgramHeader.read(self.program).token_field
        return None if index == NO_FIELD else index

    @property
    def plan(self) -> bytes | None:
        """The PLAN payload."""
        return self.sections.get("PLAN")

    @cached_property
    def network(self) -> PlanFacts | None:
        """What the plan holds, as :func:`tinyfin.pack.plan.describe` says."""
        return None if self.plan is None else _describe_plan(self.plan)

    @cached_property
    def maps(self) -> tuple[InputMap, ...] | None:
        """MAPS."""
        return decode_maps(self.sections["MAPS"]) if "MAPS" in self.sections else None

    @cached_property
    def readout(self) -> Readout | None:
        """READ."""
        return Readout.decode(self.sections["READ"]) if "READ" in self.sections else None

    @cached_property
    def calibration(self) -> Calibration | None:
        """CALI."""
        return Calibration.decode(self.sections["CALI"]) if "CALI" in self.sections else None

    @cached_property
    def decision(self) -> Decision | None:
        """DECI."""
        return Decision.decode(self.sections["DECI"]) if "DECI" in self.sections else None

    @cached_property
    def probation(self) -> Probation | None:
        """PROB."""
        return Probation.decode(self.sections["PROB"]) if "PROB" in self.sections else None

    @cached_property
    def drift(self) -> DriftSection | None:
        """DRFT."""
        return DriftSection.decode(self.sections["DRFT"]) if "DRFT" in self.sections else None

    @cached_property
    def levels(self) -> LevelsSection | None:
        """LEVL."""
        return LevelsSection.decode(self.sections["LEVL"]) if "LEVL" in self.sections else None

    @cached_property
    def golden(self) -> Golden | None:
        """GOLD."""
        return Golden.decode(self.sections["GOLD"]) if "GOLD" in self.sections else None


def open_pack(source: str | Path | bytes, *, keys: Iterable[bytes] = ()) -> Pack:
    """:func:`parse_pack` of a .tfpack file, or of its bytes. Raises PackError, InputError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return parse_pack(bytes(source), keys=keys)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}; name a .tfpack file") from error
    return parse_pack(data, keys=keys)


def parse_pack(data: bytes, *, keys: Iterable[bytes] = ()) -> Pack:
    """Check a pack, whole, and give its parts. Raises PackError saying offset and rule.

    The signature is checked when the development key or one of ``keys`` (public keys of 32 bytes)
    is the one the header names; for other keys it cannot be, and ``verified`` is False. What a
    terminal would refuse is refused here: the engine itself has the last word. Golden vectors are
    left to :class:`tinyfin.twin.Twin`, which runs them.
    """
    from tinyfin.twin import ENGINE_VERSION, require_good

    total = _check_frame(data)
    data = bytes(data[:total])
    header = PackHeader.read(data)
    if header.flags > DEVELOPMENT or any(header.reserved):
        raise PackError("offset 20 or 104: unknown flags or reserved bytes are set")
    if header.signature_algorithm != 1 or header.hash_algorithm != 1:
        raise PackError(
            "offset 24: unknown signature or hash algorithm "
            f"({header.signature_algorithm}, {header.hash_algorithm})"
        )
    if (engine := header.engine) > ENGINE_VERSION:
        raise PackError(
            f"offset 12: the pack needs engine {engine >> 16}.{engine >> 8 & 255}.{engine & 255}; "
            "use a newer tinyfin"
        )
    if not hmac.compare_digest(header.digest, hash32(data[PACK_HEADER.size :])):
        raise PackError("offset 128: the pack is damaged: its digest differs; copy it again")
    verified = _check_signature(data, header, keys)
    sections = split_sections(data, PACK_HEADER.size, header.sections)
    for tag in ("SCHM", "PROG"):
        if tag not in sections:
            raise PackError(f"section {tag} is missing; every pack has it")
    schema, program = sections["SCHM"], sections["PROG"]
    for at, name, want, have in (
        (40, "schema", hash32(schema)[:16], header.schema_hash),
        (56, "program", hash32(program)[:16], header.program_hash),
        (72, "state layout", _layout_hash(schema, program), header.state_layout),
    ):
        if want != have:
            raise PackError(f"offset {at}: the {name} hash is not that of its section")
    pack = Pack(
        data,
        header.version,
        engine,
        header.security_counter,
        bool(header.flags & DEVELOPMENT),
        header.key_id,
        header.kernels,
        header.layout,
        header.state_layout,
        header.model_id,
        sections,
        verified,
    )
    _check_parts(pack)
    require_good(data)
    return pack


def _check_frame(data: bytes) -> int:
    if len(data) < 4 or int.from_bytes(data[:4], "little") != PACK_MAGIC:
        raise PackError("offset 0: these bytes are not a tinyfin pack")
    if len(data) < PACK_HEADER.size:
        raise PackError(f"{len(data)} bytes: shorter than a pack's header of {PACK_HEADER.size}")
    _, version, size, total, *_ = PackHeader.read(data)
    if version > PACK_FORMAT:
        raise PackError(
            f"offset 4: pack format {version} is newer than {PACK_FORMAT}; use a newer tinyfin"
        )
    if version == 0 or size != PACK_HEADER.size:
        raise PackError(f"offset 4: format {version} with a header of {size} bytes does not exist")
    if total % ALIGN or not PACK_HEADER.size <= total <= MAX_PACK_BYTES:
        raise PackError(f"offset 8: total size {total} breaks its rules")
    if len(data) < total:
        raise PackError(f"offset 8: {total} bytes promised, {len(data)} there; the pack is cut off")
    return int(total)


def _check_signature(data: bytes, header: PackHeader, keys: Iterable[bytes]) -> bool:
    development, named = bool(header.flags & DEVELOPMENT), header.key_id
    if development and named != DEVELOPMENT_KEY.key_id:
        raise PackError("offset 28: marked as signed by the development key, names another key")
    for public in (DEVELOPMENT_KEY.public, *keys):
        if key_id(public) == named:
            if (public == DEVELOPMENT_KEY.public) != development or not verify(
                header.signature, data[:SIGNED_BYTES], public
            ):
                raise PackError("offset 160: the signature does not verify")
            return True
    return False


def _check_parts(pack: Pack) -> None:
    fields = pack.fields
    features = check_program(pack.program, fields)
    needs_plan = (*_NETWORK_TAGS, "GOLD", "DRFT", "LEVL", "PROB")
    present = [tag for tag in needs_plan if tag in pack.sections]
    if pack.plan is None:
        if present:
            raise PackError(f"section {present[0]} is there without PLAN")
        if pack.kernels or pack.layout:
            raise PackError("offset 32: kernels or a layout without a plan")
    else:
        missing = [tag for tag in _NETWORK_TAGS if tag not in pack.sections]
        if missing:
            raise PackError(f"section {missing[0]} is missing; a pack with PLAN needs it")
        _check_network(pack, features)
    _ = pack.meta, pack.lineage, pack.probation


def _check_network(pack: Pack, features: int) -> None:
    maps, readout, decision = pack.maps, pack.readout, pack.decision
    assert maps is not None
    assert readout is not None
    assert decision is not None
    network = pack.network
    assert network is not None
    if (network["kernels"], network["layout"]) != (pack.kernels, pack.layout):
        raise PackError("offset 32: kernel mask or layout differ from the plan's")
    inputs, outputs = network["input_length"], network["output_length"]
    if len(maps) != features or inputs != features:
        raise PackError(
            f"MAPS: {features} features, {len(maps)} maps, {inputs} inputs of the network; "
            "the three must be equal"
        )
    if len(decision.reasons) != features:
        raise PackError(f"DECI: {len(decision.reasons)} reasons for {features} features")
    limits = {
        "logit": outputs,
        "accumulator": network["accumulators"],
        "reconstruction": 1,
        "sum_of_squares": 1,
    }
    limit = limits[readout.kind]
    if readout.index >= limit:
        raise PackError(f"READ: index {readout.index} of {limit} ({readout.kind})")
    if readout.kind == "reconstruction" and (outputs != inputs or inputs > 4096):
        raise PackError(f"READ: reconstruction of {inputs} inputs by {outputs} outputs")
    if readout.kind == "sum_of_squares" and not (outputs <= 4096 and -128 <= readout.m_out <= 127):
        raise PackError(f"READ: {outputs} squares about {readout.m_out}: at most 4096, of int8")
    golden = pack.golden
    if golden is not None and golden.inputs.shape[1] != inputs:
        raise PackError(f"GOLD: vectors of {golden.inputs.shape[1]} for {inputs} inputs")
    assert pack.calibration is not None
    if pack.drift is not None and pack.drift.features:
        last = pack.drift.features[-1].feature
        if last >= features:
            raise PackError(f"DRFT: feature {last} of {features}")
    if pack.levels is not None:
        pack.levels.check(decision)
