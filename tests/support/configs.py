# SPDX-License-Identifier: Apache-2.0
"""Configurations of small trainings."""

SMALL = """
[simulate]
terminals = 10
days = 36
seed = 7

[simulate.attacks]
structuring = 0
ticket_books = 0
refund_layering = 0
returns_week = 0
transaction_laundering = 0
new_goods = 0
colluding_operator = 0
trainee = 0

[features]
names = "default"

[model]
family = "mlp"
hidden = [12, 8]
epochs = 3
learning_rate = 5e-3
batch_size = 256
options = {genuine_rows = 6000}

[evaluate]
baselines = ["logistic_regression"]
seeds = 1

[train]
train = 0.5
validation = 0.25
test = 0.25
"""
"""The run of the fixture ``small``: a simulation, a network, a baseline. Scenarios that last for
days stay out: ten terminals have one of each, so that the test period would be another world."""

QUICK = """
[features]
names = ["amt_log", "hour_of_day", "gap_s"]

[model]
family = "density"

[evaluate]
baselines = []
"""
"""Trains in a second, without TensorFlow."""
