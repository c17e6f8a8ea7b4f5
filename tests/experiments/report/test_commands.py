import json

import pandas as pd
from click.testing import CliRunner

from aisles.cli.main import main


def run(*words):
    return CliRunner().invoke(main, ["--quiet", *map(str, words)])


def test_report_writes_into_the_run_and_names_the_page(make_run):
    folder = make_run()

    done = run("report", folder)

    assert done.exit_code == 0 and done.output.strip() == str(folder / "report.html")
    assert (folder / "report.md").is_file() and (folder / "tables" / "classes.csv").is_file()


def test_report_writes_elsewhere_if_asked(make_run, tmp_path):
    folder = make_run()

    done = run("report", folder, "--output", tmp_path / "there", "--json")

    assert json.loads(done.output)["html"] == str(tmp_path / "there" / "report.html")
    assert not (folder / "report.html").exists()


def test_two_runs_are_compared_in_words_and_as_json(make_run, tmp_path):
    folders = make_run("first"), make_run("second")

    words = run("report", *folders, "-o", tmp_path / "out")
    metrics = run("report", *folders, "-o", tmp_path / "out", "--json")

    assert words.exit_code == 0 and "second: soft and first: soft" in words.output
    assert [part["difference"] for part in json.loads(metrics.output)] == [0.0, 0.0]


def test_runs_on_other_test_images_exit_with_the_code_for_bad_data(make_run, tmp_path):
    first, second = make_run("first"), make_run("second")
    table = pd.read_csv(second / "predictions.csv", dtype=str, keep_default_na=False)
    table.replace({"file_name": {"7.png": "8.png"}}).to_csv(second / "predictions.csv", index=False)

    done = run("report", first, second, "-o", tmp_path / "out")

    assert done.exit_code == 3 and "same test images" in done.output
    assert not (tmp_path / "out").exists()
