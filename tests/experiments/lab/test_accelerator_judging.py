"""What travels to the accelerator, what comes back, and the verdict on it; none of this needs PyTorch."""

import json

import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.images.fitting import Fitting
from experiments.lab.accelerator_study.__main__ import main
from experiments.lab.accelerator_study.judging import ensemble_members, hard, judge, soft
from experiments.lab.accelerator_study.packing import pack, read_photographs
from experiments.lab.accelerator_study.specialists import RULES
from experiments.lab.accelerator_study.store import Results

MACRO_OF_CLASS = np.array([0, 0, 1, 1])
N_TEST, N_VAL = 100, 4


@pytest.fixture
def catalogue(tmp_path):
    """Write 3 classes in 2 macros, 2 images each per split, of two shapes, and their hierarchy."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for place, label in enumerate(("apple", "milk", "pear")):
            for number, shape in enumerate(((40, 64, 3), (64, 64, 3))):
                coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                coarse[:2] = 80 * place
                folder = tmp_path / "data" / split / label
                folder.mkdir(parents=True, exist_ok=True)
                image = Image.fromarray(coarse).resize(shape[1::-1], Image.Resampling.BICUBIC)
                image.save(folder / f"{number}.png")
    hierarchy = tmp_path / "hierarchy.json"
    hierarchy.write_text(json.dumps({"macros": {"fruit": ["pear", "apple"], "dairy": ["milk"]}}))
    return tmp_path / "data", hierarchy


def test_packed_photographs_come_back_with_labels_splits_and_macros(catalogue, tmp_path):
    facts = pack(*catalogue, tmp_path / "packed", quality=95, networks=("lite0",))
    photographs = read_photographs(tmp_path / "packed")
    assert (facts["n_images"], facts["n_classes"], facts["n_macros"]) == (18, 3, 2)
    assert photographs.classes == ("apple", "milk", "pear")
    assert photographs.macro_of_class.tolist() == [0, 1, 0]
    assert len(photographs.rows("train", "val")) == 12
    canvases, sizes = photographs.canvases(photographs.rows("test"))
    assert canvases.shape == (6, 3, 64, 64)
    for canvas, size, name in zip(
        canvases, sizes, photographs.file_names[photographs.rows("test")], strict=True
    ):
        truth = np.asarray(Image.open(catalogue[0] / name), float)
        assert tuple(size) == truth.shape[:2]
        assert np.abs(canvas[:, : size[0], : size[1]].transpose(1, 2, 0) - truth).mean() < 6
        assert (canvas[:, size[0] :] == 127).all()


def test_center_crops_are_those_of_the_published_preprocessing(catalogue, tmp_path):
    pack(*catalogue, tmp_path / "packed", networks=())
    photographs = read_photographs(tmp_path / "packed")
    rows = photographs.rows("val")
    fitting = Fitting((28, 28), "crop", 0.875, "bicubic")
    for row, center in zip(rows, photographs.centers(rows, 28), strict=True):
        expected = fitting.pixels(photographs._decoded(row))
        assert np.array_equal(center.transpose(1, 2, 0), expected)


def test_packed_weights_are_the_networks_own_without_its_last_layer(catalogue, tmp_path):
    pack(*catalogue, tmp_path / "packed", networks=("lite0",))
    with np.load(tmp_path / "packed" / "lite0.npz") as tensors:
        assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
        assert tensors["_conv_stem.weight"].dtype == np.float16
        assert tensors["_bn0.running_var"].dtype == np.float32
        assert not [name for name in tensors.files if "_fc" in name]


def test_a_hierarchy_of_other_classes_is_not_packed(catalogue, tmp_path):
    data, hierarchy = catalogue
    hierarchy.write_text(json.dumps({"macros": {"fruit": ["pear", "apple"], "dairy": ["butter"]}}))
    with pytest.raises(ValueError, match=r"disagree on classes: \['butter', 'milk'\]"):
        pack(data, hierarchy, tmp_path / "packed", networks=())


def test_training_without_packed_photographs_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="with the command `pack`"):
        read_photographs(tmp_path)


def test_results_survive_being_read_again_and_replace_facts(tmp_path):
    results = Results(tmp_path / "results.zip")
    results.put("flat-0", {"seconds": 1}, classes=np.array([[0.25, 0.75]]))
    results.note("run", {"epochs": 2})
    results.note("run", {"epochs": 3})
    again = Results(tmp_path / "results.zip")
    assert again.names == ["flat-0"]
    assert again.facts("run") == {"epochs": 3}
    assert again.arrays("flat-0")["classes"].tolist() == [[0.25, 0.75]]
    with pytest.raises(KeyError, match="holds no model 'flat-1'"):
        again.arrays("flat-1")


def test_soft_multiplies_and_hard_keeps_the_first_macro():
    macros, within = np.array([[0.6, 0.4]]), np.array([[0.5, 0.5, 0.9, 0.1]])
    assert soft(macros, within, MACRO_OF_CLASS).round(3).tolist() == [[0.3, 0.3, 0.36, 0.04]]
    assert hard(macros, within, MACRO_OF_CLASS).tolist() == [[0.5, 0.5, 0, 0]]


def test_ensembles_of_seeds_go_round():
    assert ensemble_members(3, 3, 5) == [3, 4, 0]


@pytest.mark.parametrize("rule", RULES)
def test_specialists_that_agree_with_flat_change_nothing(rule):
    flat = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    assert RULES[rule](flat, flat, MACRO_OF_CLASS) == pytest.approx(flat, abs=1e-5)


def test_the_rule_by_flat_macro_leaves_the_macros_to_flat():
    rng = np.random.default_rng(1)
    flat, joint = rng.dirichlet(np.ones(4), 20), rng.uniform(0, 0.5, (20, 4))
    combined = RULES["flat macro"](flat, joint, MACRO_OF_CLASS)
    assert combined[:, :2].sum(1) == pytest.approx(flat[:, :2].sum(1))
    assert combined[:, 0] / combined[:, 1] == pytest.approx(joint[:, 0] / joint[:, 1], rel=1e-3)


def planted(path, two_stage_wrong: int, flat_wrong: int) -> Results:
    """Plant a run of 4 flat models and 2 seeds in which methods are wrong on so many of the first test images."""
    labels = np.arange(N_VAL + N_TEST) % 4
    right = np.eye(4)[labels] * 0.7 + 0.1

    def with_errors(n: int) -> np.ndarray:
        probs = right.copy()
        probs[N_VAL : N_VAL + n] = np.roll(probs[N_VAL : N_VAL + n], 2, axis=1)
        return probs

    results = Results(path)
    results.put(
        "images",
        {},
        labels=labels,
        is_test=np.arange(len(labels)) >= N_VAL,
        products=np.arange(len(labels)).astype(str),
    )
    for number in range(4):
        results.put(f"flat-{number}", {"images": 100}, classes=with_errors(flat_wrong))
    member = np.eye(2)[MACRO_OF_CLASS]
    for seed in range(2):
        probs = with_errors(two_stage_wrong)
        macros = probs @ member
        results.put(f"again-{seed}", {"images": 20}, classes=with_errors(flat_wrong))
        within = probs / macros[:, MACRO_OF_CLASS]
        results.put(f"separate-{seed}", {"images": 20}, macros=macros, within=within)
        results.put(f"specialists-{seed}", {"images": 15}, joint=probs)
    results.note(
        "run",
        {
            "device": "none", "torch": "0", "epochs": 1, "settings": {"network": "lite0", "precision": "float32"},
            "classes": list("abcd"), "macros": ["m", "n"], "macro_of_class": MACRO_OF_CLASS.tolist(),
            "cost": {"flat": 10, "specialist": 4}, "training_images_per_second": {"float32": 1.0},
            "prediction_images_per_second": {"float32": 1.0},
            "chosen": {"recipe": "medium", "specialists": {"rate": 0.1, "rule": "specialists"}, "trials": {}},
        },
    )  # fmt: skip
    return results


@pytest.mark.parametrize(
    ("two_stage", "flat", "verdict", "difference"),
    [(5, 25, "better", 0.2), (25, 5, "worse", -0.2), (10, 10, "no difference shown", 0.0)],
)
def test_the_verdict_is_that_of_the_planted_errors(tmp_path, two_stage, flat, verdict, difference):
    report = judge(planted(tmp_path / "results.zip", two_stage, flat))
    primary = report["primary"]
    assert (primary["a"], primary["b"]) == ("ensemble of 3 flat models", "two-stage, soft")
    assert primary["verdict"] == verdict
    assert primary["difference"] == pytest.approx(difference)
    assert primary["corrected"] == [max(flat - two_stage, 0)] * 2
    methods = {row["name"]: row for row in report["methods"]}
    assert methods["flat"]["accuracy"] == pytest.approx(1 - flat / N_TEST)
    assert methods["specialists"]["cost"] == pytest.approx(1.8)
    assert methods["two-stage, soft"]["training_images"] == 120
    assert methods["ensemble of 3 flat models"]["training_images"] == 300
    assert {(one["a"], one["b"]) for one in report["secondary"]} >= {
        ("ensemble of 2 flat models", "specialists"),
        ("flat, trained again", "two-stage, soft"),
    }


def test_the_command_judge_writes_json_and_markdown(tmp_path, capsys):
    planted(tmp_path / "run" / "results.zip", 5, 25)
    assert main(["judge", str(tmp_path / "run"), str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["n_test"] == N_TEST
    text = (tmp_path / "report.md").read_text()
    assert "**two-stage, soft is better than ensemble of 3 flat models:" in text
    assert "+20.0 points" in text
    assert "| two-stage, soft | 0.9500 |" in text


def test_a_run_without_a_whole_seed_is_not_judged(tmp_path):
    results = planted(tmp_path / "results.zip", 1, 1)
    results._parts = {name: part for name, part in results._parts.items() if "again" not in name}
    with pytest.raises(ValueError, match="no seed with all its models"):
        judge(results)
