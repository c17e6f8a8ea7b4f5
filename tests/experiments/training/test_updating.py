"""Updates of bundles: only what the new images concern is trained again."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.io.errors import DataError
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.training.bundle_evaluation import accuracy_on, evaluate_bundle, with_earlier
from aisles.experiments.training.runs import train_classifier
from aisles.experiments.training.updating import update_bundle
from aisles.models.backbones.registry import wrap_backbone
from aisles.models.bundles.bundle import load_bundle, read_bundle
from aisles.models.heads.building import build_head, head_like

pytestmark = pytest.mark.keras
MACROS = {"reds": ["apple", "cherry"], "greens": ["lime", "moss"], "blues": ["sea", "sky"]}


def settings(*changes):
    few = ["fine_tuning.frozen_epochs=20", "fine_tuning.frozen_rate=0.01", "fine_tuning.batch_size=8"]
    return read_settings(None, [*few, *changes], kind=TrainSettings)


def small_backbone():
    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    x = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel)(inputs)
    return wrap_backbone(keras.Model(inputs, x), "small", preprocessing="symmetric")


def photos(folder, color, n, seed):
    """Write noisy images of one color."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        noise = rng.normal(0, 12, (24, 24, 3)) + np.array(color)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{seed}-{i:02d}.png")


@pytest.fixture(scope="module")
def run(image_folder, tmp_path_factory):
    """Train on six classes in three macros."""
    output = tmp_path_factory.mktemp("run")
    (output / "mine.json").write_text(json.dumps({"macros": MACROS}))
    chosen = settings("classifier.sharing=frozen", f"hierarchy.file={output / 'mine.json'}")
    train_classifier(image_folder, output, chosen, cache=output / "cache", backbone=small_backbone())
    return output


@pytest.fixture(scope="module")
def grown(run, tmp_path_factory):
    """Add the class snow, very bright, of which nothing says the macro but --macro blues."""
    place = tmp_path_factory.mktemp("grown")
    photos(place / "new" / "snow", (240, 245, 255), 15, 7)
    result = update_bundle(
        run / "bundle", place / "new", place, settings(), macro="blues", cache=run / "cache"
    )
    return place, result


def files_of(bundle):
    return read_bundle(bundle)["files"]


def test_a_new_class_changes_router_its_sub_model_and_the_flat_model_and_no_other_file(run, grown):
    _, result = grown
    old, new = files_of(run / "bundle"), files_of(result.bundle)
    networks = {name for name in old if name.endswith(".keras")}
    assert networks == {n for n in new if n.endswith(".keras")} and "backbone-00.keras" in networks
    changed = {name for name in networks if old[name] != new[name]}
    assert changed == {"router.keras", "submodel-02.keras", "flat.keras"}
    assert set(result.changed_files) == changed | {"learned_from.txt"}
    for name in networks - changed:
        assert (run / "bundle" / name).read_bytes() == (result.bundle / name).read_bytes()
    assert result.retrained == ("blues",) and result.added == {"snow": "blues"}


def test_the_grown_bundle_knows_the_new_class_and_forgets_no_old_one(run, grown):
    place, result = grown
    classifier = load_bundle(result.bundle)
    assert "snow" in classifier.classes_ and classifier.hierarchy.members[2] == ("sea", "sky", "snow")
    photos(place / "unseen", (240, 245, 255), 6, 99)
    answers = classifier.predict(sorted((place / "unseen").iterdir()))
    assert sum(answer.label == "snow" for answer in answers) >= 5
    assert {answer.macro for answer in answers if answer.label == "snow"} == {"blues"}
    assert result.after.accuracy >= result.before.accuracy - 0.1
    assert result.before.n_images == result.after.n_images < result.after_all.n_images
    listed = pd.read_csv(result.manifest)
    assert set(listed.loc[listed["label"] == "snow", "split"]) == {"train", "val", "test"}
    learned = (result.bundle / "learned_from.txt").read_text().split()
    assert len(learned) == (listed["split"] != "test").sum()


def test_the_card_and_evaluate_show_before_and_after(run, grown):
    _, result = grown
    card = (result.bundle / "README.md").read_text()
    assert "new class 'snow' in 'blues'" in card and "before the update" in card
    now = evaluate_bundle(result.bundle, result.manifest)
    before = evaluate_bundle(run / "bundle", result.manifest, known_only=True)
    assert before.accuracy == pytest.approx(result.before.accuracy)
    assert accuracy_on(now, before) == pytest.approx(result.after.accuracy)
    table = with_earlier(now.per_class(), before).set_index("class")
    assert np.isnan(table.loc["snow", "f1_before"]) and not np.isnan(table.loc["sky", "f1_before"])


def test_a_second_update_finds_the_images_of_the_first(run, grown, tmp_path):
    _, first = grown
    photos(tmp_path / "new" / "coal", (10, 10, 10), 4, 11)
    result = update_bundle(first.bundle, tmp_path / "new", tmp_path, settings(), cache=run / "cache")
    assert set(result.added) == {"coal"} and len(load_bundle(result.bundle).classes_) == 8
    listed = pd.read_csv(result.manifest)
    assert set(listed.loc[listed["label"] == "coal", "split"]) == {"train"}  # too few to hold any back
    assert result.after_all is None
    assert all((tmp_path / name).exists() for name in listed["file_name"])


def test_without_a_macro_the_router_says_where_a_class_belongs(run, tmp_path):
    photos(tmp_path / "new" / "cobalt", (35, 50, 190), 6, 13)  # as blue as the sea
    result = update_bundle(run / "bundle", tmp_path / "new", tmp_path, settings(), cache=run / "cache")
    assert result.added == {"cobalt": "blues"}


def test_the_hierarchy_column_says_where_a_class_belongs(run, tmp_path):
    photos(tmp_path / "new", (35, 50, 190), 6, 17)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    table = pd.DataFrame({"file_name": names, "label": "cobalt", "shelf": "reds"})
    table.to_csv(tmp_path / "new" / "metadata.csv", index=False)
    chosen = settings("hierarchy.column=shelf")
    result = update_bundle(run / "bundle", tmp_path / "new", tmp_path, chosen, cache=run / "cache")
    assert result.added == {"cobalt": "reds"} and result.retrained == ("reds",)
    table.assign(shelf="attic").to_csv(tmp_path / "new" / "metadata.csv", index=False)
    with pytest.raises(DataError, match="one of the bundle's macros in the hierarchy column.*attic"):
        update_bundle(run / "bundle", tmp_path / "new", tmp_path / "again", chosen, cache=run / "cache")


def test_corrections_change_what_their_macros_answer_and_no_other_macro(run, tmp_path):
    # As the page writes them: file_name and label. These purples were taken for something else.
    photos(tmp_path / "shop", (120, 0, 120), 5, 23)
    names = sorted(path.name for path in (tmp_path / "shop").iterdir())
    pd.DataFrame({"file_name": names, "label": "cherry"}).to_csv(
        tmp_path / "shop" / "metadata.csv", index=False
    )
    result = update_bundle(
        run / "bundle", tmp_path / "shop" / "metadata.csv", tmp_path, settings(), cache=run / "cache"
    )
    assert result.n_new == 5 and result.retrained == ("reds",) and not result.added
    assert set(result.changed_files) == {"router.keras", "submodel-00.keras", "learned_from.txt"}
    answers = load_bundle(result.bundle).predict([tmp_path / "shop" / name for name in names])
    assert [answer.label for answer in answers] == ["cherry"] * 5


def test_a_corrected_training_image_is_taken_from_its_old_class(run, tmp_path):
    listed = pd.read_csv(run / "manifest.csv")
    row = listed[(listed["split"] == "train") & (listed["label"] == "moss")].iloc[0]
    shutil.copy(run / row["file_name"], tmp_path / "mistaken.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\nmistaken.png,sea\n")
    result = update_bundle(
        run / "bundle", tmp_path / "metadata.csv", tmp_path / "out", settings(), cache=run / "cache"
    )
    assert result.n_new == 1 and set(result.retrained) == {"greens", "blues"}
    merged = pd.read_csv(result.manifest)
    assert len(merged) == len(listed)  # the file stands once, under its new class
    assert (merged["label"] == "moss").sum() == (listed["label"] == "moss").sum() - 1


def test_one_macro_is_trained_again_on_request_and_keeps_everything_else(run, image_folder, tmp_path):
    result = update_bundle(
        run / "bundle", image_folder, tmp_path, settings(), macro="greens", head="lda", cache=run / "cache"
    )
    assert result.n_new == 0 and result.retrained == ("greens",)
    assert set(result.changed_files) == {"router.keras", "submodel-01.keras"}
    merged, listed = pd.read_csv(result.manifest), pd.read_csv(run / "manifest.csv")
    assert sorted(merged["split"]) == sorted(listed["split"])  # images that are known keep their splits


def test_updates_that_can_not_be_are_refused_and_leave_nothing(run, image_folder, tmp_path):
    with pytest.raises(DataError, match="nothing new.*--macro"):
        update_bundle(run / "bundle", image_folder, tmp_path / "out", settings(), cache=run / "cache")
    with pytest.raises(DataError, match="no macro 'pinks'. Its macros: reds, greens, blues"):
        update_bundle(run / "bundle", image_folder, tmp_path / "out", settings(), macro="pinks")
    alone = tmp_path / "elsewhere" / "bundle"
    shutil.copytree(run / "bundle", alone)
    photos(tmp_path / "new" / "snow", (240, 245, 255), 4, 29)
    with pytest.raises(DataError, match="none of: .*apple.*--old"):
        update_bundle(alone, tmp_path / "new", tmp_path / "out", settings(), macro="blues")
    photos(tmp_path / "torn" / "snow", (240, 245, 255), 1, 31)
    (tmp_path / "torn" / "sky").mkdir()
    shutil.copy(tmp_path / "torn" / "snow" / "31-00.png", tmp_path / "torn" / "sky" / "other.png")
    with pytest.raises(DataError, match="Equal files have different labels"):
        update_bundle(run / "bundle", tmp_path / "torn", tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()


def test_a_flat_bundle_grows_as_well(image_folder, tmp_path):
    chosen = settings("classifier.sharing=frozen", "classifier.model=flat")
    train_classifier(
        image_folder, tmp_path / "run", chosen, cache=tmp_path / "cache", backbone=small_backbone()
    )
    photos(tmp_path / "new" / "snow", (240, 245, 255), 5, 37)
    result = update_bundle(
        tmp_path / "run" / "bundle", tmp_path / "new", tmp_path / "out", settings(), cache=tmp_path / "cache"
    )
    assert result.added == {"snow": None} and set(result.changed_files) == {"flat.keras", "learned_from.txt"}
    assert "snow" in load_bundle(result.bundle).classes_


@pytest.mark.parametrize("name", ["v1.3", "v2.1"])
def test_a_trained_head_is_followed_by_one_of_its_kind(name):
    head = build_head(name, 5, 3)
    again = build_head(head_like(head), 5, 4)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in head.layers]
    assert again.output_shape == (None, 4)
