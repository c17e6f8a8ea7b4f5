"""What the lab's comparison of designs found, as Markdown."""

from collections.abc import Mapping
from typing import Any

from aisles.experiments.methods.registry import describe
from aisles.experiments.stats.points import interval_in_points, signed

BASELINES = ("best flat", "equal cost", "random macros")
PRIMARY = (
    "data set", "labels per class", "chosen design", "right, %", "best flat", "right, %", "difference, points",
    "95 % interval", "p", "verdict",
)  # fmt: skip
EACH = (
    "method", "right, % (sd over seeds)", "against best flat", "against flat of equal cost", "against random macros",
    "heads per image", "settings tried", "processor seconds",
)  # fmt: skip


def note(found: Mapping[str, Any]) -> str:
    """Return the note: what is shown, the chosen design of every condition, then every design and flat method."""
    rows = found["rows"]
    primary = [(row, row["designs"][row["chosen"]]["best flat"]) for row in rows]
    better, worse = (sum(c["verdict"] == word for _, c in primary) for word in ("better", "worse"))
    n_sets = len({row["data"] for row in rows})
    lines = [
        "# Designs that use macro-categories",
        "",
        f"The design that validation images prefer is shown better than the best flat method in {better} and worse in "
        f"{worse} of {len(primary)} conditions ({n_sets} data set{'s' * (n_sets != 1)}, all labels and 5 "
        "per class; corrected by Holm). The best flat method is the one that validation images prefer.",
        "",
        *_header(PRIMARY),
    ]
    for row, c in primary:
        told = (
            row["data"], row["condition"], c["b"], f"{100 * c['accuracy_b']:.1f}", c["a"],
            f"{100 * c['accuracy_a']:.1f}", signed(100 * c["difference"]), interval_in_points(c["interval"]),
            f"{c['p_corrected']:.3f}", c["verdict"],
        )  # fmt: skip
        lines.append(_row(told))
    lines += ["", *_others(rows)]
    for row in rows:
        lines += ["", f"## {row['data']}, {row['condition']} labels per class", ""]
        lines += [_chosen(row), ""]
        lines += _header(EACH)
        for name, m in row["methods"].items():
            if name.startswith("random "):
                continue
            told = [_against(row["designs"].get(name, {}).get(key)) for key in BASELINES]
            cost = (f"{m['head_passes']:.1f}", f"{m['searched']:.0f}", f"{m['seconds']:.1f}")
            lines.append(_row((name, _share(m), *told, *cost)))
    return "\n".join([*lines, "", "## How it was measured", "", *_protocol(found), ""])


def _chosen(row: Mapping[str, Any]) -> str:
    """Say what validation images chose, and what test images would have."""
    flats = {
        name: m["accuracy"]
        for name, m in row["methods"].items()
        if name not in row["designs"] and not name.startswith("random ")
    }
    top = max(flats, key=lambda name: flats[name])
    text = f"Validation images choose {row['best_flat']} as the best flat method and {row['chosen']} as the design."
    best, chosen = (f"{100 * flats[name]:.1f}" for name in (top, row["best_flat"]))
    if best == chosen:
        return text
    return (
        f"{text} On test images, which choose nothing, {top} is right more often than {row['best_flat']}: "
        f"{best} against {chosen} %."
    )


def _others(rows: Any) -> list[str]:
    """Say of all other comparisons where something is shown."""
    others = [
        (row, name, key, c)
        for row in rows
        for name, each in row["designs"].items()
        for key, c in each.items()
        if not (name == row["chosen"] and key == "best flat")
    ]
    lines = [f"Of the {len(others)} other comparisons, corrected together:", ""]
    for word in ("better", "worse"):
        for baseline in BASELINES:
            of = [(row, name, c) for row, name, key, c in others if key == baseline]
            told = "; ".join(
                f"{name} on {row['data']} at {row['condition']} {_against(c)}"
                for row, name, c in of
                if c["verdict"] == word
            )
            n = sum(c["verdict"] == word for *_, c in of)
            lines.append(f"- {word} than {baseline} in {n} of {len(of)}{': ' + told if told else ''}.")
    return lines


def _protocol(found: Mapping[str, Any]) -> list[str]:
    names = [name for name in found["rows"][0]["methods"] if not name.startswith("random ")]
    return [
        *(f"- {name}: {describe(name)}." for name in names),
        f"- {found['seeds']} seeds deal training and validation images anew and draw labels, bootstrap samples and "
        "random macros. Seeds share most training images, so their spread understates that over other data.",
        "- Validation images choose settings, the best flat method and the chosen design; test images choose nothing. "
        "Heads are not fitted again on validation images. Flat of equal cost has heads of the design's own kind: "
        + ", ".join(f"{name} for {design}" for design, name in found["equal_cost"].items())
        + ".",
        "- Intervals are 95 % over images and seeds, each for itself; **+** and **-** are verdicts after Holm.",
        "- Macros of digits, letter and texture were learned from all training images with their classes, which favors "
        "designs at 5 labels.",
        "- Processor seconds of one seed; a head that an earlier method fitted is not fitted again.",
        f"- {found['command']}; {found['date']}; {found['processor_minutes']:.0f} processor minutes.",
    ]


def _header(names: tuple[str, ...]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _against(c: Mapping[str, Any] | None) -> str:
    if c is None:
        return ""
    mark = {"better": " **+**", "worse": " **-**"}.get(c["verdict"], "")
    return f"{signed(100 * c['difference'])} ({interval_in_points(c['interval'])}){mark}"


def _share(m: Mapping[str, float]) -> str:
    return f"{100 * m['accuracy']:.1f} ({100 * m['sd']:.1f})"
