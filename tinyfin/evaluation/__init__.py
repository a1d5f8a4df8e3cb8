# SPDX-License-Identifier: Apache-2.0
"""How well a configuration finds fraud, week by week, compared with rules and learned baselines.

folds         which rows are tested when, and what is learned before: the protocols
fold_scores   one fold: a run of its own, quantized, its pack on the twin
fold_metrics  figures of every scorer on the rows of one fold
bootstrap     intervals, by resampling cards
subgroups     entry mode, MCC, amount, terminal age, hour
attacks       attacks detected, hard negatives, reasons
data_quality  what is the matter with the data
summary       all of it as one JSON
gates         figures against bounds
page, card  the same as HTML and as a model card
"""
