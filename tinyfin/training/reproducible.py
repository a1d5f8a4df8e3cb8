# SPDX-License-Identifier: Apache-2.0
"""TensorFlow, set so that the same seed gives the same bytes on the same machine."""

from __future__ import annotations

import logging
import os
from types import ModuleType

from tinyfin.progress import stage

__all__ = ["tensorflow", "versions"]

_ready = False


def tensorflow(seed: int) -> ModuleType:
    """Import TensorFlow quietly, single-threaded and deterministic, and seed everything."""
    global _ready
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with stage("loading TensorFlow"):
        import tensorflow as tf

    if not _ready:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # somebody computed with it already: its threads are set
        tf.config.experimental.enable_op_determinism()
        tf.get_logger().setLevel("ERROR")
        logging.getLogger("absl").setLevel(logging.ERROR)
        _ready = True
    tf.keras.utils.set_random_seed(seed % (1 << 32))
    found: ModuleType = tf
    return found


def versions() -> dict[str, str]:
    """Versions of what had a hand in the weights."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from tinyfin import __version__

    found = {"tinyfin": __version__, "python": platform.python_version()}
    for name in ("numpy", "tensorflow", "tensorflow-cpu", "keras", "scikit-learn", "tflite-micro"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
