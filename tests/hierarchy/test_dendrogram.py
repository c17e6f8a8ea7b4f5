"""The image of the tree: files, colors, legend, and odd names."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from PIL import Image

from aisles.hierarchy import dendrogram
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.dendrogram import MIXED, PALETTE, draw_dendrogram, macro_color
from aisles.hierarchy.embeddings import ClassEmbeddings
from aisles.hierarchy.hierarchy import Hierarchy


def some_tree(names, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(len(names), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return cluster_classes(ClassEmbeddings(tuple(sorted(names)), vectors))


TREE = some_tree([f"CLASS_{i:02d}" for i in range(9)])


def branch_colors(figure):
    """Collect the colors of all branches."""
    lines = next(c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    return {to_hex(color) for color in np.asarray(lines.get_edgecolor())}


def test_one_path_gives_svg_and_png_and_nothing_else(tmp_path):
    written = draw_dendrogram(TREE, TREE.cut(3), tmp_path / "tree.v1")
    assert [path.name for path in written] == ["tree.v1.svg", "tree.v1.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree.v1.png", "tree.v1.svg"]
    assert "<svg" in written[0].read_text()[:1000]
    with Image.open(written[1]) as image:
        assert image.width == 1500


def test_the_same_tree_gives_the_same_svg_without_a_date(tmp_path):
    one, other = (draw_dendrogram(TREE, TREE.cut(3), [tmp_path / f"{i}.svg"])[0].read_bytes() for i in "ab")
    assert one == other
    assert b"dc:date" not in one


def test_branches_take_their_macros_color_and_joints_of_several_are_gray():
    hierarchy = TREE.cut(4)
    figure = dendrogram._figure(TREE, hierarchy)
    assert branch_colors(figure) == {color.lower() for color in (*PALETTE[:4], MIXED)}


def test_the_legend_numbers_names_and_sizes():
    hierarchy = TREE.cut(4)
    figure = dendrogram._figure(TREE, hierarchy)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        f"{i + 1}  {name} ({len(members)})"
        for i, (name, members) in enumerate(zip(hierarchy.macros, hierarchy.members, strict=True))
    ]
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(numbers) == ["1", "2", "3", "4"], "each macro's stem carries its number"


def test_classes_are_listed_in_leaf_order():
    axes = dendrogram._figure(TREE, TREE.cut(4)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [TREE.classes[i] for i in TREE.leaves]


def test_a_cut_is_lined_and_a_persons_own_hierarchy_is_not():
    own = Hierarchy(("ODD", "EVEN"), (TREE.classes[::2], TREE.classes[1::2]))
    lined, unlined = (len(dendrogram._figure(TREE, h).axes[0].lines) for h in (TREE.cut(4), own))
    assert (lined, unlined) == (1, 0)


def test_pages_grow_with_the_classes():
    heights = [
        dendrogram._figure(t, t.cut(3)).get_figheight()
        for t in (some_tree([str(i) for i in range(n)]) for n in (10, 81))
    ]
    assert heights[1] - heights[0] == pytest.approx(71 * 0.185)


def test_twelve_colors_differ_for_the_color_blind():
    assert len(set(PALETTE)) == 12 and macro_color(12) == PALETTE[0]
    linear = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE]) ** 2.2
    # Red-blind, green-blind vision: Vienot, Brettel and Mollon (1999), on linear RGB.
    for matrix in (
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ):
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[1:] - seen[:-1], axis=1)
        assert apart.min() > 0.15, "neighbors in the tree are told apart"


def test_odd_names_are_drawn_as_they_are(tmp_path):
    tree = some_tree(["$x_1$", "_hidden", "椅子", "a&b <c>"])
    path = draw_dendrogram(tree, tree.cut(2), tmp_path / "odd names é")[0]
    assert re.search("a&amp;b &lt;c&gt;", path.read_text(encoding="utf-8"))


def test_other_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"same classes. Only in one: \['CLASS_00'\]"):
        draw_dendrogram(TREE, Hierarchy(("A",), (TREE.classes[1:],)), tmp_path / "tree")


def test_a_class_in_two_macros_cannot_have_one_color(tmp_path):
    with pytest.raises(ValueError, match="exactly one macro"):
        draw_dendrogram(TREE, Hierarchy(("A", "B"), (TREE.classes, TREE.classes[:1])), tmp_path / "tree")


def test_importing_the_module_does_not_load_matplotlib():
    code = "import sys, aisles.hierarchy.dendrogram; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_control_characters_in_names_leave_valid_xml(tmp_path):
    names = ["a\x0bb", "c\x1b[31m", "d\x00", "e\ufffe", "f\ud800", "g -- <h> & i", "j\x9b", "k\u202el"]
    tree = some_tree(names)
    hierarchy = Hierarchy(("m\x07", "n\x1b"), (tree.classes[:3], tree.classes[3:]))
    path, _ = draw_dendrogram(tree, hierarchy, tmp_path / "tree")
    ElementTree.parse(path)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", path.read_text(encoding="utf-8"))
