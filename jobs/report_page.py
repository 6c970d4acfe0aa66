"""Pages that open from disk: they need no network and run no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.storage import write_atomically
from jobs.report_cards import figure
from jobs.words import duration, size


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of this folder; every value is escaped, an absent one an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"size": size, "duration": duration, "figure": figure}
    write_atomically(path, environment.get_template(template).render(**values))
