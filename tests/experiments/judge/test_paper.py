"""Runs for a paper: across data sets, as LaTeX, and with their sources."""

import json
import re
import shutil
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from aisles.cli.main import main
from aisles.data_prep.io.errors import DataError
from aisles.experiments.judge.across import combine_runs
from aisles.experiments.judge.citations import citations, known_sources
from aisles.experiments.judge.judgement import compare
from aisles.experiments.judge.latex import result_sentence, result_table, write_latex


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three compared pairs on three sets of images."""
    place = tmp_path_factory.mktemp("sets")
    for number, gain in enumerate((0.05, 0.10, 0.08)):
        rng = np.random.default_rng(number)
        truth = rng.choice(["A", "B", "C_%"], 500)
        said = [np.where(rng.random(500) < accuracy, truth, "A") for accuracy in (0.7, 0.7 + gain)]
        compare(*said, truth=truth, names=["flat", "two_stage"], output=place / f"set{number}")
    return [place / f"set{number}" for number in range(3)]


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_across_weighs_each_sets_difference_and_says_on_how_many_it_rests(runs, tmp_path):
    result = run("report", *runs, "--across", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "This rests on 3 data sets, not on their images. So few say little" in result.stdout
    content = json.loads((tmp_path / "across.json").read_text(encoding="utf-8"))
    combined, sets = content["combined"], content["sets"]
    y = np.array([each["difference"] for each in sets])
    errors = np.array([np.subtract(*each["interval"][::-1]) / (2 * stats.norm.ppf(0.975)) for each in sets])
    weights = 1 / (errors**2 + combined["tau"] ** 2)
    assert combined["mean"] == pytest.approx((weights * y).sum() / weights.sum())
    assert y.min() <= combined["mean"] <= y.max()
    assert (tmp_path / "across.html").exists() and (tmp_path / "across.md").exists()


def test_runs_of_one_set_or_of_different_methods_are_not_combined(runs, tmp_path):
    with pytest.raises(DataError, match="same test images"):
        combine_runs([runs[0], runs[0]])
    with pytest.raises(DataError, match="no comparison of 'hard'. It compares: two_stage"):
        combine_runs(runs, method="hard")
    other = json.loads((runs[1] / "metrics.json").read_text(encoding="utf-8"))
    other["comparisons"][0]["b"] = "hard"
    (tmp_path / "metrics.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(DataError, match="compare different methods"):
        combine_runs([runs[0], tmp_path])
    with pytest.raises(DataError, match="is no finished run"):
        combine_runs([runs[0], tmp_path / "nothing"])


def test_latex_has_the_numbers_of_metrics_json_and_balanced_braces(runs):
    assert run("report", runs[0], "--latex").exit_code == 0
    text = (runs[0] / "report.tex").read_text(encoding="utf-8")
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    (comparison,) = metrics["comparisons"]
    assert f"{100 * comparison['difference']:+.1f} points" in text and "percentile bootstrap interval" in text
    assert f"{100 * comparison['smallest_detectable']:.1f} points would be shown" in text
    assert r"two\_stage" in text and not re.search(r"(?<!\\)_", text)
    assert text.count("{") == text.count("}") and r"\begin{tabular}{lrrrrl}" in text
    assert all(line.count("&") == 5 for line in text.splitlines() if line.endswith(r"\\"))


def test_latex_names_the_interval_and_the_test_that_were_used():
    rng = np.random.default_rng(5)
    truth = rng.choice(["A", "B", "C"], 400)
    tables = [
        np.stack([np.where(rng.random(400) < share, truth, "A") for _ in range(3)]) for share in (0.7, 0.8)
    ]
    several = result_sentence(compare(*tables, truth=truth, names=["flat", "two"]).metrics)
    assert "% interval over images and training seeds" in several and "bootstrap" not in several
    assert "sign-flip test over images, and test over both," in several
    products = np.arange(400) // 40
    few = result_sentence(
        compare(tables[0][0], tables[1][0], truth=truth, product=products, names=["flat", "two"]).metrics
    )
    assert "Student's t interval over products " in few and "sign-flip test over products, " in few


def test_latex_escapes_what_a_name_may_hold(runs):
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    metrics["methods"] = {r"a&b\input{x}": metrics["methods"]["flat"]}
    assert r"a\&b\textbackslash{}input\{x\} & " in result_table(metrics)


def test_latex_of_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no finished run: it has no metrics.json"):
        write_latex(tmp_path)


def test_every_source_is_a_whole_bibtex_entry():
    known = known_sources()
    assert len(known) > 15
    for key, entry in known.items():
        assert entry.startswith("@") and f"{{{key}," in entry and entry.count("{") == entry.count("}")
        assert all(f"{field} = " in entry for field in ("author", "title", "year"))


def test_cite_names_what_a_run_used_and_nothing_else(runs):
    found = {citation.used: citation for citation in citations(runs[0])}
    assert "McNemar's test" in found and "correction for several comparisons" not in found
    assert not any("backbone" in used or "Ward" in used or "methods" in used for used in found)
    assert not found["data set"].bibtex and "CITATION.bib" in found["data set"].note
    result = run("cite", runs[0])
    assert result.exit_code == 0 and "@article{mcnemar1947note" in result.stdout


def test_cite_names_aisles_in_the_version_that_made_the_run(runs, tmp_path):
    first = run("cite", runs[0]).stdout
    assert first.startswith("% aisles\n@software{aisles,\n")
    assert f"version = {{{version('aisles')}}}" in first and "git revision" not in first
    shutil.copytree(runs[0], tmp_path / "run")
    made_with = {"packages": {"aisles": "9.8.7"}, "revision": "0123abc"}
    (tmp_path / "run" / "environment.json").write_text(json.dumps(made_with), encoding="utf-8")
    (entry,) = citations(tmp_path / "run")[0].bibtex
    assert "version = {9.8.7}" in entry and "note = {git revision 0123abc}" in entry
    assert entry.count("{") == entry.count("}")


def test_cite_takes_the_data_sets_own_source_and_the_networks(runs, tmp_path, monkeypatch):
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8")) | {
        "kind": "benchmark",
        "backbone": "efficientnet_lite0 imagenet 224",
        "hierarchy": {"origin": "ward, by silhouette"},
    }
    facts = next(iter(metrics["methods"].values()))
    metrics |= {"methods": dict.fromkeys(("flat", "flat-lda", "soft", "soft:lda"), facts), "seeds": [0, 1, 2]}
    monkeypatch.setattr("aisles.experiments.judge.citations.read_metrics", lambda folder: metrics)
    (tmp_path / "run").mkdir()
    pd.DataFrame({"file_name": ["../photos/A/1.jpg"]}).to_csv(tmp_path / "run" / "manifest.csv", index=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "CITATION.bib").write_text("@misc{own, title={Own}}", encoding="utf-8")
    text = run("cite", tmp_path / "run").stdout
    for key in ("@misc{own", "tan2019efficientnet", "deng2009imagenet", "ward1963grouping"):
        assert key in text
    assert "% methods flat-lda, soft:lda\n@article{friedman1989" in text
    assert "% methods soft, soft:lda\n@inproceedings{yan2015hdcnn" in text
    assert text.count("cochran1964") == 1 and "hiclass" not in text
    (tmp_path / "photos" / "CITATION.bib").rename(tmp_path / "photos" / "curation.json")
    assert "collins2022abo" in run("cite", tmp_path / "run").stdout
