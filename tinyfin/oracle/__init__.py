# SPDX-License-Identifier: Apache-2.0
"""The oracle: the feature program run in plain Python integers, slow and obvious.

It is written from docs/formats alone and shares no code with the engine, so that two readings of
the same page are compared, and not one with itself. One small file per family of operators.
"""

from __future__ import annotations

from tinyfin.oracle.decision import Model
from tinyfin.oracle.engine import OracleEngine, OracleVerdict

__all__ = ["Model", "OracleEngine", "OracleVerdict"]
