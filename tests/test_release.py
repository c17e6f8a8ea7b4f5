"""What a release needs in several places is the same in all of them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_version_stands_alike_in_package_citation_and_changes():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    changed = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)

    assert cited is not None and changed is not None
    assert version == cited[1] == changed[1]


@pytest.mark.parametrize(
    "path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem
)
def test_an_issue_form_asks_for_something_and_each_field_is_named_once(path):
    yaml = pytest.importorskip("yaml")
    form = yaml.safe_load(path.read_text("utf-8"))

    names = [field["id"] for field in form["body"]]
    assert {"name", "description", "labels", "body"} <= set(form) and len(names) == len(set(names))
    assert any(field.get("validations", {}).get("required") for field in form["body"])
    assert all(
        field["type"] in {"input", "textarea"} and field["attributes"]["label"] for field in form["body"]
    )
