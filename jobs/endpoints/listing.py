"""Endpoints and their keys in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from cluster.errors import EndpointError
from jobs.endpoints.folder import EndpointFolder, State
from serving.keys import read_keys
from serving.table import FILE_NAME as TABLE
from serving.table import read_table


def endpoints_table(root: Path) -> Table:
    """Every endpoint that was ever served here, and what those that are up serve."""
    table = Table(box=None, header_style="bold")
    for column in ("name", "status", "url"):
        table.add_column(column, no_wrap=True)
    table.add_column("version, share, artifact, engine")
    table.add_column("replicas, running, waiting", no_wrap=True)
    for folder in sorted(path.parent for path in (root / "endpoints").glob("*/state.json")):
        endpoint = EndpointFolder(root, folder.name)
        state = endpoint.state()
        if state is None:
            table.add_row(folder.name, "[dim]down[/]", "", "", "")
            continue
        try:
            versions, figures = _figures(endpoint, state)
        except EndpointError:  # another user's
            versions, figures = [], {}
        shown = [f"{one['version']}  {one['weight']:.0%}  {one['artifact']}  {one['engine']}" for one in versions]
        counts = [figures.get(one["version"], "") for one in versions]
        table.add_row(folder.name, state.status, state.url, escape("\n".join(shown)), "\n".join(counts))
    return table


def _figures(endpoint: EndpointFolder, state: State) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What the endpoint itself says of its versions."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    if state.status == "starting":
        return [], {}
    headers = {"Authorization": f"Bearer {endpoint.operator_key()}"}
    base = state.url.removesuffix("/v1")
    try:
        with httpx.Client(headers=headers, trust_env=False, timeout=5) as client:
            models = client.get(f"{base}/v1/models").raise_for_status().json()["data"]
            text = client.get(f"{base}/metrics").raise_for_status().text
    except httpx.HTTPError:
        return [], {}
    counts: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in {"raysmith_replicas", "raysmith_requests_running", "raysmith_requests_waiting"}:
                counts.setdefault(sample.labels["version"], {})[sample.name.split("_")[-1]] = sample.value
    shown = {name: f"{one['replicas']:g}, {one['running']:g}, {one['waiting']:g}" for name, one in counts.items()}
    return (models[0]["raysmith"]["versions"] if models else []), shown


def served_artifacts(root: Path, name: str) -> dict[str, str]:
    """What an endpoint serves, or served last: label → artifact id. Empty if there is no endpoint of that name."""
    folder = EndpointFolder(root, name).path
    if not (folder / TABLE).is_file():
        return {}
    found: dict[str, str] = {}
    for version in read_table(folder).versions:
        label = f"{version.name}, {version.weight:.0%} of the requests, in {version.engine}"
        found[label] = version.origin.artifact
        found |= {f"{version.name}, adapter {key}": one.artifact for key, one in version.adapters.items()}
    return found


def keys_table(keys_file: Path) -> Table:
    """The keys of an endpoint; none of them can be read again."""
    table = Table(box=None, header_style="bold")
    for column in ("name", "scope", "requests a minute", "tokens a minute", "created", "sha256"):
        table.add_column(column, no_wrap=True)
    for key in read_keys(keys_file).values():
        limits = [
            str(one) if one is not None else "endpoint's" for one in (key.requests_per_minute, key.tokens_per_minute)
        ]
        table.add_row(key.name, key.scope, *limits, key.created[:16].replace("T", " "), key.sha256[:12] + "…")
    return table
