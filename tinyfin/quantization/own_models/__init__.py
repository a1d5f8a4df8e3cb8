# SPDX-License-Identifier: Apache-2.0
"""Files of models that other tools made: a network becomes :class:`layers.Layers` and then a Keras
network, trees become :class:`ensemble.Ensemble` and then the operator FOREST.

One module reads one format. No file is trusted: each reader raises ModelError, whatever the bytes.
"""
