"""Training on an accelerator, tried on the processor with a handful of small images."""

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed: only this experiment needs it", allow_module_level=True)

import torch

from experiments.lab.accelerator_study.augmentation import Augmentation, mix_pairs, random_crops
from experiments.lab.accelerator_study.network import EfficientNetLite, SameConv, pretrained, with_labels
from experiments.lab.accelerator_study.packing import Photographs
from experiments.lab.accelerator_study.plan import Run, Settings, score
from experiments.lab.accelerator_study.store import Results
from experiments.lab.accelerator_study.training import (
    Recipe,
    Task,
    TrainingImages,
    fit,
    grouped_log_probs,
    label_loss,
    predict,
)

torch.set_num_threads(1)  # several threads wait for each other on a busy machine
MACRO_OF_CLASS = np.array([0, 1, 0, 1])
UNCHANGED = Augmentation(smallest=1.0, aspect=1.0, color=0.0, flip=False)


@pytest.fixture(scope="module")
def network() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite("lite0", 4).eval()


def pixels(n: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8))


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "side", "scale"), [("lite0", 64, (1, 1)), ("lite0", 75, (1, 1)), ("lite2", 64, (1.1, 1.2))]
)
def test_features_are_those_of_the_keras_network(name, side, scale):
    from aisles.models.backbones.efficientnet_lite import efficientnet_lite, load_tensors
    from aisles.models.backbones.torch_file import read_tensors
    from aisles.models.backbones.weights import find_weights

    if name == "lite0":
        tensors = read_tensors(find_weights("efficientnet_lite0"))
    else:
        tensors = {key: value.numpy() for key, value in EfficientNetLite(name, 1).state_dict().items()}
    keras_network = efficientnet_lite((side, side), *scale)
    load_tensors(keras_network, tensors)
    ours = pretrained(name, 1280, {key: value for key, value in tensors.items() if "_fc" not in key}, 0)
    with torch.no_grad():
        ours._fc.weight.copy_(torch.eye(1280))
        x = (pixels(2, side).float() - 127) / 128
        features = ours.eval()(x).numpy()
    expected = np.asarray(keras_network(x.permute(0, 2, 3, 1).numpy())).mean((1, 2))
    assert expected.std() > 0
    assert np.abs(features - expected).max() < 2e-3 * np.abs(expected).max()


def test_lite2_has_its_published_number_of_weights():
    state = EfficientNetLite("lite2", 1).state_dict()
    assert (
        sum(value.numel() for key, value in state.items() if "_fc" not in key and "num_" not in key)
        == 4_869_168
    )


def test_multiplications_are_counted_as_by_hand():
    conv = SameConv(3, 32, 3, 2)
    network = EfficientNetLite("lite0", 10)
    assert network.multiplications(32) > network.multiplications(32, network.last_blocks) > 0
    maps = network.bottom(torch.zeros(1, 3, 33, 33), 0)
    assert maps.shape == (1, *conv(torch.zeros(1, 3, 33, 33)).shape[1:])
    head = network.multiplications(32, network.n_blocks)
    assert head == 1 * 320 * 1280 + 1280 * 10  # 32 pixels become one place


def test_a_network_cut_anywhere_answers_the_same(network):
    x = (pixels(2).float() - 127) / 128
    with torch.no_grad():
        whole = network(x)
        for cut in (0, network.last_blocks, network.n_blocks):
            assert torch.allclose(network.top(network.bottom(x, cut), cut), whole, atol=1e-5)


def test_router_and_sub_models_taken_from_flat_give_its_answers_before_training(network):
    images = pixels(5)
    flat = predict(network, images)
    macros = predict(with_labels(network, range(4)), images, groups=MACRO_OF_CLASS)
    combined = np.zeros_like(flat)
    for macro in (0, 1):
        members = np.flatnonzero(macro == MACRO_OF_CLASS)
        combined[:, members] = macros[:, [macro]] * predict(with_labels(network, members.tolist()), images)
    assert combined == pytest.approx(flat, abs=1e-5)


def test_a_specialist_starts_with_the_mean_of_the_others_rows(network):
    specialist = with_labels(network, [1, 3], [0, 2])
    assert torch.allclose(specialist._fc.weight[:2], network._fc.weight[[1, 3]])
    assert torch.allclose(specialist._fc.weight[2], network._fc.weight[[0, 2]].mean(0))


def test_an_unchanged_crop_is_the_photograph():
    canvases = pixels(3, 16)
    sizes = torch.full((3, 2), 16)
    crops = random_crops(canvases, sizes, 16, UNCHANGED, torch.Generator().manual_seed(0))
    assert torch.allclose(crops, (canvases.float() - 127) / 128, atol=1e-4)


def test_crops_show_nothing_from_beside_the_photograph():
    canvases = torch.zeros(20, 3, 24, 24, dtype=torch.uint8)
    canvases[:, :, :12, :18] = 255
    how = Augmentation(smallest=0.1, color=0.0)
    sizes = torch.tensor([[12, 18]] * 20)
    crops = random_crops(canvases, sizes, 8, how, torch.Generator().manual_seed(0))
    assert (crops > 0.99).float().mean() > 0.9  # only places at the very border mix with what is beside


def test_a_flip_exchanges_left_and_right():
    canvases, sizes = pixels(40, 8), torch.full((40, 2), 8)
    crops = random_crops(canvases, sizes, 8, replace(UNCHANGED, flip=True), torch.Generator().manual_seed(0))
    plain = (canvases.float() - 127) / 128
    flipped = [torch.allclose(crop, one.flip(2), atol=1e-4) for crop, one in zip(crops, plain, strict=True)]
    kept = [torch.allclose(crop, one, atol=1e-4) for crop, one in zip(crops, plain, strict=True)]
    assert all(one != other for one, other in zip(flipped, kept, strict=True))
    assert 8 < sum(flipped) < 32


def test_mixing_blends_or_shows_the_partner_in_a_box():
    x = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    order = torch.tensor([1, 0])
    blended, kept = mix_pairs(x, order, 0.75, box=None)
    assert (kept, blended[0].unique().tolist()) == (0.75, [0.25])
    boxed, kept = mix_pairs(x, order, 0.75, box=(0, 4))
    assert boxed[0, 0, :2, 2:6].eq(1).all()
    assert boxed[0].sum() == 3 * 8
    assert kept == 1 - 8 / 64  # the half of the box above the border is lost


def test_grouped_probabilities_are_sums():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    probs = logits.softmax(1)[0]
    grouped = grouped_log_probs(logits, torch.from_numpy(MACRO_OF_CLASS)).exp()[0]
    assert grouped.tolist() == pytest.approx([float(probs[0] + probs[2]), float(probs[1] + probs[3])])


def test_the_smoothed_loss_is_the_hand_worked_one():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    expected = -0.9 * math.log(0.5) - 0.1 * (math.log(0.5) + 2 * math.log(0.25)) / 3
    assert float(label_loss(logits, torch.tensor([0]), None, 0.1)) == pytest.approx(expected)


def test_an_epoch_of_a_specialist_has_as_many_others():
    task = Task(np.array([0, 1]), np.array([0, 1]), others=np.arange(10, 20), other=2)
    rows, targets = task.epoch(np.random.default_rng(0))
    assert sorted(targets.tolist()) == [0, 1, 2, 2]
    assert all((row >= 10) == (target == 2) for row, target in zip(rows, targets, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_fits_colors_and_leaves_the_blocks_in_front_of_a_cut(precision):
    dark, bright = torch.full((8, 3, 32, 32), 40), torch.full((8, 3, 32, 32), 220)
    images = TrainingImages(torch.cat([dark, bright]).to(torch.uint8), torch.full((16, 2), 32))
    targets = np.repeat([0, 1], 8)
    torch.manual_seed(0)
    model = EfficientNetLite("lite0", 2)
    cut = model.last_blocks
    before = {key: value.clone() for key, value in model.state_dict().items()}
    how = {"rate": 3e-3, "epochs": 30, "seed": 0, "batch": 8, "precision": precision, "cut": cut}
    fitted = fit(model, images, Task(np.arange(16), targets), Recipe("plain", 32, 1e-2, UNCHANGED), **how)
    assert fitted.curve[-1] < 0.5 < fitted.curve[0]
    assert fitted.images == 30 * 16
    after = fitted.network.state_dict()
    front = ("_conv_stem", "_bn0", *(f"_blocks.{number}." for number in range(cut)))
    assert all(torch.equal(after[key], before[key]) for key in before if key.startswith(front))
    assert not torch.equal(after["_conv_head.weight"], before["_conv_head.weight"])


def toy_run(folder, minutes: float = 30.0, test_label_shift: int = 0) -> Run:
    """Return a run on 4 classes of drawn images with a network of random weights."""
    rng = np.random.default_rng(0)
    import io

    from PIL import Image

    encoded, labels, splits = [], [], []
    for split, n in (("train", 3), ("val", 2), ("test", 2)):
        for label in range(4):
            for _ in range(n):
                file = io.BytesIO()
                Image.fromarray(rng.integers(60 * label, 60 * label + 60, (32, 32, 3), dtype=np.uint8)).save(
                    file, "PNG"
                )
                encoded.append(file.getvalue())
                labels.append((label + (test_label_shift if split == "test" else 0)) % 4)
                splits.append(split)
    names = np.array([str(number) for number in range(len(labels))])
    photographs = Photographs(
        encoded, names, np.array(labels), np.array(splits), names, tuple("abcd"), ("m", "n"), MACRO_OF_CLASS
    )
    if not (folder / "lite0.npz").is_file():
        torch.manual_seed(0)
        state = EfficientNetLite("lite0", 1).state_dict()
        np.savez(
            folder / "lite0.npz", **{key: value.numpy() for key, value in state.items() if "_fc" not in key}
        )
    settings = replace(Settings(minutes=minutes).toy(), epochs=1, seeds=1, flats=2, batch=8)
    return Run(photographs, folder, Results(folder / "results.zip"), folder / "weights", settings)


def test_a_stopped_run_goes_on_and_trains_only_what_is_missing(tmp_path):
    assert not toy_run(tmp_path, minutes=0).go()
    assert Results(tmp_path / "results.zip").names == ["images"]
    assert toy_run(tmp_path).go()
    results = Results(tmp_path / "results.zip")
    second = {"flat-0", "flat-1", "separate-0", "again-0", "specialists-0", "random-0"}
    assert second < set(results.names)
    n_val, n_all = 8, 16
    assert results.arrays("flat-0")["classes"].shape == (n_all, 4)
    assert results.arrays("separate-0")["macros"].sum(1) == pytest.approx(np.ones(n_all), abs=2e-3)
    trials = [name for name in results.names if name.startswith("trial-flat")]
    assert trials and all(results.arrays(name)["classes"].shape == (n_val, 4) for name in trials)
    kept = {name: results._parts[f"{name}.npz"] for name in results.names}
    del results._parts["again-0.npz"]
    results._write()
    assert toy_run(tmp_path).go()
    again = Results(tmp_path / "results.zip")
    assert {name: again._parts[f"{name}.npz"] for name in kept if name != "again-0"} == {
        name: part for name, part in kept.items() if name != "again-0"
    }
    assert again.arrays("again-0")["classes"].shape == (n_all, 4)


def test_test_labels_change_neither_choice_nor_answers(tmp_path):
    found = []
    for shift in (0, 1):
        folder = tmp_path / str(shift)
        folder.mkdir()
        run = toy_run(folder, test_label_shift=shift)
        run._prepare()
        run._choose()
        for name, train in run._second_stage():
            if name == "flat-0":
                train()
        found.append((run.chosen, run.results.arrays("flat-0")["classes"]))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


def test_validation_prefers_accuracy_then_likelihood():
    truth = np.array([0, 1])
    sure, unsure = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.6, 0.4], [0.4, 0.6]])
    wrong = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert score(sure, truth) > score(unsure, truth) > score(wrong, truth)
    assert score(sure, truth) == pytest.approx((1.0, math.log(0.9)))
