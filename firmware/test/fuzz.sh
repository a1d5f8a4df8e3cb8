#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the libFuzzer targets (clang, ASan, UBSan) and runs each for a time.
#
#   firmware/test/fuzz.sh [SECONDS [TARGET...]]      60 seconds each of: pack state events wire slots
#                                                   tlv iso8583; and control
#
# control is the target wire with a terminal that does repeated frames again: if that is not found, the fuzzing of the wire
# proves nothing.
#
# FUZZ_BUILD   where programs, findings and the grown corpus go (default build/fuzz). A finding is a
#              file crash-* or timeout-* there; run the target on it to see it again.
# FUZZ_SEED    makes a run repeatable (default 0: another one each time)
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- pack state events wire slots tlv iso8583 control
build=${FUZZ_BUILD:-../../build/fuzz}
clang=${CLANG:-clang}
python=${PYTHON:-python3}
if ! command -v "$clang" >/dev/null; then
    echo "error: $clang is not installed; on Debian or Ubuntu: apt-get install clang" >&2
    exit 6
fi
mkdir -p "$build/objects"
build=$(cd "$build" && pwd)
library=$(cd ../lib/tinyfin && pwd)
here=$(pwd)
flags="-std=c11 -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -I$library/include -I$library/src"

set -- "$@" # the targets
engine=$(ls "$library"/src/*.c "$library"/src/*/*.c | grep -v tinyfin_port_)
# shellcheck disable=SC2086  words are meant to split
(cd "$build/objects" && "$clang" $flags -fsanitize=fuzzer-no-link -c $engine "$here/rig.c" "$here/port_accept.c")
# the terminal application, compiled for the pack that it is fuzzed with
firmware=$(cd .. && pwd)
for target in "$@"; do
    more=""
    source=$target
    if [ "$target" = wire ] || [ "$target" = slots ] || [ "$target" = control ]; then
        source=wire
        "$python" -c 'import sys; sys.path.insert(0, sys.argv[1])
from tinyfin.codegen.emit import emit; emit(open(sys.argv[2], "rb").read(), sys.argv[3])' \
            "$firmware/.." "$here/corpus/pack/rich" "$build/generated"
        more="-I$build/generated -I$firmware/src -I$firmware/ports -DFUZZ_PACK_BYTES=$(wc -c <"$here/corpus/pack/rich")"
        more="$more $firmware/src/wire.c $firmware/src/terminal.c $firmware/src/events.c $firmware/src/frame.c $firmware/src/bytes.c $firmware/ports/host/no_stack.c"
    fi
    if [ "$target" = slots ]; then
        more="$more -DTFIN_PORT_FLASH -DTFIN_SEALED $firmware/src/slots/*.c $here/flash_in_ram.c"
    fi
    if [ "$target" = control ]; then
        more="$more $firmware/../tests/wire/sabotage_repeats.c -Wl,--wrap=tfin_deframe,--wrap=tfin_frame_send"
    fi
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer "-DFUZZ_PACK=\"$here/corpus/pack/rich\"" $more "fuzz_$source.c" "$build"/objects/*.o -o "$build/fuzz_$target"
done
for target in "$@"; do
    if [ "$target" = control ]; then
        if "$build/fuzz_control" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
            -exact_artifact_path=/dev/null corpus/wire 2>"$build/control.log"; then
            echo "error: a terminal that does repeated frames again was not found; see $build/control.log" >&2
            exit 1
        fi
        grep -q "deadly signal" "$build/control.log" # by our own check, not by a sanitizer or for want of memory
        echo "fuzz_control: found"
        continue
    fi
    mkdir -p "$build/corpus/$target"
    echo "fuzz_$target: $seconds s"
    "$build/fuzz_$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -seed="${FUZZ_SEED:-0}" -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/" "$build/corpus/$target" "corpus/$target"
done
