"""`make bench-unlearn`: the engine against a plain implementation of the same formulas.

Prints a table and, as its last line, one JSON object with the same figures.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.rows import ROWS, Place, Row
from unlearn.offline import quiet_libraries


def main() -> None:
    """Measure the rows that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.unlearn", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(".airlock"), help="of the store with the demo's model"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path(".cache/benchmarks"), help="for random models"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the times (default: 3)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    quiet_libraries()
    progress = Console(stderr=True, highlight=False)
    place = Place(args.home.resolve(), args.directory.resolve(), args.repeats)
    rows = []
    for name in args.rows:
        progress.print(f"measuring: {name}")
        for row in ROWS[name](place):
            progress.print(f"  {row.name}: {row.figure:.3g}")
            rows.append(row)
    show(rows)
    found = {row.name: {**row._asdict(), "holds": row.holds} for row in rows}
    print(json.dumps({"machine": machine(), "rows": found}))


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(title="unlearning engine against a plain two-model implementation")
    for column in ("", "plain or base", "engine", "figure", "limit", "holds"):
        table.add_column(column, justify="left" if column == "" else "right")
    for row in rows:
        limit = "" if row.limit is None else f"{'≥' if row.is_at_least else '≤'} {row.limit:.3g}"
        table.add_row(
            row.name,
            "" if row.plain is None else f"{row.plain:.3f} {row.unit}",
            f"{row.engine:.3f} {row.unit}",
            f"{row.figure:.3g}",
            limit,
            {True: "yes", False: "no", None: ""}[row.holds],
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
