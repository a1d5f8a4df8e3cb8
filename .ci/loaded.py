# SPDX-License-Identifier: Apache-2.0
"""Run the tests that carry the marker ``live`` again and again while every core is busy.

    python .ci/loaded.py [TIMES] [PYTEST-OPTION ...]        ten times if TIMES is left out

stress-ng keeps six workers busy meanwhile. Ends with 1 when any run failed.
"""

from __future__ import annotations

import subprocess
import sys
import time

WORKERS = 6
RUN_DEADLINE_S = 4 * 3600


def main() -> int:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "live",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        *sys.argv[2:],
    ]
    failed = 0
    stress = subprocess.Popen(["stress-ng", "--cpu", str(WORKERS), "--quiet"])
    try:
        for turn in range(times):
            start = time.monotonic()
            code = subprocess.run(command, timeout=RUN_DEADLINE_S).returncode
            failed += code != 0
            print(
                f"run {turn + 1} of {times}: {'failed' if code else 'passed'} "
                f"in {time.monotonic() - start:.0f} s",
                flush=True,
            )
    finally:
        stress.terminate()
        stress.wait(60)
    print(f"{times - failed} of {times} runs passed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
