# SPDX-License-Identifier: Apache-2.0
"""What the frames carry: names of the types, the parsers of the answers.

The events themselves are packed by :mod:`tinyfin.wire.event_frames`. See ``docs/formats/wire.md``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from tinyfin.errors import ProtocolError
from tinyfin.formats import ENGINE_COUNTERS, LINE_COUNTERS
from tinyfin.text import one_line

__all__ = [
    "STATS",
    "VERSION",
    "Answer",
    "Capability",
    "Checkpoint",
    "ErrorReport",
    "Hello",
    "Inferred",
    "Mark",
    "Reader",
    "Request",
    "Verdicts",
    "WireError",
    "WireVerdict",
    "parse_checkpoint",
    "parse_error",
    "parse_hello",
    "parse_inferred",
    "parse_stats",
    "parse_verdicts",
    "put_signed",
    "put_varint",
]

VERSION = 4
"""Version of the protocol."""


class Request(IntEnum):
    """Host to device."""

    HELLO_REQUEST = 0x01
    EVENTS = 0x02
    STATE_RESET = 0x03
    STATE_WRITE = 0x04
    STATE_READ = 0x05
    CHECKPOINT_REQUEST = 0x06
    DETAIL_READ = 0x07
    INFER = 0x08
    STATS_REQUEST = 0x09
    STACK_REQUEST = 0x0A
    REBOOT = 0x0B
    EXIT = 0x0C
    SPEED_REQUEST = 0x0E
    MONITOR_READ = 0x0F
    SLOT_INFO_REQUEST = 0x20
    PACK_BEGIN = 0x21
    PACK_DATA = 0x22
    PACK_END = 0x23
    SLOT_COMMAND = 0x24
    CHALLENGE_REQUEST = 0x25
    COMMAND = 0x26
    KEYS = 0x27
    PROVISION = 0x28
    NOTICES = 0x29
    AUDIT_READ = 0x2A
    REPORT_READ = 0x2B
    PROBATION_READ = 0x2C


class Answer(IntEnum):
    """Device to host."""

    HELLO = 0x81
    VERDICTS = 0x82
    ACK = 0x83
    STATE_DATA = 0x84
    CHECKPOINT = 0x85
    DETAIL = 0x86
    INFERRED = 0x87
    STATS = 0x88
    STACK = 0x89
    SPEED = 0x8A
    MONITOR = 0x8B
    LOG = 0x8E
    ERROR = 0x8F
    SLOT_INFO = 0xA0
    PACK_STATUS = 0xA1
    CHALLENGE = 0xA2
    AUDIT = 0xA4
    REPORT = 0xA5
    PROBATION = 0xA6


class WireError(IntEnum):
    """Codes of an ERROR frame."""

    BAD_FRAME = 1
    SEQUENCE = 2
    NO_SESSION = 3
    UNKNOWN_TYPE = 4
    MALFORMED = 5
    TOO_MANY = 6
    RANGE = 7
    NO_PACK = 8
    VERSION_REFUSED = 9
    NOT_OFFERED = 10
    SEALING_KEY = 11


class Capability(IntFlag):
    """What the device can do, of HELLO."""

    TICKS = 1
    STACK = 2
    INFER = 4
    REBOOT = 8
    EXIT = 16
    REPLAY = 32
    STATE = 64
    SPEED = 128
    INSTALL = 256
    COMMAND = 512
    AUDIT = 1024
    REPORT = 2048
    SEAL = 4096
    MONITOR = 8192


STATS = (*ENGINE_COUNTERS, "frames_good", *LINE_COUNTERS)
"""Names of the counters in STATS, in their order; a device may send more."""


class Reader:
    """Reads a payload; ProtocolError when it ends too early."""

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._what = what
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._payload):
            raise ProtocolError(
                f"the {self._what} frame ends early, at byte {len(self._payload)}; "
                "build and flash the firmware of this version of tinyfin"
            )
        piece = self._payload[self._at : end]
        self._at = end
        return piece

    def unpack(self, form: str) -> tuple[int, ...]:
        """Numbers by a :mod:`struct` format, little-endian."""
        form = "<" + form
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def varint(self) -> int:
        """An unsigned LEB128 number."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self) -> int:
        """A zigzag number."""
        z = self.varint()
        return (z >> 1) ^ -(z & 1)

    def text(self) -> str:
        """One length byte, then that much text; what a console would obey in it is escaped."""
        return one_line(self.take(self.take(1)[0]).decode("utf-8", "replace"))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._payload) - self._at)

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._payload) - self._at


_TWO_BYTES = tuple(bytes((value & 0x7F | 0x80, value >> 7)) for value in range(1 << 14))


def put_varint(out: bytearray, value: int) -> None:
    """Append an unsigned number, 0 <= value < 2^64."""
    if value < 0x80:
        out.append(value)
        return
    if value < 1 << 14:
        out += _TWO_BYTES[value]
        return
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def put_signed(out: bytearray, value: int) -> None:
    """Append a number from -2^63 to 2^63 - 1 as zigzag."""
    put_varint(out, (value << 1) ^ (value >> 63) if value < 0 else value << 1)


@dataclass(frozen=True)
class Hello:
    """Who answers, what runs there, and how much it takes at once. Sizes are bytes."""

    version: int
    reset_cause: int
    capabilities: Capability
    session: int
    boot_nonce: int
    expected: int
    """Sequence number of the next ordered frame."""
    open_error: int
    """What tfin_open said of the pack; 0 when it runs."""
    engine_version: int
    pack_id: str
    """Hexadecimal, 16 bytes; zeros when the pack was refused."""
    model_id: str
    state_bytes: int
    memory_bytes: int
    pack_bytes: int
    tick_hz: int
    tick_mask: int
    frame_bytes: int
    """Longest decoded frame, either way."""
    credit_bytes: int
    """Bytes that may be under way, unanswered; one frame may always be."""
    window: int
    """Ordered frames that may be under way, unanswered."""
    max_events: int
    max_scores: int
    fields: int
    features: int
    inputs: int
    outputs: int
    target: str
    build_id: str


def parse_hello(payload: bytes) -> Hello:
    """Parse HELLO; a newer device may append fields. ProtocolError when it is too short."""
    r = Reader(payload, "HELLO")
    version, cause, capabilities, session, nonce, expected, error, engine = r.unpack("BBHIIHhI")
    pack_id, model_id = r.take(16).hex(), r.take(16).hex()
    state, memory, pack, hz, mask, frame, credit = r.unpack("IIIIIHH")
    window, events, scores, fields, features, inputs, outputs = r.unpack("BBBBHHH")
    return Hello(
        version,
        cause,
        Capability(capabilities),
        session,
        nonce,
        expected,
        error,
        engine,
        pack_id,
        model_id,
        state,
        memory,
        pack,
        hz,
        mask,
        frame,
        credit,
        window,
        events,
        scores,
        fields,
        features,
        inputs,
        outputs,
        r.text(),
        r.text(),
    )


class WireVerdict(NamedTuple):
    """The engine's answer to one event. ``error`` is the engine's error code, 0 when it scored."""

    score_q32: int
    raw: int
    action: int
    reasons: tuple[int, ...]
    flags: int
    ticks: int | None = None
    error: int = 0


class Mark(NamedTuple):
    """Where the device is after a frame: state digest, events scored since reset or import."""

    state_digest: int
    scored: int


@dataclass(frozen=True)
class Verdicts:
    """The answer to one EVENTS frame."""

    count: int
    """Events taken."""
    digest: int
    """CRC-32 over the features and outputs of every scored event since reset or import."""
    verdicts: tuple[WireVerdict, ...]
    errors: tuple[tuple[int, int], ...]
    """Place in the frame and engine error of outcomes and notices that were refused."""
    tick_bytes: int
    """How much of the payload are ticks, which only measurements ask for."""
    mark: Mark | None = None
    """Where the device stood after the frame, when the frame asked for it."""


_TICKS, _ERRORS, _MARK = 1, 2, 4  # flags of VERDICTS
_SAME_FLAGS = 0x10
_FAILED = 0x20


def parse_verdicts(payload: bytes, scores: int) -> Verdicts:
    """Parse VERDICTS, the answer to a frame with ``scores`` events to score."""
    r = Reader(payload, "VERDICTS")
    how, count, digest = r.unpack("BBI")
    mark = Mark(*r.unpack("II")) if how & _MARK else None
    verdicts = []
    flags = tick_bytes = 0
    for _ in range(scores):
        head = r.take(1)[0]
        if head & _FAILED:
            verdicts.append(WireVerdict(0, 0, 0, (), 0, None, r.signed()))
            continue
        (score,) = r.unpack("I")
        raw = r.signed()
        if not head & _SAME_FLAGS:
            flags = r.varint()
        reasons = tuple(r.varint() for _ in range(head >> 2 & 3))
        ticks = None
        if how & _TICKS:
            before = r.left
            ticks = r.varint()
            tick_bytes += before - r.left
        verdicts.append(WireVerdict(score, raw, head & 3, reasons, flags, ticks))
    errors = []
    while how & _ERRORS and r.left:
        errors.append((r.take(1)[0], r.signed()))
    if r.left:
        raise ProtocolError(
            f"the VERDICTS frame has {r.left} bytes more than {scores} scored events need; "
            "build and flash the firmware of this version of tinyfin"
        )
    return Verdicts(count, digest, tuple(verdicts), tuple(errors), tick_bytes, mark)


class Checkpoint(NamedTuple):
    """Where the device is."""

    expected: int
    state_digest: int
    digest: int
    scored: int


def parse_checkpoint(payload: bytes) -> Checkpoint:
    """Parse CHECKPOINT."""
    return Checkpoint(*Reader(payload, "CHECKPOINT").unpack("HIII"))


@dataclass(frozen=True)
class Inferred:
    """One run of the network alone."""

    error: int
    raw: int
    ticks: int
    stack_bytes: int
    output_count: int
    output: bytes
    """The first int8 outputs; what did not fit is read as detail."""


def parse_inferred(payload: bytes) -> Inferred:
    """Parse INFERRED of a request that ran the network."""
    r = Reader(payload, "INFERRED")
    error, raw, ticks, stack, count = r.signed(), r.signed(), r.varint(), r.varint(), r.varint()
    return Inferred(error, raw, ticks, stack, count, r.rest())


def parse_stats(payload: bytes) -> dict[str, int]:
    """Parse STATS; counters that this version does not know are left out."""
    r = Reader(payload, "STATS")
    return dict(zip(STATS, r.unpack(f"{r.take(1)[0]}I"), strict=False))


class ErrorReport(NamedTuple):
    """An ERROR frame."""

    code: int
    engine_error: int
    expected: int
    boot_nonce: int
    text: str

    def __str__(self) -> str:
        known = self.code in WireError._value2member_map_
        name = WireError(self.code).name if known else f"error {self.code}"
        detail = self.text
        if self.engine_error and not detail:  # a small terminal leaves the texts out
            from tinyfin.twin import error_name

            detail = error_name(self.engine_error)
        return f"{name} ({detail})" if detail else name


def parse_error(payload: bytes) -> ErrorReport:
    """Parse ERROR."""
    r = Reader(payload, "ERROR")
    (code,) = r.unpack("B")
    engine = r.signed()
    expected, nonce = r.unpack("HI")
    return ErrorReport(code, engine, expected, nonce, r.text())
