import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.io.errors import DataError
from aisles.experiments.report.comparison import compare_runs, comparison_document, write_comparison


def change_predictions(folder, change) -> None:
    table = pd.read_csv(folder / "predictions.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / "predictions.csv", index=False)


def test_a_run_compared_with_itself_differs_nowhere(make_run):
    first, second = make_run("first"), make_run("second")

    compared = compare_runs([first, second])

    assert [(c.a, c.b) for c in compared.comparisons] == [
        ("first: soft", "second: soft"),
        ("first: flat", "second: flat"),
    ]
    assert all(c.difference == 0 and c.corrected == c.broken == (0, 0) for c in compared.comparisons)


def test_images_are_paired_by_name_whatever_their_order(make_run):
    first, second = make_run("first"), make_run("second")
    change_predictions(second, lambda table: table.iloc[::-1])

    compared = compare_runs([first, second])

    assert all(c.difference == 0 and c.corrected == (0, 0) for c in compared.comparisons)


def test_a_difference_between_runs_is_counted_image_by_image(make_run):
    first, second = make_run("first"), make_run("second")

    def swap(table):
        return table.assign(method=table["method"].map({"flat": "soft", "soft": "flat"}))

    change_predictions(second, swap)
    soft, flat = compare_runs([first, second]).comparisons

    assert flat.difference == 0.1875 and flat.corrected == (3, 2) and flat.broken == (2, 0)
    assert soft.difference == -0.1875 and soft.corrected == (2, 0) and soft.broken == (3, 2)


def test_other_test_images_are_refused_by_name(make_run):
    first, second = make_run("first"), make_run("second")
    change_predictions(second, lambda table: table.replace({"file_name": {"7.png": "8.png"}}))

    with pytest.raises(DataError, match=r"7 agree; only in .*first: .*7\.png.*only in .*second: .*8\.png"):
        compare_runs([first, second])


def test_another_label_of_the_same_image_is_refused(make_run):
    first, second = make_run("first"), make_run("second")

    def relabel(table):
        return table.assign(label=table["label"].where(table["file_name"] != "0.png", "moss"))

    change_predictions(second, relabel)
    with pytest.raises(DataError, match=r"0\.png \(apple\).*0\.png \(moss\)"):
        compare_runs([first, second])


def test_other_images_under_the_same_names_are_refused(make_run):
    first, second, third = (make_run(name, data={"test_images": name[:1]}) for name in ("a1", "b", "a2"))
    assert len(compare_runs([first, third]).comparisons) == 2
    with pytest.raises(DataError, match="same names and labels, but their bytes differ"):
        compare_runs([first, second])


def test_only_seeds_of_both_runs_are_paired(make_run):
    first, second = make_run("first"), make_run("second")
    change_predictions(second, lambda table: table[table["seed"] == "1"])
    for archive in (second / "probabilities").iterdir():
        with np.load(archive) as arrays:
            kept = {name: arrays[name] for name in arrays}
        one = {name: kept[name][1:] for name in ("probs", "val_probs", "macro_probs") if name in kept}
        np.savez(archive, **(kept | one))

    assert {c.n_seeds for c in compare_runs([first, second]).comparisons} == {1}

    change_predictions(second, lambda table: table.assign(seed="7"))
    with pytest.raises(DataError, match="no seed in common"):
        compare_runs([first, second])


def test_one_run_alone_is_no_comparison(make_run):
    with pytest.raises(ValueError, match="at least two runs"):
        compare_runs([make_run()])


def test_the_page_shows_both_runs_and_what_differs(make_run, tmp_path):
    first, second = make_run("one/run"), make_run("two/run")
    (second / "settings.toml").write_text('[comparison]\nprimary = "hie"\n')

    compared, files = write_comparison([first, second], tmp_path / "out")
    page = files.html.read_text(encoding="utf-8")

    assert compared.names == ("one/run", "two/run")
    assert "2 runs on the same 8 test images" in page
    assert '<th scope="row">comparison.primary</th><td class=t>soft</td><td class=t>hie</td>' in page
    assert (tmp_path / "out" / "tables" / "comparisons.csv").is_file()


def test_the_headline_is_one_sentence_about_the_primary_methods(make_run):
    two = comparison_document(compare_runs([make_run("a"), make_run("b")]))
    three = comparison_document(compare_runs([make_run("c"), make_run("d"), make_run("e")]))

    assert (
        two.verdict
        == "No difference shown between soft of b and soft of a: 81.2 % against 81.2 % correct, 0.0 points."
    )
    assert (
        three.verdict == "Of the primary methods of 2 runs, judged against that of c: 2 no difference shown."
    )
    assert two.facts[0].startswith("95 % interval ") and two.verdict not in two.facts[0]
    assert "No difference shown between flat of b and flat of a" in two.facts[1]
