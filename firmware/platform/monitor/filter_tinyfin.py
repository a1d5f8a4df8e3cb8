# SPDX-License-Identifier: Apache-2.0
"""`pio device monitor` of a tinyfin terminal: its frames as lines of text.

Needs `monitor_encoding = latin-1`, which passes every byte on. Text that is not a frame, such as a
boot loader's, is shown as it comes.
"""

import importlib
import sys
from pathlib import Path

from platformio.public import DeviceMonitorFilterBase

LEVELS = ("error", "warning", "note", "detail")


class TinyfinFilter(DeviceMonitorFilterBase):
    NAME = "tinyfin"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # the checkout that holds this file; in an installed package: no checkout
        sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
        try:
            self.frames = importlib.import_module("tinyfin.wire.frames")
            self.messages = importlib.import_module("tinyfin.wire.messages")
        finally:
            sys.path.pop(0)
        self.rest = b""

    def rx(self, text):
        *stretches, self.rest = (self.rest + text.encode("latin-1", "replace")).split(b"\0")
        shown = "".join(self._line(stretch) for stretch in stretches if stretch)
        if self.rest.isascii() and b"\n" in self.rest:  # a frame's second byte, its type, is not
            whole, _, self.rest = self.rest.rpartition(b"\n")
            shown += _printable(whole) + "\n"
        return shown

    def _line(self, stretch):
        found = self.frames.Deframer().feed(stretch + b"\0")
        if not found:
            return _printable(stretch) + "\n"
        frame, m = found[0], self.messages
        known = frame.type in m.Answer._value2member_map_
        name = m.Answer(frame.type).name if known else f"frame of type {frame.type:#04x}"
        try:
            if frame.type == m.Answer.LOG:
                r = m.Reader(frame.payload, "LOG")
                level = r.take(1)[0]
                return f"{LEVELS[level] if level < len(LEVELS) else level}: {_shown(r.text())}\n"
            if frame.type == m.Answer.HELLO:
                hello = m.parse_hello(frame.payload)
                state = f"engine error {hello.open_error}" if hello.open_error else "runs"
                return (
                    f"HELLO: {_shown(hello.target)}, build {_shown(hello.build_id)}, "
                    f"pack {hello.pack_id}: {state}\n"
                )
            if frame.type == m.Answer.ERROR:
                return f"ERROR: {_shown(str(m.parse_error(frame.payload)))}\n"
        except m.ProtocolError as error:
            return f"{name}: {error}\n"
        return f"{name}, {len(frame.payload)} bytes\n"


def _printable(data):
    return _shown(data.decode("latin-1"))


def _shown(text):
    """Nothing that a console would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
