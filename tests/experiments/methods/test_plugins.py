"""Methods and routing rules from a file outside the package, used in a whole benchmark."""

import json

import numpy as np
import pytest

from aisles.experiments.benchmark.summary import summary
from aisles.experiments.methods.registry import (
    METHODS,
    MethodResult,
    find_method,
    method_names,
    register_method,
)
from aisles.experiments.metrics.registry import METRICS
from aisles.hierarchy.registry import PluginError, load_plugins
from aisles.hierarchy.rules import RULES, parse_rule, register_rule, route

FOREST = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier

import aisles


@aisles.register_method("forest", description="a random forest on the features", role="flat")
def forest(context):
    train, labels = context.rows("train"), context.targets
    probs = {"test": [], "val": []}
    for seed in context.seeds:
        model = RandomForestClassifier(20, random_state=seed).fit(context.features[train], labels[train])
        for split, found in probs.items():
            found.append(model.predict_proba(context.features[context.rows(split)]))
    nodes = sum(tree.tree_.node_count for tree in model.estimators_)
    return aisles.MethodResult(np.stack(probs["test"]), np.stack(probs["val"]), parameters=nodes)
"""
TOP3 = """
import aisles


@aisles.register_metric("top3_accuracy", label="top-3", description="class among the three most probable")
def top3(truth, probs, hierarchy):
    best = probs.argsort(axis=1)[:, -3:]
    return float((best == truth[:, None]).any(axis=1).mean())
"""
MIXED = """
import aisles
from aisles.hierarchy.rule_functions import hie, soft


def share(value):
    if not 0 <= value <= 1:
        raise ValueError(f"mixed needs a share from 0 to 1 (mixed:0.5). Received: {value}.")
    return value


@aisles.register_rule(
    "mixed",
    description="soft and hie, mixed",
    needs=("macro_probs", "within_probs", "flat_probs"),
    check=share,
    example="mixed:0.5",
)
def mixed(macro_probs, within_probs, flat_probs, hierarchy, w):
    first, second = soft(macro_probs, within_probs, hierarchy), hie(flat_probs, macro_probs, hierarchy)
    return w * first + (1 - w) * second
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Write and load plugin files; whatever they register is gone after the test."""
    for registry in (METHODS, RULES, METRICS):
        len(registry)  # ours first
        monkeypatch.setattr(registry, "_known", dict(registry._known))

    def load(**texts):
        files = [tmp_path / f"{name}.py" for name in texts]
        for file, text in zip(files, texts.values(), strict=True):
            file.write_text(text, encoding="utf-8")
        load_plugins(files)

    return load


@pytest.mark.keras
def test_a_random_forest_and_a_mixed_rule_take_part_in_a_benchmark(plugins, tmp_path, drawn_goods, small_run):
    plugins(forest=FOREST, mixed=MIXED, top3=TOP3)
    names = 'comparison.methods=["forest", "mixed:0.5", "hie"]'
    result = small_run(drawn_goods, tmp_path / "run", "comparison.seeds=1", "training.epochs=3", names)
    methods = result.metrics["methods"]
    assert not result.metrics["failed"]
    assert methods["forest"]["what"] == "a random forest on the features"
    assert methods["forest"]["baseline"] == "flat" and methods["forest"]["role"] == "flat"
    assert methods["forest"]["cost"]["head_parameters"] > 20
    judged = {comparison["b"]: comparison["a"] for comparison in result.metrics["comparisons"]}
    assert judged["forest"] == judged["mixed:0.5"] == "flat"
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "a random forest on the features" in page and "soft and hie, mixed" in page
    rows = (tmp_path / "run" / "tables" / "methods.csv").read_text(encoding="utf-8")
    assert "forest" in rows and "mixed:0.5" in rows and "top-3" in rows.splitlines()[0]
    right = methods["forest"]["top3_accuracy"]
    assert (
        len(right) == 1
        and methods["forest"]["accuracy"][0] <= right[0] <= methods["forest"]["top5_accuracy"][0]
    )
    assert "top-3" in page and "top-3: flat " in summary(result)


def test_a_rule_from_outside_is_read_refused_and_computed_like_ours(plugins):
    plugins(mixed=MIXED)
    from aisles.hierarchy.hierarchy import Hierarchy

    shop = Hierarchy(("SEAT", "LIGHT"), (("SOFA", "CHAIR"), ("LAMP",)))
    given = {"macro_probs": [[0.6, 0.4]], "within_probs": [[0.7, 0.3, 1.0]], "flat_probs": [[0.5, 0.3, 0.2]]}
    rule = parse_rule("mixed:0.25")
    assert str(rule) == "mixed:0.25" and "mixed:0.5" in method_names()
    soft, hie = route("soft", hierarchy=shop, **given), route("hie", hierarchy=shop, **given)
    np.testing.assert_allclose(route(rule, hierarchy=shop, **given), 0.25 * soft + 0.75 * hie)
    with pytest.raises(ValueError, match="mixed needs a share from 0 to 1"):
        parse_rule("mixed:2")
    with pytest.raises(ValueError, match="needs a parameter. Write mixed:0.5"):
        parse_rule("mixed")


def test_names_are_taken_once_and_mistakes_are_explained(plugins, tmp_path):
    plugins()
    with pytest.raises(ValueError, match="There is a method 'flat' already"):
        register_method("flat", description="another")(lambda context: None)
    with pytest.raises(ValueError, match="Did you mean 'ensemble'"):
        find_method("ensembel")
    with pytest.raises(ValueError, match="takes no parameter"):
        find_method("ensemble:3")
    with pytest.raises(ValueError, match="is written column:NAME"):
        find_method("column")
    with pytest.raises(ValueError, match="`needs` lists some of"):
        register_rule("odd", description="odd", needs=("probs",))
    with pytest.raises(PluginError, match="no plugin file"):
        load_plugins([tmp_path / "nowhere.py"])
    bad = tmp_path / "bad.py"
    bad.write_text("1 / 0")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load_plugins([bad])


def test_what_a_method_gives_is_checked(plugins):
    plugins()

    class Context:
        seeds = range(2)
        classes = ("a", "b")

        def rows(self, split):
            return np.arange(3)

    def gives(*shape, value=0.5):
        name = f"m{len(METHODS)}"
        table = np.full(shape, value)
        register_method(name, description="x")(lambda context: MethodResult(table, table))
        return find_method(name).fit(Context())  # type: ignore[arg-type]

    assert gives(3, 2).probs.shape == (2, 3, 2)  # one answer for every seed
    assert gives(2, 3, 2).probs.dtype == np.float32
    with pytest.raises(ValueError, match=r"of shape \(n_seeds, 3, 2\)"):
        gives(2, 3, 3)
    with pytest.raises(ValueError, match="don't sum to 1"):
        gives(3, 2, value=0.7)


def test_every_method_tells_what_it_is():
    for name in (*METHODS, *RULES):
        description = METHODS[name].description if name in METHODS else RULES[name].description
        assert 10 < len(description) < 120, name
    assert json.dumps(sorted(METHODS))
