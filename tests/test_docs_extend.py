"""The examples of docs/extend.md, as printed: each is a plugin file, and one benchmark uses them all."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from aisles.experiments.methods.registry import METHODS
from aisles.experiments.metrics.registry import METRICS
from aisles.hierarchy.clustering import CLUSTERINGS
from aisles.hierarchy.registry import load_plugins
from aisles.hierarchy.rules import RULES
from aisles.models.backbones.definitions import BACKBONES
from aisles.models.heads.registry import HEADS

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
pytestmark = pytest.mark.keras


@pytest.fixture
def examples(tmp_path, monkeypatch):
    for registry in (METHODS, METRICS, CLUSTERINGS, RULES, HEADS, BACKBONES):
        len(registry)
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    files = [tmp_path / f"example{number}.py" for number in range(len(blocks))]
    for file, block in zip(files, blocks, strict=True):
        file.write_text(block, encoding="utf-8")
    load_plugins(files)
    return files


def test_every_kind_is_shown_once_and_one_benchmark_uses_them_all(examples, tmp_path, image_folder):
    import aisles

    assert len(examples) == 6
    added = [(METHODS, "forest"), (RULES, "mixed"), (BACKBONES, "tiny"), (HEADS, "centroid")]
    assert all(
        name in registry
        for registry, name in [*added, (METRICS, "top3_accuracy"), (CLUSTERINGS, "confusions")]
    )
    result = aisles.benchmark(
        image_folder,
        tmp_path / "run",
        backbone="tiny",
        linkage="confusions",
        macros=2,
        seeds=1,
        methods=["forest", "mixed:0.5", "soft:centroid"],
        epochs=3,
        cache=tmp_path / "cache",
    )
    methods = result.metrics["methods"]
    assert not result.metrics["failed"] and {"forest", "mixed:0.5", "soft:centroid"} <= set(methods)
    assert methods["soft:centroid"]["searched"] == 2
    assert all(np.isfinite(method["top3_accuracy"]).all() for method in methods.values())
    assert len(json.loads((tmp_path / "run" / "hierarchy.json").read_text())["macros"]) == 2
    assert "a random forest on the features" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
