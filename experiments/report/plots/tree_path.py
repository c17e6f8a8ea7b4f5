"""The way from the root of the tree of classes to one class, drawn as SVG."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aisles.hierarchy.class_tree import ClassTree
    from aisles.hierarchy.hierarchy import Hierarchy

ROW = 30  # pixels a step
WIDTH = 760
_LEFT, _RIGHT = 30, 330


def tree_path(label: str, hierarchy: "Hierarchy", tree: "ClassTree | None" = None) -> str:
    """Draw each fork on the way: what goes to the class, and what leaves.

    Parameters
    ----------
    label : str
        A class.
    hierarchy : Hierarchy
        Its macros are named where a branch becomes one.
    tree : ClassTree, optional
        Without it the way is root, macro, class.

    Returns
    -------
    str
        An SVG element.
    """
    steps = _forks(label, tree) if tree is not None else _levels(label, hierarchy)
    heights = [height for height, _, _ in steps]
    top = max(heights, default=1.0) or 1.0
    lines, y, x = [], 24, float(_LEFT)
    named: str | None = None
    for height, kept, leaving in steps:
        at = _LEFT + (_RIGHT - _LEFT) * (1 - height / top)
        lines.append(f'<path class="path" d="M{x:.0f} {y} H{at:.0f} V{y + ROW}"/>')
        lines.append(f'<path class="other" d="M{at:.0f} {y} H{_RIGHT + 12}"/>')
        lines.append(f'<text class="soft" x="{_RIGHT + 18}" y="{y + 4}">{escape(_some(leaving))}</text>')
        macro = _macro_of(kept, hierarchy)
        if macro is not None and named is None:
            named = macro
            lines.append(f'<circle class="dot" cx="{at:.0f}" cy="{y + ROW}" r="5"/>')
            lines.append(f'<text x="{at + 10:.0f}" y="{y + ROW - 6}">{escape(_short(macro, 44))}</text>')
        x, y = at, y + ROW
    lines.append(f'<path class="path" d="M{x:.0f} {y} H{_RIGHT + 12}"/>')
    lines.append(f'<text x="{_RIGHT + 18}" y="{y + 4}" font-weight="bold">{escape(label)}</text>')
    title = f"{len(steps)} forks from the root to {label}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {y + 20}" width="{WIDTH}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(lines)}</svg>"
    )


def _forks(label: str, tree: "ClassTree") -> list[tuple[float, list[str], list[str]]]:
    """List the forks from the root: height, classes that stay with the label, classes that leave."""
    groups: dict[int, list[int]] = {leaf: [leaf] for leaf in range(len(tree.classes))}
    leaf, forks = tree.classes.index(label), []
    for number, (left, right, height, _) in enumerate(tree.linkage.tolist(), start=len(tree.classes)):
        one, other = groups[int(left)], groups[int(right)]
        groups[number] = one + other
        if leaf in groups[number]:
            kept, leaving = (one, other) if leaf in one else (other, one)
            forks.append((float(height), _names(kept, tree), _names(leaving, tree)))
    return forks[::-1]


def _names(leaves: list[int], tree: "ClassTree") -> list[str]:
    return [tree.classes[i] for i in sorted(leaves)]


def _levels(label: str, hierarchy: "Hierarchy") -> list[tuple[float, list[str], list[str]]]:
    members = next(list(names) for names in hierarchy.members if label in names)
    elsewhere = [name for name in hierarchy.classes if name not in members]
    beside = [name for name in members if name != label]
    return [
        (height, kept, out)
        for height, kept, out in ((2.0, members, elsewhere), (1.0, [label], beside))
        if out
    ]


def _macro_of(kept: list[str], hierarchy: "Hierarchy") -> str | None:
    """Name the macro that holds all of these classes, if one does."""
    holders = (
        m for m, names in zip(hierarchy.macros, hierarchy.members, strict=True) if set(kept) <= set(names)
    )
    return next(holders, None)


def _some(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:3])
    return f"{len(names)} others: {_short(shown, 46)}{', ...' if len(names) > 3 else ''}"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
