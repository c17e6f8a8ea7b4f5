"""The tree of macros and classes as HTML: a bar on every node, the sure path lit, the rest gray."""

from html import escape

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy

from .judging import Answer
from .texts import Texts

OPEN = 0.05
"""Macros at least this probable are open at first."""
SHOWN = 6
"""Classes of a macro that are listed; the others follow under "more"."""


def tree_html(
    probs: np.ndarray,
    macro_probs: np.ndarray,
    hierarchy: Hierarchy,
    answer: Answer,
    threshold: float,
    texts: Texts,
    key: str = "",
) -> str:
    """Draw the tree for one image.

    Parameters
    ----------
    probs, macro_probs : ndarray of shape (n_classes,) and (n_macros,)
    hierarchy : Hierarchy
    answer : Answer
        The path to it is lit.
    threshold : float
        Nodes below it are gray.
    texts : Texts
    key : str
        Tells images apart: branches that a person opened stay open while it stays the same.

    Returns
    -------
    str
        Nested lists, macros and inside them classes with the most probable first. Each class is a button that carries
        its name in `data-label`; every text is escaped.
    """
    drawing = _Drawing(probs, macro_probs, hierarchy, answer, threshold, texts)
    branches = "".join(drawing.macro(int(m)) for m in np.argsort(-macro_probs, kind="stable"))
    lit = "lit" if answer.level == "none" else "passed"
    return (
        f'<div class="tree" data-key="{escape(key)}" data-level="{answer.level}">'
        f'<div class="root {lit}">{escape(texts("tree_root"))}</div><ul>{branches}</ul></div>'
    )


class _Drawing:
    def __init__(self, probs, macro_probs, hierarchy, answer, threshold, texts):
        self.probs, self.macro_probs, self.hierarchy = probs, macro_probs, hierarchy
        self.answer, self.threshold, self.texts = answer, threshold, texts
        self.place = {name: i for i, name in enumerate(hierarchy.classes)}

    def macro(self, macro: int) -> str:
        """Draw a macro with its classes; a macro that is one class of its name is that class."""
        name, members = self.hierarchy.macros[macro], self.hierarchy.members[macro]
        if members == (name,):
            return self._leaf(name, name)
        p = float(self.macro_probs[macro])
        on_path = self.answer.macro == name
        lit = self.answer.level == "macro" and on_path
        state = "lit" if lit else "passed" if on_path and self.answer.level == "class" else self._state(p)
        order = sorted(members, key=lambda label: (-self.probs[self.place[label]], label))
        leaves = [self._leaf(label, name) for label in order]
        more = ""
        if len(leaves) > SHOWN + 1:
            rest = "".join(leaves[SHOWN:])
            summary = escape(self.texts("tree_more", n=len(leaves) - SHOWN))
            more = f'<li><details data-node="more:{macro}"><summary>{summary}</summary><ul>{rest}</ul></details></li>'
            leaves = leaves[:SHOWN]
        is_open = " open" if on_path or p >= OPEN else ""
        return (
            f'<li><details data-node="macro:{macro}"{is_open}><summary class="node {state}">{self._face(name, p)}'
            f"</summary><ul>{''.join(leaves)}{more}</ul></details></li>"
        )

    def _leaf(self, label: str, macro: str) -> str:
        p = float(self.probs[self.place[label]])
        best = self.answer.label == label and self.answer.macro == macro
        state = "lit" if best and self.answer.level == "class" else self._state(p)
        title = escape(self.texts("tree_correct", label=label), quote=True)
        return (
            f'<li><button type="button" class="node leaf {state}" data-label="{escape(label, quote=True)}" '
            f'title="{title}">{self._face(label, p)}</button></li>'
        )

    def _state(self, p: float) -> str:
        return "sure" if p >= self.threshold else "unsure"

    def _face(self, name: str, p: float) -> str:
        return (
            f'<span class="name">{escape(name)}</span><span class="track" aria-hidden="true">'
            f'<span class="bar" style="width:{100 * min(p, 1):.1f}%"></span></span>'
            f'<span class="value">{self.texts.percent(p)}</span>'
        )
