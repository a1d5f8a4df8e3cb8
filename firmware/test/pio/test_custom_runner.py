# SPDX-License-Identifier: Apache-2.0
"""Runs the tests below this folder for `pio test` and reads their TAP lines.

On the emulator where the target has one, on the board when --upload-port or --test-port names its
port, on this machine for an environment without a board (`native`).
"""

import re
import shlex

from platformio.public import TestCase, TestRunnerBase, TestStatus
from platformio.test.runners.readers.native import NativeTestOutputReader
from platformio.test.runners.readers.serial import SerialTestOutputReader

LINE = re.compile(r"^(?P<verdict>ok|not ok) \d+ - (?P<name>[^#\r\n]*)(?:# (?P<why>[^\r\n]*))?")


class EmulatorReader(NativeTestOutputReader):
    def get_testing_command(self):
        return self.test_runner.emulator


class CustomTestRunner(TestRunnerBase):
    def setup(self):
        config, env = self.project_config, self.test_suite.env_name
        self.emulator = None
        self.finished = False
        board = config.get(f"env:{env}", "board", None)
        self.on_board = bool(board and (self.options.upload_port or self.options.test_port))
        if board and not self.on_board:
            words = self.platform.board_config(board).get("tinyfin.emulator.command", [])
            build_dir = config.get("platformio", "build_dir")
            self.emulator = [
                *words,
                "-serial",
                "stdio",
                "-monitor",
                "none",
                "-display",
                "none",
                "-kernel",
                f"{build_dir}/{env}/firmware.elf",
            ]

    def stage_uploading(self):
        if self.on_board and not self.options.without_uploading:
            self.run_project_targets(["upload", "nobuild"])

    def stage_testing(self):
        if self.options.without_testing:
            return
        if self.options.verbose and self.emulator:
            print("Running", shlex.join(self.emulator))
        reader = (
            EmulatorReader
            if self.emulator
            else SerialTestOutputReader
            if self.on_board
            else NativeTestOutputReader
        )
        reader(self).begin()
        if not self.finished:
            self._add("every test ran", False, "the program ended, or fell silent, before its end")

    def on_testing_line_output(self, line):
        found = LINE.match(line)
        if found:
            self._add(found["name"].strip(), found["verdict"] == "ok", found["why"], line)
        elif line.startswith("1.."):
            self.finished = True
            planned = int(line[3:])
            if planned != len(self.test_suite.cases):
                self._add("every test ran", False, f"{planned} planned", line)
            self.test_suite.on_finish()
        elif self.options.verbose:
            super().on_testing_line_output(line)

    def _add(self, name, passed, why=None, line=None):
        case = TestCase(
            name=name,
            status=TestStatus.PASSED if passed else TestStatus.FAILED,
            message=None if passed else why,
            stdout=line,
        )
        self.test_suite.add_case(case)
        print(case.humanize())
