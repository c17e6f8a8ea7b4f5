"""Tree and confusion matrix of many classes: folded by macro, every class still in the page."""

import re
from dataclasses import replace

import numpy as np
import pytest

from aisles.experiments.report.changes import class_changes
from aisles.experiments.report.plots.classes import macros_plots, tree_plots
from aisles.experiments.report.render.document import Document, Folded, Plot
from aisles.experiments.report.render.html import html_page
from aisles.experiments.report.render.markdown import markdown_page
from aisles.experiments.report.sections import classes as sections
from aisles.experiments.report.sections.classes import confusion_section, tree_section
from aisles.experiments.runs.reader import read_run
from aisles.hierarchy.hierarchy import Hierarchy


@pytest.fixture
def run(make_run, monkeypatch):
    monkeypatch.setattr(sections, "MANY", 3)
    return read_run(make_run())


def test_the_macros_bars_are_the_sums_of_their_classes(run):
    changes = class_changes(run, "soft")
    drawn = macros_plots(run, changes, "soft")[0].file()
    for macro, name in enumerate(run.hierarchy.macros):
        net = float(changes.net[run.macro_of == macro].sum())
        shown = re.search(rf"{name}, 2 classes: ([^ ]+) images", drawn)
        assert shown is not None and float(shown[1].replace("−", "-")) == pytest.approx(net, abs=0.05)


def test_branches_above_macros_are_drawn_only_where_macros_are_branches(run):
    changes = class_changes(run, "soft")
    cut = replace(run, hierarchy=run.tree.cut(2))
    drawn = macros_plots(cut, changes, "soft")[0].file()
    assert drawn.count("<path") == 3  # two stems and the bar that joins them
    first, second = cut.hierarchy.members
    members = ((first[0], *second[1:]), (*first[1:], second[0]))
    mixed = replace(run, hierarchy=Hierarchy(("A", "B"), tuple(tuple(sorted(m)) for m in members)))
    assert macros_plots(mixed, changes, "soft")[0].file().count("<path") == 0


def test_one_macros_list_holds_its_classes_and_no_other(run):
    drawn = tree_plots(run, class_changes(run, "soft"), "soft", 0)[1].file()
    first = set(run.hierarchy.members[0])
    for name in run.classes:
        assert (f">{name}<" in drawn) == (name in first)


def test_many_classes_are_folded_by_macro_and_all_are_there(run):
    found = (tree_section(run), confusion_section(run))
    folded = [block for section in found for block in section.blocks if isinstance(block, Folded)]
    assert len(folded) == 2 * run.hierarchy.n_macros
    document = Document("t", "v", ("f",), (), found)
    page = html_page(document)
    assert page.count("<details>") == 4 and page.count("<details open") == 2 and page.count("</details>") == 6
    assert all(f">{name}<" in page for name in run.classes)
    assert len(document.metrics) == len({plot.name for plot in document.metrics}) == 1 + 2 + 2 + 2
    assert markdown_page(document).count("\n### ") == 4


def test_the_matrix_of_macros_counts_every_image_once(run):
    plots = [block for block in confusion_section(run).blocks if isinstance(block, Plot)]
    for plot in plots:
        counts = [float(n) for n in re.findall(r"answered as \w+: ([\d.]+) of", plot.drawing.file())]
        assert np.sum(counts) == pytest.approx(len(run.truth))


def test_few_classes_are_drawn_whole(make_run):
    run = read_run(make_run())
    assert not [block for block in tree_section(run).blocks if isinstance(block, Folded)]
