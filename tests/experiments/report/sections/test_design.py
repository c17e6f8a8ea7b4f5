import csv
import json
import re

import numpy as np
import pytest

from aisles.experiments.methods.registry import describe
from aisles.experiments.report.plots.classes import confusion_plots
from aisles.experiments.report.writing import write_report

JUDGED = {
    "difference": 0.03, "difference_per_seed": [0.02, 0.04], "difference_sd": 0.014, "interval": [0.01, 0.05],
    "p_value": 0.002, "p_corrected": 0.004, "mcnemar": [], "corrected": [3, 2], "broken": [1, 0],
    "equivalence_interval": [0.0, 0.05], "equivalence_p": 0.9, "smallest_detectable": 0.02, "margin": 0.01,
    "alpha": 0.05, "verdict": "better", "sentence": "better.",
}  # fmt: skip
CUT = {"linkage": "ward", "macros": 2, "sizes": [2, 2], "right": 0.6, "inside": 0.3, "between": 0.1, "ceiling": 0.9,
       "inside_by_chance": 0.33, "concentration": 2.25, "excess": 0.42}  # fmt: skip
USED = {key: value for key, value in CUT.items() if key not in ("linkage", "macros", "sizes")}
OUTCOME = {"right": 0.625, "inside": 0.25, "between": 0.125, "ceiling": 0.875, "router_accuracy": 1.0,
           "repaired": 0.5, "broken": 0.1, "routing_lost": 0.0, "difference": 0.1875,
           "mass": {"right": 0.58, "inside": 0.31, "between": 0.11, "ceiling": 0.89}}  # fmt: skip


def method(accuracy: list[float], **more) -> dict:
    return {"accuracy": accuracy, "accuracy_mean": sum(accuracy) / 2, "accuracy_sd": 0.01} | more


def full_parts() -> dict:
    """Return every optional part of `metrics.json` in the shape that `evaluation` documents."""
    distance = {"learned": {"per_mistake": [1.5, 1.7], "per_image": [0.4, 0.3]}}
    calibration = {
        "before": {"ece": [0.1, 0.3], "nll": [1.0, 1.0], "brier": [0.5, 0.5]},
        "after": {"ece": [0.05, 0.07], "nll": [0.9, 0.9], "brier": [0.4, 0.4]},
        "temperature": [1.5, 1.4],
    }
    risk = {"aurc": [0.2, 0.4], "coverage": [1.0], "risk": [0.375]}
    cost = {"backbone_passes": 1.0, "head_passes": 1.0, "parameters": 5e6, "image_steps": 1000}
    return {
        "methods": {
            "flat": method([0.625, 0.625], role="flat", distance=distance, calibration=calibration, cost=cost,
                           risk_coverage=risk),
            "soft": method([0.75, 0.875], role="two-stage", distance=distance,
                           cost=cost | {"head_passes": 3.0, "image_steps": 2500}),
            "hiclass": method([0.5, 0.5], role="reference", calibration=None),
            "random:1": method([0.5, 0.5], role="control"),
            "random:2": method([0.7, 0.7], role="control"),
        },
        "failed": {"backbone:vgg16": "WeightsMissingError: no <weights> file"},
        "controls": {
            "random": {
                "partitions": ["random:1", "random:2"], "accuracy_mean": 0.6, "accuracy_sd": 0.141,
                "difference_per_partition": [0.3125, 0.1125], "difference_sd": 0.141,
                "comparison": {"a": "random", "b": "soft"} | JUDGED,
            },
            "hierarchies": [{"a": "column:coarse_label", "b": "soft"} | JUDGED],
        },
        "forecast": {
            "candidates": [CUT, CUT | {"macros": 3, "excess": 0.2}, CUT | {"linkage": "average", "excess": 0.1}],
            "recommended": {"linkage": "ward", "macros": 2, "excess": 0.42}, "used": USED, "observed": OUTCOME,
        },
        "sweep": {
            "cuts": [
                {"linkage": "ward", "macros": k, "sizes": [2, 2], "accuracy": [0.8, 0.8], "accuracy_mean": 0.8,
                 "accuracy_sd": 0.0, "router_accuracy": [0.9, 1.0], "forecast": {"excess": 0.42},
                 "comparison": {"a": "flat", "b": f"ward {k}"} | JUDGED}
                for k in (2, 3)
            ],
            "forecast_rank_correlation": {"rho": 0.5, "n_cuts": 4},
        },
        "hierarchy": {
            "origin": "ward, 2 macros", "cophenetic_correlation": 0.81, "silhouette": None, "sizes": [2, 2],
            "stability": {"mean": 0.9, "sd": 0.1, "scores": [1.0, 0.8]},
            "agreement": {"vgg16": 0.77, "inception_v3": "WeightsMissingError: none"},
        },
        "climb": {"soft": {"threshold": [0, 1], "class_share": [1, 0], "macro_share": [0, 0],
                           "class_accuracy": [0.8, None], "accuracy": [0.8, None]}},
        "calibrated_stages": {"ece": [0.02], "nll": [0.8], "brier": [0.3], "accuracy": [0.8125]},
        "hierarchical_scores": "They add nothing.",
    }  # fmt: skip


@pytest.fixture
def written(make_run):
    return write_report(make_run(**full_parts()))


@pytest.fixture
def page(written) -> str:
    return written.html.read_text(encoding="utf-8")


def section(page: str, anchor: str) -> str:
    return page[page.index(f'<details open id="{anchor}"') :].partition("</details>")[0]


def rows_of(written, name: str) -> list[dict]:
    with open(
        next(path for path in written.tables if path.stem == name), encoding="utf-8", newline=""
    ) as file:
        return list(csv.DictReader(file))


def test_random_partitions_become_one_row_with_their_spread(written):
    rows = {row["method"]: row for row in rows_of(written, "methods")}

    assert set(rows) == {"flat", "soft", "hiclass", "random"}
    assert float(rows["random"]["accuracy"]) == 0.6
    assert float(rows["random"]["sd over seeds"]) == pytest.approx(0.1414, abs=1e-4)
    assert float(rows["random"]["against flat"]) == pytest.approx(-0.025)


def test_a_method_that_failed_is_told_with_its_reason(page):
    assert "backbone:vgg16 failed: WeightsMissingError: no &lt;weights&gt; file" in section(page, "methods")


def test_the_run_is_set_against_random_and_other_macros(page):
    part = section(page, "controls")

    assert (
        "2 random partitions of the same sizes reach 60.0 % on average" in part
        and "differ from them by +31.2, +11.2 points (verdict: better)" in part
    )
    assert "against random" in part and "against column:coarse_label" in part


def test_macros_that_are_worse_than_random_ones_are_not_called_better(make_run):
    parts = full_parts()
    parts["controls"]["random"]["difference_per_partition"] = [-0.068, -0.05]
    parts["controls"]["random"]["comparison"]["verdict"] = "worse"
    page = write_report(make_run(**parts)).html.read_text(encoding="utf-8")

    part = section(page, "controls")
    assert (
        "differ from them by −6.8, −5.0 points (verdict: worse)" in part
        and "better" not in part.split("<svg")[0]
    )


def test_a_recommended_cut_that_nobody_tried_is_said_to_be_so(make_run):
    page = write_report(make_run(**{k: v for k, v in full_parts().items() if k != "sweep"})).html.read_text(
        encoding="utf-8"
    )

    assert "(ward linkage, 2 macros) was not tried on test images" in section(page, "forecast")


def test_a_brought_hierarchy_is_not_said_to_be_found_again(make_run):
    parts = full_parts()
    parts["hierarchy"]["tree_agreement"] = 0.31
    page = write_report(make_run(**parts)).html.read_text(encoding="utf-8")

    part = section(page, "stability")
    assert "agree with the learned tree&#x27;s own cut by" in part and "agree with the run" not in part
    assert "not cut from that tree; they agree with its cut by 0.31" in part


def test_measured_costs_stand_beside_the_budgets(make_run):
    folder = make_run(**full_parts())
    costs = {
        "backbone": {"images_per_second": 300.0},
        "stages": {},
        "methods": {
            "flat": {"training_seconds": 1.5, "bytes_on_disk": 1000, "images_per_second": 200.0},
            "soft": {"training_seconds": 4.5, "bytes_on_disk": 5000, "images_per_second": 100.0},
            "hiclass": {"training_seconds": 9.0, "bytes_on_disk": None, "images_per_second": None},
        },
        "peak_memory_bytes": 3 * 2**30,
    }
    (folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
    written = write_report(folder)
    rows = {row["method"]: row for row in rows_of(written, "cost")}

    assert (rows["soft"]["images a second"], rows["soft"]["bytes of heads on disk"]) == ("100.0", "5000")
    assert (rows["soft"]["seconds of training"], rows["soft"]["milliseconds an image"]) == ("4.5", "10.0")
    assert rows["hiclass"]["seconds of training"] == "9.0" and rows["hiclass"]["images a second"] == ""
    page = written.html.read_text(encoding="utf-8")
    assert "3.0 GiB of memory" in page and "soft: 10 milliseconds an image, 81.2 %" in section(page, "cost")
    assert "images a second" in written.markdown.read_text(encoding="utf-8")


def test_the_verdict_comes_before_what_a_phone_cuts_off(written):
    assert list(rows_of(written, "methods")[0])[:4] == [
        "method",
        "accuracy",
        "against flat",
        "verdict",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("discriminant", "flat's own macro probabilities, times a linear discriminant per macro"),
        ("flat-discriminant", "flat times one linear discriminant over all classes"),
        ("backbone:efficientnet_lite0:gray", "learned from the backbone efficientnet_lite0:gray"),
        ("backbone:vgg16", "learned from the backbone vgg16"),
        ("beam:2", "soft over the most probable macros"),
        ("column:aisle", "the macros of the manifest's column aisle"),
    ],
)
def test_a_registered_method_tells_what_it_is(name, words):
    assert describe(name).endswith(words)


def test_products_are_claimed_only_where_they_are_known(make_run):
    data = {"images": {"train": 20, "val": 4, "test": 8}, "products": 32}
    unknown = section(write_report(make_run("unknown", data=data)).html.read_text(encoding="utf-8"), "limits")
    known = section(
        write_report(make_run("known", data=data | {"products": 16})).html.read_text(encoding="utf-8"),
        "limits",
    )

    assert "Products are not known: images are resampled" in unknown and "No product stands" not in unknown
    assert "8 test images, 4 classes" in unknown
    assert "No product stands in two of them." in known and "not known: images" not in known
    assert "8 test images of 8 products" in known


def test_the_limits_say_what_two_stage_means_and_what_is_not_known_of_designs(page):
    limits = section(page, "limits")

    assert "heads on one frozen network" in limits and "separate-from-flat) did not take part" in limits
    assert "found with a look at them elsewhere is not known to this report" in limits


def test_tags_of_frames_stand_between_column_labels_and_matrix():
    class Groups:
        classes = ("apple", "cherry", "lime", "moss", "sea", "sky")
        macro_of = np.array([0, 1, 1, 2, 2, 2])
        order = np.arange(6)

    for drawing in confusion_plots(Groups(), np.eye(6), "flat"):
        assert drawing is not None
        texts = drawing.file()
        tag = float(re.search(r'y="([\d.]+)"[^>]*>M2<', texts).group(1))  # its baseline
        label = float(re.search(r"rotate\(-90 [\d.]+ ([\d.]+)\)", texts).group(1))  # where labels begin
        matrix = float(re.search(r'y="([\d.]+)"[^>]*class="band"', texts).group(1))
        assert label < tag - 6 and tag < matrix - 4


def test_the_forecast_is_set_beside_observed_outcome(written, page):
    rows = {row["on the run's macros"]: row for row in rows_of(written, "forecast_and_outcome")}

    assert rows["flat is right"] == {
        "on the run's macros": "flat is right", "forecast": "0.6", "observed": "0.58", "in test answers": "0.625"
    }  # fmt: skip
    assert (
        rows["the router is right"]["forecast"] == ""
        and rows["the router is right"]["in test answers"] == "1.0"
    )
    part = section(page, "forecast")
    assert "The recommended cut (ward linkage, 2 macros) reached 80.0 % on test images, +3.0 points" in part
    assert "Recommended: ward linkage, 2 macros." in part and "ward: highest at 2 macros" in part


def test_every_cut_is_listed_with_its_verdict(written, page):
    rows = rows_of(written, "sweep")

    assert [(row["linkage"], row["macros"], row["verdict"]) for row in rows] == [
        ("ward", "2", "better"),
        ("ward", "3", "better"),
    ]
    assert "over 4 cuts: +0.50. Cuts of one tree are nested, so this is no test." in section(page, "sweep")


def test_stability_says_what_is_not_known_too(page):
    part = section(page, "stability")

    assert "Over 2 bootstraps" in part and "adjusted Rand index of 0.90 (sd 0.10, 0.80 to 1.00" in part
    assert "Agreement with vgg16: 0.77." in part and "Agreement with inception_v3: not known" in part
    assert "Silhouette" not in part


def test_calibration_is_shown_before_and_after_temperature(written, page):
    rows = {row["method"]: row for row in rows_of(written, "calibration")}

    assert float(rows["flat"]["ECE"]) == 0.2 and float(
        rows["flat"]["ECE after temperature"]
    ) == pytest.approx(0.06)
    assert float(rows["flat"]["area under risk-coverage"]) == pytest.approx(0.3)
    assert "soft" not in rows  # it has no calibration
    assert "hiclass" not in rows
    assert "ECE 0.02, NLL 0.8, Brier score 0.3" in section(page, "calibration")


def test_accuracy_is_drawn_against_the_first_cost_that_differs(page):
    part = section(page, "cost")

    assert "against the cost of prediction in heads an image passes" in part
    assert "soft: 3 heads an image passes, 81.2 %" in part
    assert "against the cost of training in images seen in training" in part


def test_distances_and_scores_that_add_nothing_are_told_once(written, page):
    distances = {row["method"]: row for row in rows_of(written, "distances")}
    assert distances["flat"] == {"method": "flat", "learned macros": "1.6", "learned tree": "0.0"}
    assert set(distances) == {"flat", "soft", "hiclass"}
    assert "no independent grouping was at hand" in page and page.count("They add nothing.") == 1


def test_only_the_audit_and_absent_references_are_named_as_not_run(page):
    limits = section(page, "limits")
    missing = re.search(r"Not run, or not kept in the run folder: ([^<]*)", limits)

    assert missing is not None
    assert missing.group(1).split("; ") == [
        "the audit of labels (aisles audit-labels)",
        "a linear discriminant over all classes",
        "logistic regression over all classes",
        "nearest neighbors over all classes",
        "a tuned head over all classes",
        "a flat ensemble.",
    ]
