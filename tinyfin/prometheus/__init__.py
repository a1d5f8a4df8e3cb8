# SPDX-License-Identifier: Apache-2.0
"""What a fleet tells Prometheus: figures of many terminals together, rules, a board of Grafana."""
