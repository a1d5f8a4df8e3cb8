# SPDX-License-Identifier: Apache-2.0
"""Engine and network on emulated targets, in bulk: tapes for ``firmware/instrument`` and what
they find.

One image per target serves every pack and every network. A tape is loaded into the guest's memory
behind the image; the guest works it off, compares every answer with the tape's, counts its own
instructions and prints what it found. Ten thousand events take seconds. :mod:`tinyfin.hil.replay`
replays over a line, with the terminal application.
"""

from __future__ import annotations

import contextlib
import re
import struct
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin import paths
from tinyfin.data.events import Stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import TargetError, ToolError
from tinyfin.hil.replay.chunks import Chunk, by_terminal, chunks
from tinyfin.hil.replay.sender import Sender
from tinyfin.pack.container import parse_pack
from tinyfin.progress import stage
from tinyfin.targets import build as building
from tinyfin.targets.build import BuildResult
from tinyfin.targets.catalogue import EmulatorSpec, Target
from tinyfin.targets.emulate import Emulator
from tinyfin.twin import Replay, Twin, pack_monitor
from tinyfin.wire.event_frames import field_types

__all__ = [
    "Readings",
    "Tape",
    "build",
    "digest_positions",
    "event_tapes",
    "readings",
    "room",
    "run",
    "tape_address",
]

MAGIC = 0x50415454
PACK, EVENTS, STATE, PLAN, ROWS, SABOTAGE = range(1, 7)
MEASURE, KEYS, RESTART, ERASE, INFER, MONITOR, SHADOW, PROBATION = range(7, 15)
DEADLINE_S = 300.0
ALIGN = 1024
_HEAD_BYTES = 16
_FRAME: Any = SimpleNamespace(frame_bytes=1500, max_events=64, max_scores=64)


class Tape:
    """Records for the instrument, in order; see ``firmware/instrument/main.c``."""

    def __init__(self) -> None:
        self._records = bytearray()

    def add(self, tag: int, payload: bytes = b"", a: int = 0, b: int = 0) -> Tape:
        """Append a record."""
        self._records += struct.pack("<4I", tag, len(payload), a, b) + payload
        self._records += bytes(-len(self._records) % 16)
        return self

    def network(
        self,
        plan: bytes,
        inputs: npt.NDArray[np.int8],
        outputs: npt.NDArray[np.int8],
        *,
        ticks: bool = False,
    ) -> Tape:
        """A plan, and rows of inputs with the outputs that are right: int8 [n, ...]."""
        self.add(PLAN, plan)
        both = np.ascontiguousarray(inputs).tobytes() + np.ascontiguousarray(outputs).tobytes()
        return self.add(ROWS, both, len(inputs), int(ticks))

    def events(self, payload: bytes, digests: Sequence[int]) -> Tape:
        """An EVENTS payload, and the running digest after each event that it scores."""
        wanted = struct.pack(f"<{len(digests)}I", *digests)
        padded = payload + bytes(-len(payload) % 4)
        return self.add(EVENTS, padded + wanted, len(payload), len(digests))

    def state(self, twin: Twin) -> Tape:
        """What the state must be by now, byte for byte; then a cold start."""
        return self.add(STATE, b"", twin.state_digest(0), zlib.crc32(twin.export_state(0)))

    def extend(self, other: Tape) -> Tape:
        """Append another tape's records."""
        self._records += other._records
        return self

    def flip(self, at: int) -> None:
        """Flip a bit of one byte: what a test calls a wrong answer."""
        self._records[at] ^= 1

    def __len__(self) -> int:
        return len(self._records) + 2 * _HEAD_BYTES

    def bytes(self) -> bytes:
        """The tape as it is in memory."""
        body = bytes(self._records) + bytes(_HEAD_BYTES)
        return struct.pack("<4I", MAGIC, len(body), zlib.crc32(body), 0) + body


@dataclass
class Readings:
    """What the guest printed. Instructions are exact when it ran with ``icount``, else None."""

    target: str
    differing: int
    first: str = ""
    """The first difference in words; empty when there is none."""
    scored: int = 0
    seconds: float = 0.0
    lines: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    _spec: EmulatorSpec | None = None

    def numbers(self, word: str) -> list[tuple[int, ...]]:
        """The numbers of every line that begins with ``word``."""
        return [numbers for name, numbers in self.lines if name == word]

    def instructions(self, ticks: int) -> int:
        """Guest instructions behind ticks of this run."""
        assert self._spec is not None, "an emulated target"
        return self._spec.instructions(ticks)


def build(
    target: Target | str, *, probe: bool = False, portable: bool = False, code_of: str | None = None
) -> BuildResult:
    """The instrument's image, one for all packs; ``probe``: the build with a hook per operator;
    ``portable``: with the portable kernel in place of the core's own."""
    folder = paths.firmware_dir() / "instrument"
    defines = ["TFIN_INSTRUMENT_PROBE"] if probe else []
    defines += ["TFIN_KERNEL_PORTABLE"] if portable else []
    flags = ["-Wl,--wrap=tfin_port_hash_update,--wrap=tfin_port_verify"]
    flags += ["-include", str(folder / "probe.h")] if probe else []
    return building.build(
        target,
        app=folder,
        shared=("bytes.c", "events.c"),
        pack="none",
        defines=defines,
        flags=flags,
        code_of=code_of,
    )


def tape_address(image: BuildResult) -> int:
    """Where the image looks for its tape: the guest's address."""
    nm = building.symbol_addresses(image)
    # the ELF's last segment: initialised variables, then zeroed ones, which loaders take along
    variables = nm["tfin_ld_bss_end"] - nm["tfin_ld_data"]
    return -(-(nm["tfin_ld_data_image"] + variables) // ALIGN) * ALIGN


def room(image: BuildResult) -> int:
    """Bytes of tape that fit behind the image."""
    nm = building.symbol_addresses(image)
    return image.target.flash_bytes - (tape_address(image) - nm["tfin_ld_flash"])


def run(
    image: BuildResult,
    tape: Tape,
    *,
    icount: bool = False,
    shift: int | None = None,
    deadline_s: float = DEADLINE_S,
) -> Readings:
    """Boot the image with the tape and collect what it prints.

    icount: count instructions. shift: another resolution of the count than the target's own; 0
    never wraps, and is exact to one tick. Raises TargetError when the guest does not finish.
    """
    target = image.target
    if target.emulator is None or not target.emulator.loads_elf:
        raise TargetError(
            f"{target.name}: has no emulator that takes a tape; choose a target that QEMU runs as "
            "it is (tinyfin targets)"
        )
    if shift is not None:
        target = replace(target, emulator=replace(target.emulator, icount_shift=shift))
    data = tape.bytes()
    if len(data) > room(image):
        raise TargetError(f"{target.name}: a tape of {len(data)} B, space for {room(image)} B")
    start = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".tape") as file:
        file.write(data)
        file.flush()
        loader = f"loader,file={file.name},addr={tape_address(image):#x},force-raw=on"
        with (
            stage(f"running on {target.name}"),
            Emulator(target, image.elf, icount, extra=("-device", loader)) as emulator,
        ):
            text = _listen(emulator, deadline_s)
    assert target.emulator is not None
    finding = readings(target.name, text, target.emulator)
    finding.seconds = time.monotonic() - start
    return finding


def _listen(emulator: Emulator, deadline_s: float) -> str:
    text = bytearray()
    deadline = time.monotonic() + deadline_s
    with contextlib.closing(emulator.connect(5.0)) as link:
        while not re.search(rb"\n(done|unreadable)[ 0-9-]*\n", text[-80:]):
            if time.monotonic() > deadline:
                raise TargetError(
                    f"{emulator.target.name}: not done after {deadline_s:.0f} s; it said: "
                    f"{text[-200:].decode(errors='replace')!r}"
                )
            with contextlib.suppress(TimeoutError):
                piece = link.recv(65536)
                if not piece:
                    emulator.wait(1.0)
                    emulator.check()
                    break
                text += piece
    return text.decode(errors="replace")


def readings(target: str, text: str, spec: EmulatorSpec) -> Readings:
    """What a guest printed; spec: how its ticks become instructions. TargetError when it did not
    finish."""
    lines: list[tuple[str, tuple[int, ...]]] = []
    first = ""
    for row in text.splitlines():
        words = row.split()
        if not words:
            continue
        if words[0] == "differs" and not first:
            first = (
                f"{words[1]} at event {words[2]}: wanted {int(words[3]) & 0xFFFFFFFF:#010x}, "
                f"got {int(words[4]) & 0xFFFFFFFF:#010x}"
            )
            continue
        lines.append((words[0], tuple(int(word) for word in words[1:] if word[-1:].isdigit())))
    done = [numbers for word, numbers in lines if word == "done"]
    if not done:
        raise TargetError(f"{target}: the instrument did not finish; it said {text[-300:]!r}")
    opened = next((n[0] for w, n in lines if w in ("opened", "plan") and n[0]), 0)
    if opened and not first:
        first = f"refused with engine error {opened}"
    if done[0][0] and not first:
        first = f"{done[0][0]} output bytes"
    return Readings(target, done[0][0], first, done[0][1], lines=lines, _spec=spec)


def event_tapes(
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    room_bytes: int,
    *,
    limit: int | None = None,
    measure: bool = False,
    sabotage: int | None = None,
    piece_events: int = 600,
    keys: Sequence[bytes] = (),
    shadow: bytes | None = None,
) -> list[tuple[Tape, int]]:
    """Tapes with the twin's answers, each at most ``room_bytes``, and how many scores each has.

    Terminals come one after another, each from a cold state; a terminal is cut (and begins again)
    after ``piece_events`` events, so that any part holds at least one piece. keys: public keys that
    twin and guest trust in addition to the development key. shadow: a pack that scores in the
    shadow of ``pack`` from the beginning of each tape on; empty for ``pack`` itself.
    """
    maker = _Maker(pack, measure, sabotage, keys, shadow)
    made: list[tuple[Tape, int]] = []
    tape, scores, parts = maker.new(), 0, 0
    for chunk in by_terminal(tx, stream, limit):
        for piece in chunks(chunk, piece_events):
            part = Tape()
            count = maker.add(part, piece)
            if len(tape) + len(part) > room_bytes and parts:
                made.append((tape, scores))
                tape, scores, parts = maker.new(), 0, 0
            tape.extend(part)
            scores, parts = scores + count, parts + 1
            if len(tape) > room_bytes:
                raise ToolError(f"{piece_events} events do not fit in {room_bytes} B; take fewer")
    return [*made, (tape, scores)]


class _Maker:
    def __init__(
        self,
        pack: bytes,
        measure: bool,
        sabotage: int | None,
        keys: Sequence[bytes],
        shadow: bytes | None,
    ) -> None:
        self.pack = pack
        self.shadow = shadow
        self.measure = measure
        self.sabotage = sabotage
        self.keys = tuple(keys)
        self.monitored = pack_monitor(pack) > 0
        self.twin = Twin(pack, keys=keys, monitor=self.monitored)
        self.new_monitor = self.twin.monitor(0) if self.monitored else b""
        self.types = field_types(pack)
        self.token = parse_pack(pack).token_field

    def new(self) -> Tape:
        tape = Tape().add(KEYS, b"".join(self.keys), len(self.keys))
        tape.add(PACK, self.pack, int(self.measure)).add(MEASURE, b"", int(self.measure))
        if self.shadow is not None:
            tape.add(SHADOW, self.shadow)
        return tape if self.sabotage is None else tape.add(SABOTAGE, b"", self.sabotage)

    def add(self, tape: Tape, chunk: Chunk) -> int:
        self.twin.reset(0)
        expected = self.twin.run(chunk.tx, chunk.stream)
        sender = Sender(chunk, self.types, _FRAME, self.token)
        blocks = _answers(expected, bool(self.twin.output_count))
        digest = count = 0
        for _, payload in sender.frames():
            wanted = []
            for row in sender.sent.popleft().scored:
                digest = zlib.crc32(blocks[row], digest)
                wanted.append(digest)
            count += len(wanted)
            tape.events(payload, wanted)
        tape.state(self.twin)
        if self.monitored:
            tape.add(MONITOR, self.twin.monitor(0))
            self.twin.import_monitor(0, self.new_monitor)
        return count


def _answers(expected: Replay, network: bool) -> Sequence[bytes]:
    """Per row what the guest takes its digest over."""
    kept = np.arange(3)[None, :] < expected.reason_count[:, None]
    reasons = np.where(kept, expected.reasons, 0).astype(np.uint16)
    rows = []
    for i in range(len(expected.score_q32)):
        parts = [expected.features[i].astype("<i2").tobytes()]
        if network:
            parts.append(expected.outputs[i].tobytes())
        parts.append(
            struct.pack(
                "<IiHBB3HH",
                int(expected.score_q32[i]),
                int(expected.raw[i]),
                int(expected.flags[i]),
                int(expected.action[i]),
                int(expected.reason_count[i]),
                *reasons[i].tolist(),
                0,
            )
        )
        rows.append(b"".join(parts))
    return rows


def digest_positions(tape: Tape) -> list[int]:
    """Where the expected digests are in a tape's records, one per scored event."""
    data, at, found = tape.bytes()[_HEAD_BYTES:], 0, []
    while at < len(data):
        tag, size, a, b = struct.unpack_from("<4I", data, at)
        at += _HEAD_BYTES
        if tag == EVENTS:
            first = at + -(-a // 4) * 4
            found += [first + 4 * i for i in range(b)]
        at += -(-size // 16) * 16
    return found
