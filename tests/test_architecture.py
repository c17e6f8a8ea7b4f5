"""Who may import whom, what is shipped, and what importing costs."""

import ast
import configparser
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "data_prep": set(),
    "hierarchy": set(),
    "models": {"data_prep", "hierarchy"},
    "experiments": {"data_prep", "hierarchy", "models"},
    "api": {"data_prep", "hierarchy", "models", "experiments"},
}
ONLY_IN = {
    "keras": ("models/", "experiments/lab/"),
    "tensorflow": ("models/", "experiments/lab/"),
    "click": ("api/cli/", "experiments/lab/"),
    "gradio": ("api/demo/",),
    "pickle": ("models/backbones/torch_file.py",),
}
HEAVY = ("tensorflow", "keras", "sklearn", "pandas", "scipy", "matplotlib", "numpy", "PIL", "pydantic")
SOURCES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imports(source: str, place: Path) -> list[tuple[str, bool]]:
    """List what a module imports, as names from our packages or from outside, and whether at its top level."""
    found = []
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    package = ["aisles", *(part for part in place.parent.parts if part != "api")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(_of_ours(name), id(node) in top) for name in names]
    return found


def _of_ours(name: str) -> str:
    """Return `models.heads...` for `aisles.models.heads.variants...`, and `api...` for whatever else is in `aisles`."""
    first, _, rest = name.partition(".")
    if first != "aisles":
        return name
    return rest if rest.split(".")[0] in ALLOWED else f"api.{rest}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    assert not forbidden(path.read_text(encoding="utf-8"), path.relative_to(ROOT))


def forbidden(source: str, place: Path) -> list[str]:
    """List the imports of our own that a module at `place` may not have."""
    package = place.parts[0]
    firsts = [(name.split(".")[0], name) for name, _ in imports(source, place)]
    return [name for first, name in firsts if first in ALLOWED and first not in {package, *ALLOWED[package]}]


@pytest.mark.parametrize(
    "line",
    [
        "from .. import models",
        "from ..models import heads",
        "from ..models.heads import VARIANTS",
        "import aisles.experiments.benchmark.run",
        "from aisles import load",
        "from aisles.cli.main import main",
        "import aisles.cli.main",
        "from ..cli import main",
        "import aisles",
    ],
)
def test_a_forbidden_import_is_seen_in_every_spelling(line):
    assert forbidden(line, Path("hierarchy/rules.py"))
    assert not forbidden("from .hierarchy import Hierarchy\nimport numpy as np", Path("hierarchy/rules.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_where_they_belong(path):
    place = path.relative_to(ROOT).as_posix()
    for name, at_top in imports(path.read_text(encoding="utf-8"), path.relative_to(ROOT)):
        first = name.split(".")[0]
        if first in ONLY_IN:
            assert place.startswith(ONLY_IN[first]), f"{place} imports {name}"
        if first == "matplotlib":
            assert not at_top, f"{place} imports matplotlib at its top"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_shipped_imports_the_installed_package_and_never_the_lab(path):
    place = path.relative_to(ROOT)
    if place.parts[:2] == ("experiments", "lab"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        for name in names:
            assert name.split(".")[0] not in ALLOWED, f"{place} imports {name} of the checkout"
            assert not name.startswith("aisles.experiments.lab.") and name != "aisles.experiments.lab"


def test_every_package_is_listed_for_shipping():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    folders = {folder for folder in folders if folder.parts[:2] != ("experiments", "lab")}
    names = {".".join(["aisles", *(part for part in folder.parts if part != "api")]) for folder in folders}
    assert listed == names


def test_no_module_is_called_after_nothing():
    forbidden = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
    assert not [path for path in SOURCES if path.stem in forbidden or path.parent.name in forbidden]
    assert not (ROOT / "__init__.py").exists() and not (ROOT / "conftest.py").exists()


def loaded_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def test_importing_aisles_loads_nothing_heavy():
    assert loaded_after("import aisles").isdisjoint(HEAVY)


def test_help_loads_nothing_heavy():
    code = "from aisles.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(code).isdisjoint(HEAVY)


def test_public_names_are_sorted_exist_and_stand_in_the_readme():
    import aisles

    assert list(aisles.__all__) == sorted(aisles.__all__)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in aisles.__all__:
        assert getattr(aisles, name) is not None
        assert f"aisles.{name}" in readme, f"the README lacks aisles.{name}"
    checked = ast.parse((ROOT / "api" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in checked.body if isinstance(node, ast.If))
    mirrored = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert mirrored == set(aisles.__all__)


def test_an_unknown_public_name_is_an_attribute_error():
    import aisles

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aisles.nothing


def test_the_version_stands_in_one_place():
    import aisles

    number = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert aisles.__version__ == number
    assert not [path for path in SOURCES if f'"{number}"' in path.read_text(encoding="utf-8")]
