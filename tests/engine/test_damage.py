# SPDX-License-Identifier: Apache-2.0
"""Damaged packs are refused; packs and images that a trusted key vouches for stay in their memory.

The programs of firmware/test run under ASan and UBSan, with buffers of exactly the promised sizes.
``flips`` uses the real hash and signature; the others a port that accepts everything, because only
then do mutated bytes reach the checks behind the signature.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.native import SANITIZERS, call, compiler, program, run


def _counts(binary: Path, mode: str, pack: Path, rounds: int, seed: int = 1) -> tuple[int, ...]:
    done = run(binary, mode, pack, rounds, seed)
    assert done.returncode == 0, done.stderr[-3000:]
    return tuple(int(n) for n in re.findall(r"\d+", done.stdout))


def test_every_truncation_and_every_flipped_bit_is_refused(small_file: Path) -> None:
    done = run(program("engine_check.c", port="real"), "flips", small_file)
    assert done.returncode == 0, done.stderr[-3000:]
    size = small_file.stat().st_size
    assert done.stdout == f"truncations {size} flips {8 * size} accepted 0\n"


def test_without_the_digest_check_flipped_bits_are_accepted(small_file: Path) -> None:
    """Negative control: the test above can fail."""
    binary = program("engine_check.c", port="real", defines=["TFIN_SABOTAGE_DIGEST"])
    done = run(binary, "flips", small_file)
    assert done.returncode == 1
    assert "accepted with bit" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a linker with --wrap")
def test_without_the_signature_check_flipped_bits_are_accepted(small_file: Path) -> None:
    """Negative control for the header and the signature itself."""
    wrap = ["-Wl,--wrap=tfin_port_verify"]
    binary = program("engine_check.c", "verify_nothing.c", port="real", linker=wrap)
    done = run(binary, "flips", small_file)
    assert done.returncode == 1
    assert "of byte 223 flipped" in done.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_packs_are_refused_or_stay_in_their_memory(
    rich_file: Path, small_file: Path, mirror_file: Path, seed: int
) -> None:
    binary = program("engine_check.c")
    for pack, rounds in ((rich_file, 8_000), (small_file, 12_000), (mirror_file, 8_000)):
        refused, ran = _counts(binary, "packs", pack, rounds, seed)
        assert refused > rounds // 10
        assert ran > rounds // 10


def test_mutated_state_images_are_refused_or_harmless(rich_file: Path, small_file: Path) -> None:
    binary = program("engine_check.c")
    for pack in (rich_file, small_file):
        refused, ran = _counts(binary, "states", pack, 4_000)
        assert refused > 200
        assert ran > 200


def test_any_calls_in_any_order_stay_in_their_memory(rich_file: Path) -> None:
    scored, _, _, overflows, _ = _counts(program("engine_check.c"), "events", rich_file, 60_000)
    assert scored
    assert overflows


@pytest.mark.parametrize(
    ("define", "mode"), [("TFIN_SABOTAGE_BOUNDS", "packs"), ("TFIN_SABOTAGE_COUNTS", "states")]
)
def test_a_missing_bounds_check_is_caught(rich_file: Path, define: str, mode: str) -> None:
    """Negative control: the sanitizers notice one check that lets everything through."""
    done = run(program("engine_check.c", defines=[define]), mode, rich_file, 12_000, 1)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr or "runtime error" in done.stderr


def test_the_same_with_pointers_of_32_bits(rich_file: Path, tmp_path: Path) -> None:
    """Sums of offsets wrap there as they do on a terminal."""
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdlib.h>\nint main(void) { return sizeof(void *) != 4; }\n")
    command = [compiler(), "-m32", *SANITIZERS, probe, "-o", tmp_path / "probe"]
    if call(*command, code=None).returncode != 0:
        pytest.skip("no 32-bit libc on this host: apt-get install libc6-dev-i386 lib32gcc-12-dev")
    call(tmp_path / "probe")
    binary = program("engine_check.c", machine=["-m32"])
    for mode, rounds in (("packs", 6_000), ("states", 2_000), ("events", 20_000)):
        assert min(_counts(binary, mode, rich_file, rounds)[:2]) > 0
