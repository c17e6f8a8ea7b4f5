"""What an installed package registers through entry points, with a distribution of its own on the path."""

import sys
from pathlib import Path

import pytest

from aisles.hierarchy.registry import PluginError, Registry

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
MODULE = "from installed_registry import registry\n\nregistry.add('outside', 'registered')\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a distribution with one entry point of the group `aisles.toys`."""

    def install(target: str, registry: Registry) -> None:
        about = tmp_path / "toys-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[aisles.toys]\noutside = {target}\n")
        (tmp_path / "toys_of_others.py").write_text(MODULE)
        (tmp_path / "installed_registry.py").write_text("registry = None\n")
        monkeypatch.syspath_prepend(tmp_path)
        import installed_registry

        installed_registry.registry = registry

    yield install
    for name in ("installed_registry", "toys_of_others"):
        sys.modules.pop(name, None)


def test_an_entry_point_is_loaded_at_the_first_look_up_and_registers(installed):
    registry: Registry[str] = Registry("toy", "toys", lambda: registry.add("ours", "comes along"))
    installed("toys_of_others", registry)
    assert "toys_of_others" not in sys.modules
    assert list(registry) == ["ours", "outside"] and registry["outside"] == "registered"


def test_an_entry_point_that_can_not_be_loaded_is_named_with_its_group(installed):
    registry: Registry[str] = Registry("toy", "toys")
    installed("toys_of_nobody", registry)
    with pytest.raises(
        PluginError, match="outside = toys_of_nobody of the group aisles.toys can't be loaded"
    ):
        len(registry)


def test_the_groups_are_those_that_the_documentation_names():
    from aisles.experiments.methods.registry import METHODS
    from aisles.experiments.metrics.registry import METRICS
    from aisles.hierarchy.clustering import CLUSTERINGS
    from aisles.hierarchy.rules import RULES
    from aisles.models.backbones.definitions import BACKBONES
    from aisles.models.heads.registry import HEADS

    groups = {f"aisles.{each.kinds}" for each in (METHODS, METRICS, CLUSTERINGS, RULES, HEADS, BACKBONES)}
    assert len(groups) == 6 and all(f"`{group}`" in PAGE for group in groups)
