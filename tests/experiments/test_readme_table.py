"""A result that is committed, and the table made of it."""

import json

import pytest

from aisles.experiments.readme_table import BEGIN, END, main, table, write_between

pytestmark = pytest.mark.keras


def test_a_kept_result_makes_the_same_table_as_its_run(full_run, tmp_path):
    kept, readme = tmp_path / "results" / "tiny.json", tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nthe last one\n{END}\nafter\n", encoding="utf-8")
    main(["keep", str(full_run), str(kept)])
    main(["write", str(kept), str(readme)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| contestant") and text.endswith(f"{END}\nafter\n")
    assert "the last one" not in text
    metrics = json.loads((full_run / "metrics.json").read_text())
    for name, figures in metrics["contestants"].items():
        if figures["role"] != "control":
            assert f"| {name} | " in text and f"{figures['accuracy_mean']:.3f}" in text
    assert "random macros" in text
    assert metrics["verdict"] in (kept.with_suffix(".md")).read_text(encoding="utf-8")
    assert table(json.loads(kept.read_text())) in text


def test_a_file_without_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="table:start"):
        write_between(tmp_path / "README.md", "text")
