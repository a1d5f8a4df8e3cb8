#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the libFuzzer targets (clang, ASan, UBSan) and runs each for a time.
#
#   firmware/test/fuzz.sh [SECONDS [TARGET...]]      60 seconds each of: pack state events wire
#
# FUZZ_BUILD   where programs, findings and the grown corpus go (default build/fuzz). A finding is a
#              file crash-* or timeout-* there; run the target on it to see it again.
# FUZZ_SEED    makes a run repeatable (default 0: another one each time)
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- pack state events wire
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
engine=$(ls "$library"/src/*.c | grep -v tinyfin_port_)
# shellcheck disable=SC2086  words are meant to split
(cd "$build/objects" && "$clang" $flags -fsanitize=fuzzer-no-link -c $engine "$here/rig.c" "$here/port_accept.c")
# the terminal application, compiled for the pack that it is fuzzed with
firmware=$(cd .. && pwd)
for target in "$@"; do
    more=""
    if [ "$target" = wire ]; then
        "$python" -c 'import sys; sys.path.insert(0, sys.argv[1])
from tinyfin.codegen.emit import emit; emit(open(sys.argv[2], "rb").read(), sys.argv[3])' \
            "$firmware/.." "$here/corpus/pack/rich" "$build/generated"
        more="-I$build/generated -I$firmware/src -I$firmware/ports -DFUZZ_PACK_BYTES=$(wc -c <"$here/corpus/pack/rich")"
        more="$more $firmware/src/wire.c $firmware/src/events.c $firmware/src/frame.c $firmware/src/bytes.c"
    fi
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer "-DFUZZ_PACK=\"$here/corpus/pack/rich\"" $more "fuzz_$target.c" "$build"/objects/*.o -o "$build/fuzz_$target"
done
for target in "$@"; do
    mkdir -p "$build/corpus/$target"
    echo "fuzz_$target: $seconds s"
    "$build/fuzz_$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -seed="${FUZZ_SEED:-0}" -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/" "$build/corpus/$target" "corpus/$target"
done
