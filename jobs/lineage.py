"""Look at artifacts: list, trace back to the data, compare, verify."""

from __future__ import annotations

from rich.table import Table
from rich.tree import Tree

from cluster.artifacts import ArtifactStore, Manifest, compare_manifests
from jobs.words import size


def ancestors(store: ArtifactStore, manifest: Manifest) -> list[Manifest]:
    """Everything an artifact was made from, nearest first, each once."""
    found: dict[str, Manifest] = {}
    queue = list(manifest.parents.values())
    while queue:
        parent = store.get(queue.pop(0))
        if parent.id not in found:
            found[parent.id] = parent
            queue += parent.parents.values()
    return list(found.values())


def trace_tree(store: ArtifactStore, manifest: Manifest, role: str = "") -> Tree:
    """The tree from an artifact back to its data and base model."""
    tree = Tree(_label(manifest, role), highlight=False)
    for parent_role, parent_id in manifest.parents.items():
        tree.add(trace_tree(store, store.get(parent_id), parent_role))
    if manifest.source:
        tree.add("[dim]from " + ", ".join(f"{key} {value}" for key, value in manifest.source.items()) + "[/]")
    return tree


def _label(manifest: Manifest, role: str) -> str:
    prefix = f"{role}: " if role else ""
    figures = ", ".join(f"{key} {value:.4g}" for key, value in manifest.metrics.items())
    detail = f"sha256 {manifest.content[:16]}…, {size(manifest.size_bytes)}, {manifest.created}"
    return f"{prefix}[bold]{manifest.name}[/] ({manifest.id}) [dim]{detail}{', ' + figures if figures else ''}[/]"


def list_table(store: ArtifactStore) -> Table:
    """All names: what each means, its size, when and from what it was made."""
    table = Table("name", "kind", "id", "size", "created", "made from", box=None, header_style="bold")
    for name, artifact_id in store.names().items():
        manifest = store.get(artifact_id)
        table.add_row(
            name, manifest.kind, manifest.id, size(manifest.size_bytes), manifest.created,
            ", ".join(manifest.parents.values()) or ", ".join(manifest.source.values()),
        )  # fmt: skip
    return table


def diff_table(a: Manifest, b: Manifest) -> Table:
    """What differs between two artifacts."""
    table = Table("what", f"{a.name} ({a.id})", f"{b.name} ({b.id})", box=None, header_style="bold")
    for key, (one, two) in compare_manifests(a, b).items():
        table.add_row(key, _short(one), _short(two))
    return table


def _short(value: object) -> str:
    return "—" if value is None else str(value)
