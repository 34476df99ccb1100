"""What was found, as a table, as a picture, and as a page of the documentation."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.findings import DOORS, Finding

PAGE = Path(__file__).with_name("page.txt")
SOAK_PICTURE = "![Memory and open files of each gateway in the calm](chaos-soak.png)"
NO_SOAK = "It was not run this time."
CALM_SECONDS = 10.0
"""How much of what came after the last fault is drawn."""
COLUMNS = (
    "fault",
    "cut off",
    "public served",
    "researcher served",
    "public back after",
    "researcher back after",
    "wrong door",
    "audit lost",
    "tokens told / charged / counted",
)


def cells(row: dict) -> tuple[str, ...]:
    """A row of the table."""
    tokens = row["tokens"]
    counts = f"{tokens['told']:.0f} / {tokens['charged']:.0f} / {tokens['counted']:.0f}"
    return (
        row["fault"],
        str(row["cut_off"]),
        *(f"{row['served'][who]:.0%}" for who in DOORS),
        *(f"{row['back_seconds'][who]:.1f} s" for who in DOORS),
        str(row["wrong_door"]),
        f"{row['intents_lost']} + {row['outcomes_lost']}",
        f"{tokens['told']:.0f} (counts began anew)" if row["resets_counts"] else counts,
    )


def line(row: Finding) -> str:
    """A row in one line."""
    return ", ".join(
        f"{column} {cell}" if number else cell
        for number, (column, cell) in enumerate(zip(COLUMNS, cells(row.document()), strict=True))
    )


def is_right(found: dict) -> bool:
    """Whether nothing was lost, nobody let in, and the log is intact."""
    return all(row["is_right"] for row in found["rows"]) and "intact" in found["audit"]


def show(found: dict) -> None:
    """Print the table."""
    table = Table(*COLUMNS)
    for row in found["rows"]:
        table.add_row(*cells(row))
    console = Console(width=160, highlight=False)
    console.print(table)
    console.print(f"{found['requests']} requests; audit log: {found['audit']}")
    if found["soak"]:
        console.print(soak_line(found["soak"]))


def soak_line(soak: dict) -> str:
    """What the soak found."""
    grown = ", ".join(
        f"gateway {number}: {one['mb']:+.1f} MB, {one['files']:+.1f} files"
        for number, one in enumerate(soak["growth"], 1)
    )
    return (
        f"Soak of {soak['seconds']:.0f} s: {soak['requests']} requests, {soak['not_served']} "
        f"not served; {grown}."
    )


def write(folder: Path, found: dict) -> None:
    """Write `chaos.md` and its pictures."""
    plot(folder / "chaos.png", found)
    if found["soak"]:
        plot_soak(folder / "chaos-soak.png", found["soak"])
    (folder / "chaos.md").write_text(page(found))


def page(found: dict) -> str:
    """The page of the documentation."""
    rows = [f"| {' | '.join(cells(row))} |" for row in found["rows"]]
    return PAGE.read_text().format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        requests=found["requests"],
        seconds=found["rows"][0]["ended"] - found["rows"][0]["began"],
        head=f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}",
        rows="\n".join(rows),
        audit=found["audit"].splitlines()[0],
        soak=f"{soak_line(found['soak'])}\n\n{SOAK_PICTURE}" if found["soak"] else NO_SOAK,
    )


def plot(path: Path, found: dict) -> None:
    """Plot every request over time, by door, with the faults behind them."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    # The calm after the faults would leave them no room.
    ends = found["rows"][-1]["ended"] + max(found["rows"][-1]["back_seconds"].values())
    asked = [one for one in found["asked"] if one.at < ends + CALM_SECONDS]
    zero = asked[0].at
    figure, axes = plt.subplots(len(DOORS), 1, figsize=(12, 5), sharex=True, layout="constrained")
    for axis, who in zip(axes, DOORS, strict=True):
        for is_served, colour in ((True, "#2a7f62"), (False, "#c0392b")):
            dots = [one for one in asked if one.who == who and one.is_served == is_served]
            axis.scatter(
                [one.at - zero for one in dots],
                [one.ended - one.at for one in dots],
                s=3,
                color=colour,
                label="whole answer" if is_served else "error or no answer",
            )
        for row in found["rows"]:
            axis.axvspan(row["began"] - zero, row["ended"] - zero, color="#bbbbbb", alpha=0.5, lw=0)
            if axis is axes[0]:
                middle = (row["began"] + row["ended"]) / 2 - zero
                axis.text(middle, 1.02, row["fault"], rotation=60, fontsize=6,
                          transform=axis.get_xaxis_transform())  # fmt: skip
        axis.set_ylabel(f"{who}: seconds")
        axis.set_yscale("log")
    axes[0].legend(loc="upper right", fontsize=7)
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def plot_soak(path: Path, soak: dict) -> None:
    """Plot each gateway's memory and open files over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(12, 4), sharex=True, layout="constrained")
    minutes = [sample["at"] / 60 for sample in soak["samples"]]
    for axis, (key, what) in zip(
        axes, (("mb", "memory, MB"), ("files", "open files")), strict=True
    ):
        for number in range(len(soak["growth"])):
            values = [sample["gateways"][number][key] for sample in soak["samples"]]
            axis.plot(minutes, values, lw=1, label=f"gateway {number + 1}")
        axis.set_ylim(0, axis.get_ylim()[1] * 1.1)
        axis.set_ylabel(what)
    axes[0].legend(loc="lower right", fontsize=7)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=90)
    plt.close(figure)
