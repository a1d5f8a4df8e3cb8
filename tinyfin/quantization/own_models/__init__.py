# SPDX-License-Identifier: Apache-2.0
"""Files of models that other tools made: a network becomes :class:`layers.Layers` and then a Keras
network, trees become :class:`ensemble.Ensemble` and then the operator FOREST.

One module reads one format. No file is trusted: each reader raises ModelError, whatever the bytes.
"""

__all__ = ["first_line"]


def first_line(error: Exception) -> str:
    """What another library's error says first, or its type."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
