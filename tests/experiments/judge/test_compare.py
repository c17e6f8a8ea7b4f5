"""Predictions made anywhere: joined by name, judged as scipy and statsmodels judge, refused where they don't fit."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from statsmodels.stats.contingency_tables import mcnemar

from aisles.cli.main import main
from aisles.data_prep.io.errors import DataError
from aisles.experiments.judge.judgement import compare
from aisles.experiments.stats.verdict import compare_family
from aisles.hierarchy.hierarchy import Hierarchy

WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
MACROS = {"low": ("zero", "one", "two", "three", "four"), "high": ("five", "six", "seven", "eight", "nine")}


@pytest.fixture(scope="module")
def digits():
    """Truth, names and the probabilities of two models that scikit-learn alone trained."""
    x, y = load_digits(return_X_y=True)
    names = np.array([f"folder/{i}.png" for i in range(len(y))])
    learned, test, y_learned, truth, _, test_names = train_test_split(
        x, WORDS[y], names, test_size=0.3, random_state=0
    )
    models = {"bayes": GaussianNB(), "logistic": LogisticRegression(C=1e-3, max_iter=2000)}
    tables = {}
    for seed, (name, model) in enumerate(models.items()):
        probs = model.fit(learned, y_learned).predict_proba(test)
        table = pd.DataFrame(probs, columns=model.classes_)
        table.insert(0, "file_name", test_names)
        table.insert(1, "truth", truth)
        tables[name] = table.sample(frac=1, random_state=seed)
    return tables


def answers(name="a", seed=0, n=400, accuracy=0.8, classes=("CHAIR", "LAMP", "RUG", "SOFA")):
    rng = np.random.default_rng(7)
    truth = rng.choice(classes, n)
    wrong = np.random.default_rng(seed)
    said = np.where(wrong.random(n) < accuracy, truth, wrong.choice(classes, n))
    return pd.DataFrame({"file_name": [f"{i}.jpg" for i in range(n)], "truth": truth, "answer": said})


def in_order(tables):
    first, second = (table.sort_values("file_name").reset_index(drop=True) for table in tables.values())
    classes = first.columns[2:]
    said = [classes.to_numpy()[table[classes].to_numpy().argmax(1)] for table in (first, second)]
    return first["truth"].to_numpy(), said, first[classes].to_numpy(), list(classes)


def test_two_files_of_scikit_learn_are_judged_as_statsmodels_and_scikit_learn_judge(digits, tmp_path):
    for name, table in digits.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    result = CliRunner().invoke(main, ["compare", *(str(tmp_path / f"{n}.csv") for n in digits), "--json"])
    assert result.exit_code == 0, result.output
    metrics = json.loads(result.stdout)
    truth, (bayes, logistic), probs, classes = in_order(digits)
    a, b = bayes == truth, logistic == truth
    cells = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    (comparison,) = metrics["comparisons"]
    assert comparison["difference"] == pytest.approx(b.mean() - a.mean())
    assert comparison["p_value"] == pytest.approx(mcnemar(cells, exact=True).pvalue)
    assert comparison["corrected"] == [(~a & b).sum()] and comparison["broken"] == [(a & ~b).sum()]
    error = np.sqrt(((b * 1.0 - a) - (b.mean() - a.mean())).var() / len(a))
    assert np.subtract(*comparison["interval"][::-1]) == pytest.approx(2 * 1.96 * error, rel=0.06)
    found = metrics["methods"]["bayes"]
    assert found["balanced_accuracy"] == [pytest.approx(balanced_accuracy_score(truth, bayes))]
    assert found["macro_f1"] == [pytest.approx(f1_score(truth, bayes, average="macro"))]
    assert found["calibration"]["before"]["nll"] == [
        pytest.approx(log_loss(truth, probs, labels=classes), rel=1e-5)
    ]
    assert comparison["verdict"] == "better"


def test_comparing_loads_no_tensorflow(digits, tmp_path):
    for name, table in digits.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    code = (
        "import sys\nfrom aisles.cli.main import main\ntry:\n"
        "    main(['compare', 'bayes.csv', 'logistic.csv', '--output', 'run'])\nexcept SystemExit as end:\n"
        "    assert not end.code\nprint([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_three_systems_with_seeds_and_products_are_judged_by_product_and_seed_and_corrected(tmp_path):
    rng = np.random.default_rng(3)
    n, seeds = 240, (11, 12, 13)
    truth, products = rng.choice(["A", "B", "C"], n), np.repeat([f"P{i}" for i in range(n // 4)], 4)
    right, files = {}, []
    for name, accuracy in (("one", 0.6), ("two", 0.75), ("three", 0.62)):
        right[name] = rng.random((3, n)) < accuracy
        said = np.where(right[name], truth, np.where(truth == "A", "B", "A"))
        parts = [
            pd.DataFrame({"id": np.arange(n), "label": truth, "item": products, "run": seed, "answer": row})
            for seed, row in zip(seeds, said, strict=True)
        ]
        files.append(tmp_path / f"{name}.csv")
        pd.concat(parts).sample(frac=1, random_state=n).to_csv(files[-1], index=False)
    judged = compare(*files, product="item", seed="run", baseline="three")
    assert [(c.a, c.b) for c in judged.comparisons] == [("three", "one"), ("three", "two")]
    gains = right["two"].mean(0) - right["three"].mean(0)
    comparison = judged.comparisons[1]
    assert comparison.difference == pytest.approx(gains.mean()) and comparison.n_products == 60
    assert comparison.difference_per_seed == pytest.approx(
        tuple((right["two"] * 1.0 - right["three"]).mean(1))
    )
    sums = gains.reshape(-1, 4).sum(1)  # the sign-flip test by brute force
    flips = np.random.default_rng(0).choice([-1, 1], (20_000, len(sums))) @ sums
    assert comparison.p_value >= (np.abs(flips) >= abs(sums.sum()) - 1e-9).mean() - 0.003  # images alone
    assert all(c.p_corrected >= c.p_value for c in judged.comparisons)
    pairs = [("three", "one"), ("three", "two")]
    from_arrays = compare_family(pairs, right, products)  # never written, shuffled and joined
    for ours, theirs in zip(judged.comparisons, from_arrays, strict=True):
        assert ours.verdict == theirs.verdict and ours.mcnemar == theirs.mcnemar
        assert ours.p_value == pytest.approx(theirs.p_value, rel=1e-6)
        assert ours.p_corrected == pytest.approx(theirs.p_corrected, abs=0.01)
        assert ours.interval == pytest.approx(theirs.interval, abs=0.005)
    assert set(judged.table.index) == {"one", "two", "three"}


def test_the_order_of_rows_and_the_kind_of_file_change_nothing(digits, tmp_path):
    usual = compare(digits)
    turned = {name: table.iloc[::-1] for name, table in digits.items()}
    bayes, logistic = turned.values()
    bayes.rename(columns=lambda c: f"p:{c}" if c in WORDS else c).to_parquet(tmp_path / "bayes.parquet")
    np.savez(
        tmp_path / "logistic.npz",
        file_name=logistic["file_name"].to_numpy(str),
        truth=logistic["truth"].to_numpy(str),
        probs=logistic.iloc[:, 2:].to_numpy(),
        classes=logistic.columns[2:].to_numpy(str),
    )
    other = compare(tmp_path / "bayes.parquet", tmp_path / "logistic.npz")
    for found in (compare(turned), other):
        assert found.comparisons == usual.comparisons
        for name, facts in usual.metrics["methods"].items():
            again = found.metrics["methods"][name]
            for key in ("ece", "nll", "brier"):
                expected = facts["calibration"]["before"][key]
                assert again["calibration"]["before"][key] == pytest.approx(expected, rel=1e-4)


def test_arrays_are_judged_as_files_are(digits):
    truth, said, probs, classes = in_order(digits)
    by_name = compare(digits)
    arrays = compare(probs, said[1], truth=truth, classes=classes, names=["bayes", "logistic"])
    assert arrays.comparisons == by_name.comparisons
    numbers = compare(
        *(np.searchsorted(WORDS[np.argsort(WORDS)], row) for row in said),
        truth=np.searchsorted(np.sort(WORDS), truth), names=["bayes", "logistic"],
    )  # fmt: skip
    assert numbers.comparisons == by_name.comparisons
    products = np.repeat(np.arange(len(truth) // 2), 2)
    grouped = compare(*said, truth=truth, product=products)
    assert grouped.comparisons[0].n_products == len(truth) // 2


def test_a_hierarchy_gives_an_error_budget_that_multiplies_to_the_accuracy(digits):
    judged = compare(digits, hierarchy=MACROS)
    for facts in judged.metrics["methods"].values():
        (budget,) = facts["error_budget"]
        assert budget["R"] * budget["S"] == pytest.approx(facts["accuracy"][0])
        assert facts["ceilings"][0]["oracle_router"] >= facts["accuracy"][0]
    macro_of = {label: macro for macro, labels in MACROS.items() for label in labels}
    column = {name: table.assign(aisle=table["truth"].map(macro_of)) for name, table in digits.items()}
    answered = {
        name: pd.DataFrame(
            {**table[["file_name", "truth", "aisle"]], "answer": table[list(WORDS)].idxmax(axis=1)}
        )
        for name, table in column.items()
    }
    by_column = compare(answered, hierarchy="aisle")
    expected = judged.metrics["methods"]["bayes"]["error_budget"]
    assert by_column.metrics["methods"]["bayes"]["error_budget"] == expected


def test_the_run_folder_holds_report_and_answers_that_are_judged_alike_again(digits, tmp_path):
    judged = compare(
        digits, hierarchy=Hierarchy(tuple(MACROS), tuple(MACROS.values())), output=tmp_path / "run"
    )
    again = compare(tmp_path / "run" / "predictions.csv")
    assert again.comparisons == judged.comparisons
    discordant = pd.read_csv(tmp_path / "run" / "discordant.csv")
    assert (discordant["change"] == "corrected").sum() == sum(judged.comparisons[0].corrected)
    assert (discordant["change"] == "broken").sum() == sum(judged.comparisons[0].broken)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Where errors arise" in page and "Calibration" in page
    assert re.search(
        r'<p class="verdict">logistic is better: [\d.]+ % correct against [\d.]+ % for bayes, \+', page
    )
    assert (
        json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["verdict"]
        == judged.verdict
    )


def test_discordant_images_are_shown_where_their_files_are_and_only_there(tmp_path):
    names = [f"{i}.png" for i in range(12)]
    table = pd.DataFrame({"file_name": names, "truth": ["CHAIR", "SOFA"] * 6})
    first = table.assign(answer=table["truth"].where(table.index > 2, "LAMP"))
    second = table.assign(answer=table["truth"].where(table.index < 10, "LAMP"))
    for name in names[:2]:  # of the three that only the second system gets right
        Image.new("RGB", (40, 30), "red").save(tmp_path / name)
    systems = {"first": first, "second": second}
    compare(systems, output=tmp_path / "with", images=tmp_path)
    compare(systems, output=tmp_path / "without")
    with_files, without = (
        (tmp_path / run / "report.html").read_text(encoding="utf-8") for run in ("with", "without")
    )
    assert with_files.count("data:image/") == 2 and "data:image/" not in without
    assert len(pd.read_csv(tmp_path / "without" / "discordant.csv")) == 5


def test_the_report_names_the_seeds_and_what_the_verdict_speaks_of(tmp_path):
    tables = [pd.concat([answers(seed=s + k).assign(seed=s) for s in (11, 12, 13)]) for k in (0, 100)]
    compare(*tables, output=tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "4 classes, 3 training seeds (11, 12, 13)." in text
    assert "the methods, over other images and other training seeds (3 were tried)" in text
    compare(answers(seed=1), answers(seed=2), output=tmp_path / "one")
    text = (tmp_path / "one" / "report.md").read_text(encoding="utf-8")
    assert "4 classes, one training." in text and "speaks of these trained models on other images" in text


def test_what_can_not_be_judged_leaves_no_folder(tmp_path):
    with pytest.raises(DataError, match="5 missing"):
        compare(answers(seed=1), answers(seed=2).iloc[:-5], output=tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()


def test_truth_comes_from_a_file_or_the_test_images_of_a_manifest(digits, tmp_path):
    bare = {name: table.drop(columns="truth") for name, table in digits.items()}
    with pytest.raises(DataError, match="--truth FILE"):
        compare(bare)
    manifest = digits["bayes"][["file_name", "truth"]].rename(columns={"truth": "label"}).assign(split="test")
    other = pd.DataFrame({"file_name": ["trained.png"], "label": ["one"], "split": ["train"]})
    pd.concat([other, manifest]).to_csv(tmp_path / "metadata.csv", index=False)
    assert compare(bare, truth=tmp_path / "metadata.csv").comparisons == compare(digits).comparisons


def test_one_system_without_seeds_stands_beside_every_seed():
    flat = answers(seed=1)
    several = pd.concat([answers(seed=seed, accuracy=0.9).assign(seed=seed) for seed in (2, 3)])
    judged = compare(flat, several, names=["flat", "two"])
    assert judged.comparisons[0].n_seeds == 2 and "one set of answers" in judged.metrics["notes"][0]
    assert judged.metrics["methods"]["flat"]["accuracy_sd"] is None
    rows = {
        line.split()[0]: line for line in judged.summary().splitlines() if line.startswith(("flat ", "two "))
    }
    assert "±" in rows["two"] and "±" not in rows["flat"]  # answers that repeat themselves have no spread
    with pytest.raises(DataError, match="equally many seeds"):
        compare(pd.concat([answers(seed=s).assign(seed=s) for s in range(3)]), several)


def test_five_images_show_nothing_and_say_so():
    judged = compare(answers(n=5), answers(n=5, seed=1))
    assert judged.comparisons[0].verdict == "no difference shown"
    assert any("Only 5 images" in note for note in judged.metrics["notes"])


def test_a_judgement_shows_itself_in_a_notebook(digits):
    judged = compare(digits)
    assert len(repr(judged)) < 400 and "logistic is better than bayes" in repr(judged)
    assert "<table" in judged._repr_html_() and isinstance(judged.table, pd.DataFrame)


def without(table, *rows):
    return table.drop(index=list(rows))


def doubled(table):
    return pd.concat([table, table.head(3)])


def renamed(table):
    return table.assign(file_name=["other.jpg", *table["file_name"][1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, 3, 5), r"2 missing \('3.jpg', '5.jpg'\)"),
        (doubled, r"3 doubled \('0.jpg', '1.jpg', '2.jpg'\)"),
        (renamed, r"1 unknown \('other.jpg'\); 1 missing \('0.jpg'\)"),
        (lambda t: t.assign(truth=t["truth"].replace("CHAIR", "RUG")), "images have two values of truth"),
        (lambda t: t.assign(answer=pd.factorize(t["answer"])[0]), "class names don't go together"),
        (lambda t: t.assign(answer=[1, *t["answer"][1:]]), "answer mixes texts and numbers"),
        (lambda t: t.assign(answer=[None, *t["answer"][1:]]), "1 rows have no answer, such as '0.jpg'"),
        (lambda t: t.drop(columns="file_name"), "joined by name, never by position"),
        (lambda t: t.drop(columns="answer"), "neither answers nor probabilities"),
        (lambda t: t.head(0), "has no rows"),
        (lambda t: t.assign(answer=t["answer"].str.title()), "'Chair', the truth has 'CHAIR': 4 classes differ in"),
        (lambda t: t.assign(answer=" " + t["answer"]), "' CHAIR', the truth has 'CHAIR': 4 classes differ in capitals"),
        (lambda t: t.assign(answer="dog"), "No answer of system 2 is a class of the truth: it answers 'dog'"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused_with_counts_and_examples(change, message):
    with pytest.raises(DataError, match=message):
        compare(answers(seed=1), change(answers(seed=2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.assign(one=np.nan), r"540 rows hold NaN or infinity, the first for 'folder/"),
        (lambda p: p.assign(one=p["one"] + 0.1), "540 rows do not sum to 1"),
        (lambda p: p.assign(one=-1.0), "540 rows hold negative numbers"),
        (lambda p: p.drop(columns="one"), "do not sum to 1|no probabilities of 1 classes"),
        (lambda p: p.rename(columns={"one": "uno"}), "no probabilities of 1 classes of the truth: 'one'"),
        (
            lambda p: p.assign(remark="good"),
            "'remark' are neither columns of a predictions table nor numbers",
        ),
    ],
)
def test_probabilities_that_are_none_are_refused(digits, change, message):
    with pytest.raises(DataError, match=message):
        compare(digits["bayes"], change(digits["logistic"]))


def test_what_can_tell_nothing_apart_is_refused():
    first, second = answers(seed=1), answers(seed=2)
    alone = [table[first["truth"] == "RUG"] for table in (first, second)]
    with pytest.raises(DataError, match="All .* images are of one class, 'RUG'"):
        compare(*alone)
    with pytest.raises(DataError, match="There is one product, and one says nothing about others"):
        compare(first.assign(product="P"), second)


def test_answers_that_no_image_has_are_counted():
    second = answers(seed=2)
    second.loc[:4, "answer"] = "dog"
    assert (
        "system 2: 5 answers name classes that no image has ('dog')."
        in compare(answers(seed=1), second).metrics["notes"]
    )


def test_tables_divided_by_semicolons_are_read_as_others(tmp_path):
    tables = {"a": answers(seed=1), "b": answers(seed=2)}
    for name, table in tables.items():
        table.drop(columns="truth").to_csv(tmp_path / f"{name}.csv", index=False, sep=";")
    tables["a"][["file_name", "truth"]].to_csv(tmp_path / "truth.csv", index=False, sep=";")
    judged = compare(tmp_path / "a.csv", tmp_path / "b.csv", truth=tmp_path / "truth.csv")
    assert judged.verdict == compare(tables).verdict


@pytest.mark.parametrize(
    "words", [("a.csv",), ("x=a.csv", "x=b.csv"), ("a.csv", "b.csv", "--baseline", "c")], ids=" ".join
)
def test_a_wrong_command_is_wrong_usage(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        answers(seed=seed).to_csv(f"{name}.csv", index=False)
    assert CliRunner().invoke(main, ["compare", *words]).exit_code == 2


def test_wrong_use_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="at least two systems"):
        compare(digits["bayes"])
    with pytest.raises(ValueError, match="baseline must be one of the systems: bayes, logistic"):
        compare(digits, baseline="flat")
    with pytest.raises(DataError, match="No table has a column 'item'"):
        compare(digits, product="item")
    with pytest.raises(DataError, match="lacks 1 classes of truth or answers: 'nine'"):
        compare(digits, hierarchy={**MACROS, "high": MACROS["high"][:-1]})
    (tmp_path / "answers.txt").write_text("x")
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "answers.txt"), str(tmp_path / "b.csv")])
    assert result.exit_code == 3 and "must be a .csv, .tsv, .parquet or .npz file" in result.output


@pytest.mark.keras
def test_a_benchmarks_predictions_are_judged_again_with_their_probabilities(full_run, tmp_path):
    metrics = json.loads((full_run / "metrics.json").read_text(encoding="utf-8"))
    again = compare(full_run, baseline="flat", hierarchy=full_run / "hierarchy.json")
    for name, of_method in again.metrics["methods"].items():
        told = metrics["methods"][name]
        assert of_method["accuracy"] == pytest.approx(told["accuracy"])
        if name == "hiclass":
            assert of_method["top5_accuracy"] is None
            continue
        assert of_method["top5_accuracy"] == pytest.approx(told["top5_accuracy"])
        if told["calibration"] is not None:
            nll = told["calibration"]["before"]["nll"]
            assert of_method["calibration"]["before"]["nll"] == pytest.approx(nll, rel=1e-5)
    first = next(c for c in again.comparisons if c.b == "soft")
    assert first.difference == pytest.approx(metrics["comparisons"][0]["difference"])
    archives = [full_run / "probabilities" / f"{name}.npz" for name in ("flat", "soft")]
    (alone,) = compare(*archives).comparisons
    assert (alone.a, alone.b) == ("flat", "soft") and alone.difference == pytest.approx(first.difference)
