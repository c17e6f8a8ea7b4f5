"""A result that is committed, and the table made of it."""

import json
from pathlib import Path

import pytest

from experiments.lab.readme_table import (
    BEGIN,
    END,
    FOUND_BY_SEARCH,
    IN_WORDS,
    main,
    note,
    short_table,
    table,
    write_between,
)

pytestmark = pytest.mark.keras


def test_a_kept_result_makes_the_same_table_as_its_run(full_run, tmp_path):
    kept, readme = tmp_path / "results" / "tiny.json", tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nthe last one\n{END}\nafter\n", encoding="utf-8")
    main(["keep", str(full_run), str(kept)])
    main(["write", str(kept), str(readme)])
    for name in ("tables/methods.csv", "plots/error-budget.svg"):
        assert (kept.with_suffix("") / name).read_bytes() == (full_run / name).read_bytes()
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| method") and text.endswith(f"{END}\nafter\n")
    assert "the last one" not in text
    metrics = json.loads((full_run / "metrics.json").read_text())
    for name, of_method in metrics["methods"].items():
        if of_method["role"] != "control":
            assert f"| {name} | " in text and f"{of_method['accuracy_mean']:.3f}" in text
    assert "random macros" in text
    assert metrics["verdict"] in (kept.with_suffix(".md")).read_text(encoding="utf-8")
    result, said = json.loads(kept.read_text()), kept.with_suffix(".md").read_text(encoding="utf-8")
    assert table(result) in text and "count products and training seeds" in " ".join(text.split())
    assert FOUND_BY_SEARCH in said  # a discriminant took part
    assert "(p = " not in said[said.index("| cut |") :] and "On test images the mass was" in said
    without = {name: f for name, f in result["methods"].items() if name != "discriminant"}
    assert FOUND_BY_SEARCH not in note(result | {"methods": without}, "tiny")
    one_test_image_each = result | {"n_products": result["n_test"]}
    assert "count products and training seeds" in table(one_test_image_each)
    unknown = result["data"] | {"products": sum(result["data"]["images"].values())}
    alone = table(one_test_image_each | {"data": unknown})
    assert "count images (products are not known)" in alone


def test_a_file_without_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="table:start"):
        write_between(tmp_path / "README.md", "text")


def test_the_readme_holds_the_table_of_the_committed_result():
    root = Path(__file__).parents[3]
    kept = json.loads((root / "experiments/lab/results/grocery.json").read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{short_table(kept)}\n{END}" in readme


def test_the_short_table_names_methods_by_words_with_the_numbers_of_the_whole_one():
    root = Path(__file__).parents[3]
    kept = json.loads((root / "experiments/lab/results/grocery.json").read_text(encoding="utf-8"))
    rows = [line.split(" | ") for line in short_table(kept).splitlines()[2:9]]
    whole = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in table(kept).splitlines()[2:14]}
    names = ("hie:lda", "implied:lda", "flat-lda", "soft:lda", "ensemble", "flat", "soft")
    assert [row[0].strip("| ") for row in rows] == [IN_WORDS[name] for name in names]
    for row, name in zip(rows, names, strict=True):
        of_method = whole[name]
        assert row[1] == f"{100 * float(of_method[2][:5]):.1f} %"
        assert row[2] == of_method[3] and row[3] == of_method[4] and row[4] == of_method[5]


def test_the_committed_result_tells_how_a_design_was_found_and_judges_against_the_best_flat():
    folder = Path(__file__).parents[3] / "experiments" / "lab" / "results"
    result = json.loads((folder / "grocery.json").read_text(encoding="utf-8"))
    said = (folder / "grocery.md").read_text(encoding="utf-8")
    assert FOUND_BY_SEARCH in said
    strongest = result["best_flat"]["name"]
    assert strongest == max(result["best_flat"]["val_accuracy"], key=result["best_flat"]["val_accuracy"].get)
    judged = {comparison["b"] for comparison in result["best_flat"]["comparisons"]}
    assert judged == {name for name, m in result["methods"].items() if m["role"] == "two-stage"}
    assert f"against {strongest}" in said or f"than {strongest}" in said
    for comparison in result["controls"]["hierarchies"]:
        assert f"- {comparison['sentence']}\n" in said


def test_the_committed_run_has_one_oracle_router_for_the_same_sub_models():
    path = Path(__file__).parents[3] / "experiments" / "lab" / "results" / "grocery.json"
    methods = json.loads(path.read_text(encoding="utf-8"))["methods"]
    oracles = {
        name: [seed["oracle_router"] for seed in metrics["ceilings"]] for name, metrics in methods.items()
    }
    assert oracles["soft"] == oracles["hard"] == oracles["implied"]
    assert oracles["soft:lda"] == oracles["implied:lda"]
    assert oracles["flat"] == oracles["masked"] == oracles["hie"]
