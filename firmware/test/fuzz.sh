#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the libFuzzer targets (clang, ASan, UBSan) and runs each for a time.
#
#   firmware/test/fuzz.sh [SECONDS [TARGET...]]   60 seconds each of: pack state events wire slots
#                                                 tlv iso8583; and control_ of each
#
# control_TARGET has a fault planted in what TARGET tests. It must be found within five minutes; if
# it is not, the fuzzing of TARGET proves nothing.
#
# FUZZ_BUILD   where programs, findings and the grown corpus go (default build/fuzz). A finding is a
#              file crash-* or timeout-* there; run the target on it to see it again.
# FUZZ_SEED    makes a run repeatable (default 0: another one each time)
# FUZZ_RUNS    ends a target after so many executions, too
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
every="pack state events wire slots tlv iso8583"
# shellcheck disable=SC2086,SC2046  words are meant to split
[ $# -gt 0 ] || set -- $every $(printf 'control_%s ' $every)
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
firmware=$(cd .. && pwd)
here=$(pwd)
flags="-std=c11 -g -O2 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -I$library/include -I$library/src"
# the checksum and the line's code are in every byte's way: comparisons in them teach the fuzzer nothing
plain="-fno-sanitize-coverage=trace-cmp"

# compile FLAGS... SOURCES...: objects, in the present folder
compile() {
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer-no-link "$@"
}

# The fault of a control: `file`, in which the text `fault` becomes `instead`.
plant() {
    instead="0"
    case $1 in
    pack) file=$library/src/features/program.c fault='#ifdef TFIN_SABOTAGE_BOUNDS' instead='#if 1' ;;
    state) file=$library/src/state.c fault='#ifdef TFIN_SABOTAGE_COUNTS' instead='#if 1' ;;
    events) file=$library/src/engine.c fault='event->record_size < 8u' ;;
    tlv) file=$library/src/emv/tlv.c fault='end - at < bytes' ;;
    iso8583) file=$library/src/emv/iso8583.c fault='size - walk->at < map_bytes' ;;
    slots) file=$firmware/src/slots/slots.c fault='offset != s->next' ;;
    esac
    mkdir -p "$build/planted"
    planted=$build/planted/$(basename "$file")
    "$python" -c 'import sys; text = open(sys.argv[1]).read(); assert text.count(sys.argv[3]) == 1
open(sys.argv[2], "w").write(text.replace(*sys.argv[3:]))' "$file" "$planted" "$fault" "$instead"
}

engine=$(ls "$library"/src/*.c "$library"/src/*/*.c | grep -v -e tinyfin_port_ -e crc32)
# shellcheck disable=SC2086
(cd "$build/objects" && compile -c $engine "$here/rig.c" "$here/port_accept.c" && compile "$plain" -c "$library/src/crc32.c")

built=" "
# application TARGET: the terminal, compiled for the pack that it is fuzzed with
application() {
    sources=$(ls "$firmware"/src/wire.c "$firmware"/src/terminal.c "$firmware"/src/events.c "$firmware"/ports/host/no_stack.c)
    if [ "$1" = slots ]; then
        options="$options -DTFIN_PORT_FLASH -DTFIN_SEALED"
        sources="$sources $(ls "$firmware"/src/slots/*.c)"
        more="$here/flash_in_ram.c"
    fi
    "$python" -c 'import sys; sys.path.insert(0, sys.argv[1])
from tinyfin.codegen.emit import emit; emit(open(sys.argv[2], "rb").read(), sys.argv[3])' \
        "$firmware/.." "$here/corpus/pack/$pack" "$build/generated_$1"
    options="$options -I$build/generated_$1 -I$firmware/src -I$firmware/src/slots -I$firmware/ports -DFUZZ_PACK_BYTES=$(wc -c <"$here/corpus/pack/$pack")"
    mkdir -p "$build/$1"
    # shellcheck disable=SC2086
    [ "$built" != "${built#* "$1" }" ] || (cd "$build/$1" && compile $options -include "$here/ram_section.h" -c $sources &&
        compile $options "$plain" -include "$here/ram_section.h" -c "$firmware/src/frame.c" "$firmware/src/bytes.c")
    built="$built$1 "
    objects="$objects $(ls "$build/$1"/*.o)"
}

build_target() {
    target=${1#control_}
    source=$target more="" options="" pack=rich
    objects=$(ls "$build"/objects/*.o)
    case $target in wire | slots)
        source=wire
        [ "$target" = wire ] || pack=monitored # small, because installs of it are what is tested
        application "$target"
        ;;
    esac
    if [ "$1" = control_wire ]; then
        more="$firmware/../tests/wire/sabotage_repeats.c -Wl,--wrap=tfin_deframe,--wrap=tfin_frame_send"
    elif [ "$1" != "$target" ]; then
        plant "$target"
        more="$more $planted -I$(dirname "$file")"
        objects=$(echo "$objects" | grep -v "/$(basename "$file" .c).o")
    fi
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer $options "-DFUZZ_PACK=\"$here/corpus/pack/$pack\"" $more "fuzz_$source.c" $objects -o "$build/fuzz_$1"
}

for name in "$@"; do
    build_target "$name"
done
for name in "$@"; do
    target=${name#control_}
    if [ "$name" != "$target" ]; then
        rm -rf "$build/corpus/$name"
        mkdir -p "$build/corpus/$name"
        if "$build/fuzz_$name" -max_total_time=300 -max_len=8192 -timeout=60 -rss_limit_mb=2048 -seed="${FUZZ_SEED:-0}" \
            -verbosity=0 -exact_artifact_path=/dev/null "$build/corpus/$name" "corpus/$target" 2>"$build/$name.log"; then
            echo "error: the fault that is planted in $target was not found; see $build/$name.log" >&2
            exit 1
        fi
        # by a sanitizer or a check of ours, not for want of memory or time
        grep -q -e "deadly signal" -e "ERROR: AddressSanitizer" -e "runtime error" "$build/$name.log"
        echo "fuzz_$name: found"
        continue
    fi
    mkdir -p "$build/corpus/$name"
    echo "fuzz_$name: $seconds s"
    "$build/fuzz_$name" -max_total_time="$seconds" -runs="${FUZZ_RUNS:--1}" -max_len=8192 -timeout=60 -rss_limit_mb=2048 \
        -seed="${FUZZ_SEED:-0}" -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/" "$build/corpus/$name" "corpus/$name"
done
