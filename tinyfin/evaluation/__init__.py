# SPDX-License-Identifier: Apache-2.0
"""How well a configuration finds fraud, week by week, compared with rules and learned baselines.

parts       which rows are tested when, and what is learned before: the protocols
scored      one part: a run of its own, quantized, its pack on the twin
measures    figures of one scorer on the rows of one part
bootstrap   intervals, by resampling cards
slicing     entry mode, MCC, amount, terminal age, hour
incidents   attacks detected, hard negatives, reasons
quality     what is the matter with the data
summary     all of it as one JSON
gates       figures against bounds
page, card  the same as HTML and as a model card
"""
