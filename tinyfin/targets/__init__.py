# SPDX-License-Identifier: Apache-2.0
"""Targets: what there is, how to build for it, run it, flash it.

- :mod:`tinyfin.targets.catalogue` reads the board files of ``firmware/platform/boards``
- :mod:`tinyfin.targets.build` runs PlatformIO and measures the image
- :mod:`tinyfin.targets.emulate` boots an image in QEMU with its serial port on a socket
- :mod:`tinyfin.targets.flash` puts an image on a target
"""
