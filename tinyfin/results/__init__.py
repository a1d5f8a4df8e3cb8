# SPDX-License-Identifier: Apache-2.0
"""What the JSON files of a run hold, as types: a key is written and read by the attribute of one
class, and is spelt in one place (docs/results.md).

facts       the base: keys, numbers that may be missing, the version of a file's schema
metrics     figures of scorers, alerts and thresholds; metrics.json
run         data, split, features, model; run.json, maps.json
parity      what was compared with what; parity.json
evaluation  all folds of an evaluation; evaluation.json
reference   bins of the rows of the training; reference.json
monitor     the pack on later transactions; monitor.json
trials      what a search tried; trials.json
"""
