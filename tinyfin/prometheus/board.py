# SPDX-License-Identifier: Apache-2.0
"""A board of Grafana (schema 39) over the figures, and a scrape configuration."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

__all__ = ["PANELS", "Panel", "board", "setup_files"]

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 24
_SOURCE = {"type": "prometheus", "uid": "${source}"}


class Panel(NamedTuple):
    """A time series."""

    title: str
    query: str
    legend: str
    unit: str = "short"
    """As Grafana calls it."""


PANELS = (
    Panel("Terminals by pack", "sum by (pack) (tinyfin_terminals)", "{{pack}}"),
    Panel("Silent for three days", "tinyfin:terminals_silent:ratio3d", "silent", "percentunit"),
    Panel(
        "Age of the newest report",
        "time() - tinyfin_lake_newest_report_timestamp_seconds",
        "age",
        "s",
    ),
    Panel(
        "Transactions of a day", "sum by (pack) (increase(tinyfin_scored_total[1d]))", "{{pack}}"
    ),
    Panel(
        "Restarts in 1,000 transactions",
        "tinyfin:restarts:per_thousand_transactions7d",
        "{{pack}}, {{cause}}",
    ),
    Panel(
        "Saturated features in 1,000 transactions",
        "tinyfin:saturations:per_thousand_transactions7d",
        "{{pack}}",
    ),
    Panel(
        "Notices, of those in training", "tinyfin:notices:of_training", "{{pack}}", "percentunit"
    ),
    Panel("Precision", "tinyfin_precision", "{{pack}}, {{of}}", "percentunit"),
    Panel("Recall", "tinyfin_recall", "{{pack}}, {{of}}", "percentunit"),
    Panel("Stability index", "tinyfin_stability_index", "{{pack}}, {{histogram}}"),
    Panel(
        "Histograms that have drifted",
        "sum by (pack, stratum) (tinyfin_histograms_drifted)",
        "{{pack}}, {{stratum}}",
    ),
    Panel("Terminals that have drifted", "tinyfin_terminals_drifted", "{{pack}}"),
    Panel("Members of campaigns", "sum by (stage) (tinyfin_campaign_members)", "{{stage}}"),
    Panel("Open requests", "sum by (cause) (tinyfin_requests_open)", "{{cause}}"),
    Panel("Refused reports", "tinyfin_lake_refused_reports", "{{reason}}"),
)

_SCRAPE = """\
# SPDX-License-Identifier: Apache-2.0
global: {scrape_interval: 1m}
rule_files: [rules.yml]
scrape_configs:
  - job_name: tinyfin
    static_configs: [{targets: ["127.0.0.1:9464"]}]
"""


def board() -> dict[str, object]:
    """The board, for Grafana to import."""
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "datasource": _SOURCE,
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "gridPos": {
                "x": number * _WIDTH % _COLUMNS,
                "y": number * _WIDTH // _COLUMNS * _HEIGHT,
                "w": _WIDTH,
                "h": _HEIGHT,
            },
            "targets": [
                {
                    "refId": "A",
                    "datasource": _SOURCE,
                    "expr": panel.query,
                    "legendFormat": panel.legend,
                }
            ],
        }
        for number, panel in enumerate(PANELS)
    ]
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "tinyfin-fleet",
        "title": "tinyfin: a fleet",
        "schemaVersion": 39,
        "time": {"from": "now-30d", "to": "now"},
        "refresh": "5m",
        "templating": {"list": [source]},
        "panels": panels,
    }


def setup_files() -> dict[str, str]:
    """By name: rules, routes and scrape configuration, for Prometheus and its Alertmanager."""
    kept = resources.files("tinyfin.prometheus")
    names = ("rules.yml", "alertmanager.yml")
    texts = {name: (kept / name).read_text("utf-8") for name in names}
    return {**texts, "prometheus.yml": _SCRAPE}
