"""Grafana dashboards, written as Grafana imports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 42  # the newest of the classic model, which every Grafana imports
COLUMNS = 24  # of Grafana's grid
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """One expression of a panel and the name of its lines; `$variable` and `$__rate_interval` are Grafana's."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A chart, a figure or a table."""

    title: str

    unit: str
    """Grafana's name of a unit: `s`, `bytes`, `percentunit`, `reqps`, `short`."""

    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    description: str = ""
    width: int = 8
    height: int = 8

    stacked: bool = False
    """Lines stand on each other; for parts of a whole."""

    def as_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel at its place in the grid."""
        defaults: dict[str, Any] = {"unit": self.unit, "min": 0}
        if self.kind == "timeseries":
            stacking = {"mode": "normal" if self.stacked else "none", "group": "A"}
            defaults["custom"] = {"fillOpacity": 30 if self.stacked else 0, "showPoints": "never", "stacking": stacking}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _OPTIONS[self.kind],
            "transformations": _TABLE_COLUMNS if self.kind == "table" else [],
            "targets": [self._target(query, letter) for query, letter in zip(self.queries, "ABCDEF", strict=False)],
        }

    def _target(self, query: Query, letter: str) -> dict[str, Any]:
        latest = self.kind == "table"
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "instant": latest,
            "range": not latest,
            "format": "table" if latest else "time_series",
        }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "none"},
    "table": {"showHeader": True},
}
_TABLE_COLUMNS = [
    {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True, "__name__": True, "job": True}}}
]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: several values of a label, or all."""

    name: str

    query: str
    """`label_values(SERIES, LABEL)`."""

    def as_json(self) -> dict[str, Any]:
        """The variable; at first everything is chosen."""
        return {
            "name": self.name,
            "label": self.name,
            "type": "query",
            "datasource": DATASOURCE,
            "definition": self.query,
            "query": {"query": self.query, "refId": self.name},
            "refresh": 2,  # as often as the time range changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",  # also what has no such label
            "current": {"text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels, and the variables that they use; the data source is a variable of every dashboard."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    """Title and panels of each row, placed from left to right, and on a new line where the width ends."""

    def as_json(self) -> dict[str, Any]:
        """The dashboard in Grafana's classic model."""
        datasource = {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"}
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "tags": ["raysmith"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,  # one cursor for all charts
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "templating": {"list": [datasource, *(variable.as_json() for variable in self.variables)]},
            "annotations": {"list": []},
            "panels": self._placed(),
        }

    def _placed(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for title, panels in self.rows:
            grid = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": title,
                    "collapsed": False,
                    "gridPos": grid,
                    "panels": [],
                }
            )
            x, y, height = 0, y + 1, 0
            for panel in panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                placed.append(panel.as_json(len(placed) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return placed
