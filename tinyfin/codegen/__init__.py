# SPDX-License-Identifier: Apache-2.0
"""The C that a firmware project links: :func:`tinyfin.codegen.emit.emit`."""
