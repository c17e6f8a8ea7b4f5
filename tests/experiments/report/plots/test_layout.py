"""No two texts of a drawing meet, and none leaves it: few and many classes, long and wide names, phone and screen."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from aisles.experiments.report.changes import ClassChanges
from aisles.experiments.report.plots.classes import confusion_plots, macros_plots, tree_plots
from aisles.experiments.report.plots.cost import CostPoint, cost_plot
from aisles.experiments.report.plots.drawing import WIDE, Box, Drawing, fitted, text_width
from aisles.experiments.report.plots.trust import Curve, chart
from aisles.experiments.report.plots.verdict import BudgetShares, budget_plots, difference_plots
from aisles.experiments.report.render.document import Document, Plot, Section
from aisles.experiments.report.render.html import html_page
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import ClassEmbeddings
from aisles.hierarchy.hierarchy import Hierarchy

SIZES = (5, 10, 30, 81, 200)
METHODS = 30
"""More methods than any run has."""
NAMES = (
    "God-Morgon-Orange-Red-Grapefruit-Juice",
    "MWMWMWMWMWMWMWMWMWMWMWMWMWMWMWMWMWMWMWMW",
    "果汁果汁果汁果汁果汁果汁果汁果汁果汁果汁",
    "Kiwi",
    "a name of words with blanks, (brackets) and % signs",
)


def names(n: int) -> list[str]:
    return sorted(f"{NAMES[i % len(NAMES)]} {i:03d}" for i in range(n))


def drawings(n: int) -> Iterator[tuple[str, Drawing, Drawing | None]]:
    """Return every kind of drawing of a report, for n classes or methods."""
    rng = np.random.default_rng(n)
    classes, methods = names(n), names(min(n, METHODS))
    run = grouped(classes, rng, with_tree=True)
    counts = ("support", "recall_flat", "recall", "precision", "f1", "corrected", "broken", "confused")
    changes = ClassChanges(
        **{key: rng.integers(0, 900, n).astype(float) for key in counts}, confused_with=np.zeros(n, int)
    )
    yield ("tree", *tree_plots(run, changes, methods[0]))
    yield ("list", *tree_plots(grouped(classes, rng, with_tree=False), changes, methods[0]))
    yield ("macros", *macros_plots(run, changes, methods[0]))
    yield ("confusion", *confusion_plots(run, rng.integers(0, 120, (n, n)).astype(float), methods[0]))
    words = ("better", "worse", "equivalent", "no difference shown")
    judged = [
        {
            "a": "flat", "b": name, "difference": middle, "interval": [middle - 0.013, middle + 0.012],
            "difference_per_seed": [middle, middle + 0.001], "margin": 0.01, "verdict": words[i % 4],
        }
        for i, (name, middle) in enumerate(zip(methods, rng.normal(0, 0.02, len(methods)).tolist(), strict=True))
    ]  # fmt: skip
    yield ("difference", *difference_plots(judged, classes[0], primary=methods[-1]))
    shares = rng.dirichlet((8, 2, 1), len(methods)).tolist()
    yield (
        "budget",
        *budget_plots([BudgetShares(name, *parts) for name, parts in zip(methods, shares, strict=True)]),
    )
    points = [
        CostPoint(
            name,
            float(rng.choice([1, 1, 2, 6, 6.1])),
            float(rng.normal(0.75, 0.01)),
            0.004,
            "other",
            i % 2 == 0,
        )
        for i, name in enumerate(methods)
    ]
    yield "cost", cost_plot(points, "images seen in training by all of the networks together"), None
    curves = [Curve(name, [0, 50, 100], rng.random(3), "two") for name in methods[:5]]
    yield (
        "chart",
        chart(curves, "T", "D", x_name="images answered, the surest first, %", y_name="wrong, %"),
        None,
    )


def grouped(classes: list[str], rng: np.random.Generator, *, with_tree: bool) -> SimpleNamespace:
    n = len(classes)
    macro_of = np.sort(rng.integers(0, max(2, n // 4), n))
    macro_of = np.unique(macro_of, return_inverse=True)[1]
    vectors = rng.normal(size=(n, 8)) + 3 * np.eye(macro_of.max() + 1, 8)[macro_of]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    members = [
        [name for name, macro in zip(classes, macro_of, strict=True) if macro == m]
        for m in range(macro_of.max() + 1)
    ]
    tree = cluster_classes(ClassEmbeddings(tuple(classes), unit)) if with_tree else None
    return SimpleNamespace(
        classes=tuple(classes),
        macro_of=macro_of,
        order=np.arange(n),
        tree=tree,
        hierarchy=Hierarchy(tuple(f"macro {m}" for m in range(len(members))), tuple(map(tuple, members))),
    )


def meeting(boxes: list[Box], slack: float = 0.0) -> list[tuple[Box, Box]]:
    """Return the pairs of boxes that share more than `slack` units both across and down."""
    less = [
        Box(b.left + slack / 2, b.top + slack / 2, b.right - slack / 2, b.bottom - slack / 2) for b in boxes
    ]
    ordered = sorted(less)
    found = []
    for i, box in enumerate(ordered):
        for other in ordered[i + 1 :]:
            if other.left >= box.right:
                break
            if box.meets(other):
                found.append((box, other))
    return found


@pytest.mark.parametrize("n", SIZES)
def test_no_two_texts_of_a_drawing_meet_and_none_leaves_it(n):
    for kind, narrow, wide in drawings(n):
        for drawing in filter(None, (narrow, wide)):
            assert not meeting(drawing.boxes), f"{kind}, {drawing.width:g} units, {n} classes"
            assert min(box.left for box in drawing.boxes) >= -1, kind
            assert max(box.right for box in drawing.boxes) <= drawing.width + 1, kind
            assert max(box.bottom for box in drawing.boxes) <= drawing.height + 1, kind


@pytest.mark.parametrize("n", [5, 10, 15])
def test_matrices_of_few_classes_take_half_a_screen_and_stand_beside_each_other(n):
    run, counts = grouped(names(n), np.random.default_rng(n), with_tree=False), np.full((n, n), 7.5)
    plots = tuple(Plot(f"c{i}", "", *confusion_plots(run, counts, "flat")) for i in range(2))

    page = html_page(Document("T", "V", (), (), (Section("s", "S", plots),)))

    assert all(plot.wide is not None and plot.wide.width <= WIDE / 2 for plot in plots)
    assert page.count('<div class="beside">') == 1 and ">8</text>" in page  # halves are rounded upwards


@pytest.mark.parametrize("n", [5, 12, 30])
def test_every_point_of_cost_has_its_name_beside_it(n):
    points = [CostPoint(f"method-{i}", 1.0 + i % 3, 0.7 + 0.001 * i, 0.0, "other") for i in range(n)]

    page = cost_plot(points, "heads").file()

    assert all(f">{point.name}</text>" in page for point in points)


def test_a_name_that_is_cut_stands_in_full_in_its_hint():
    drawing = Drawing(100, 20, "T", "D")
    drawing.text(0, 10, "God-Morgon-Orange-Red-Grapefruit-Juice", room=60)

    assert "<title>God-Morgon-Orange-Red-Grapefruit-Juice</title>God" in drawing.file()
    assert drawing.boxes[0].right <= 60


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_name_takes_no_more_than_its_room(name):
    assert text_width(fitted(name, 70, 11), 11) <= 70
    assert fitted(name, 1000, 11) == name


BOXES = """() => [...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length).map(svg => {
  const unit = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll('text')].map(text => {
    const box = text.getBoundingClientRect();
    return [box.left / unit, box.top / unit, box.right / unit, box.bottom / unit, text.textContent];
  });
})"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("n", [*SIZES[:-1], pytest.param(SIZES[-1], marks=pytest.mark.slow)])
def test_no_two_texts_meet_in_a_browser(browser, n, width):
    """A browser's boxes hold the room above and below letters, too: a quarter of a line may be shared.

    What can be zoomed into is looked at zoomed in, where it is read.
    """
    plots = tuple(
        Plot(kind, "", narrow, wide, zoomable=wide is None and kind == "confusion")
        for kind, narrow, wide in drawings(n)
    )
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_content(html_page(Document("T", "V", ("F",), (), (Section("s", "S", plots),))))

    page.evaluate("document.querySelectorAll('input.z4').forEach(zoom => zoom.click())")
    found = page.evaluate(BOXES)
    wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.close()

    assert len(found) == len(plots) and wider <= 0
    for kind, boxes in zip((plot.name for plot in plots), found, strict=True):
        assert not meeting([Box(*box[:4]) for box in boxes], slack=4.0), (kind, n, width)
