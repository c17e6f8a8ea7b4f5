"""Bundles: what is written is what is read, and nothing else is."""

import json
import re
import threading
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from aisles.data_prep.io import whole_folder
from aisles.data_prep.io.files import sha256_of
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import class_embeddings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.bundles.bundle import SCHEMA, BundleError, load_bundle, read_bundle, save_bundle
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

pytestmark = pytest.mark.keras


@pytest.fixture
def bundle(hierarchy, make_two_stage, tmp_path):
    classifier = make_two_stage(hierarchy, temperature=1.4, rule="beam:2")
    return save_bundle(classifier, tmp_path / "bundle", facts={"data": {"fingerprint": "f1"}}), classifier


def rewritten(folder, change):
    """Change bundle.json, its own hash made to fit again."""
    from aisles.models.bundles.bundle import _own_hash

    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    content["sha256"] = _own_hash(content)
    (folder / "bundle.json").write_text(json.dumps(content))


def test_a_loaded_classifier_answers_as_the_saved_one(bundle, images):
    folder, classifier = bundle
    loaded = load_bundle(folder)
    assert isinstance(loaded, TwoStageClassifier) and str(loaded.rule) == "beam:2"
    assert loaded.hierarchy == classifier.hierarchy
    for rule in ("soft", "hard", "hie"):
        for calibrated in (True, False):
            np.testing.assert_allclose(
                loaded.predict_proba(images, rule=rule, calibrated=calibrated),
                classifier.predict_proba(images, rule=rule, calibrated=calibrated),
                atol=1e-6,
            )
    assert loaded.router.temperature == 1.4
    again = save_bundle(loaded, folder.parent / "again")
    np.testing.assert_allclose(
        load_bundle(again).predict_proba(images), loaded.predict_proba(images), atol=1e-6
    )


def test_a_bundle_knows_what_it_learned_from(bundle):
    folder, classifier = bundle
    assert load_bundle(folder).learned_from == frozenset() and not (folder / "learned_from.txt").exists()
    classifier.learned_from = frozenset({"b" * 64, "a" * 64})
    save_bundle(classifier, folder)
    assert (folder / "learned_from.txt").read_text() == "a" * 64 + "\n" + "b" * 64 + "\n"
    assert load_bundle(folder).learned_from == classifier.learned_from
    (folder / "learned_from.txt").write_text("a" * 64 + "\n")
    with pytest.raises(BundleError, match="learned_from.txt has changed"):
        load_bundle(folder)


@pytest.mark.parametrize("temperature", [1e-300, 0, -1, 1e9, float("nan")])
def test_a_bundle_of_a_mad_temperature_is_refused(bundle, temperature):
    folder, _ = bundle

    def change(content):
        content["models"]["router"]["temperature"] = temperature

    rewritten(folder, change)
    with pytest.raises(BundleError, match="A temperature must be a number from 0.01 to 1000"):
        load_bundle(folder)


def test_overlapping_hierarchies_guarantees_and_trees_are_kept(overlapping, make_two_stage, images, tmp_path):
    classifier = make_two_stage(overlapping)
    labels = [p.label for p in classifier.predict(images)] * 4
    classifier.set_confidence(0.5, list(images) * 4, labels)
    tree = cluster_classes(class_embeddings(np.eye(4), list(overlapping.classes)))
    save_bundle(classifier, tmp_path / "b", tree=tree)
    loaded = load_bundle(tmp_path / "b")
    assert loaded.hierarchy.overlapping and loaded.confidence == classifier.confidence
    assert loaded.predict(images, rule="climb") == classifier.predict(images, rule="climb")
    assert ClassTree.from_json((tmp_path / "b" / "tree.json").read_text()).classes == tree.classes
    assert "prediction sets" in (tmp_path / "b" / "README.md").read_text()


def test_a_flat_bundle_with_and_without_hierarchy(hierarchy, make_backbone, make_model, images, tmp_path):
    model = make_model(hierarchy.classes, make_backbone())
    for macros in (None, hierarchy):
        save_bundle(FlatClassifier(model, macros), tmp_path / "flat")  # the second replaces the first
        loaded = load_bundle(tmp_path / "flat")
        assert isinstance(loaded, FlatClassifier) and loaded.hierarchy == macros
        np.testing.assert_allclose(
            loaded.predict_proba(images), FlatClassifier(model).predict_proba(images), atol=1e-6
        )
    assert [path.name for path in tmp_path.iterdir()] == ["flat"]


def test_the_card_says_what_a_person_has_to_know(bundle):
    card = (bundle[0] / "README.md").read_text()
    for words in (
        "Meant for",
        "Not\nmeant for",
        "fingerprint: f1",
        "## License",
        "temperature of the router: 1.400",
        "sky",
    ):
        assert words in card, words


def test_labels_are_text_on_the_card_whatever_they_hold(make_model, make_backbone, tmp_path):
    evil = (
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "a\n## License\n\nfree",
        "b | c |\r\n| d",
    )
    hierarchy = Hierarchy(("![m](http://x)", "`n`"), (evil[:2], evil[2:]))
    backbone = make_backbone()
    parts = [make_model(members, backbone) for members in hierarchy.members]
    classifier = TwoStageClassifier(make_model(hierarchy.macros, backbone), parts, hierarchy)
    facts = {"data": {"# x": "<b>"}, "license": "<img src=x onerror=y>\n# forged"}
    for name, each in (
        ("two", classifier),
        ("flat", FlatClassifier(make_model(hierarchy.classes, backbone))),
    ):
        card = (save_bundle(each, tmp_path / name, facts=facts) / "README.md").read_text()
        assert re.findall(r"(?<!\\)[<\[`]", card.replace("```", "").replace("`climb`", "")) == []
        headings = [line for line in card.splitlines() if line.startswith("#")]
        assert headings == [
            line for line in headings if re.fullmatch(r"#{1,2} [A-Z][a-z -]+( of \d classes)?", line)
        ]
        assert len(headings) == 8 and headings.count("## License") == 1
        rows = [line for line in card.splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows) and len(rows) == 4 * (
            name == "two"
        )
        assert list(load_bundle(tmp_path / name).classes_) == sorted(evil)


def test_a_bundle_holds_no_pickle(bundle):
    folder, _ = bundle
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".keras", ".json", ".md"}
    for path in folder.glob("*.keras"):
        assert {name.rpartition(".")[2] for name in zipfile.ZipFile(path).namelist()} <= {"json", "h5"}


def change_byte(folder):
    path = folder / "router.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(folder):
    path = folder / "backbone-00.keras"
    path.write_bytes(path.read_bytes()[:-100])


def cut_json(folder):
    path = folder / "bundle.json"
    path.write_text(path.read_text()[:-50])


def swap_labels(folder):
    path = folder / "bundle.json"
    path.write_text(
        path.read_text().replace('"sky"', '"SKY"').replace('"navy"', '"sky"').replace('"SKY"', '"navy"')
    )


def newer(folder):
    rewritten(folder, lambda content: content.update(schema=SCHEMA + 1))


def older(folder):
    """A schema without a hash of its own must not open the way to changing bundle.json."""
    content = json.loads((folder / "bundle.json").read_text())
    del content["sha256"]
    (folder / "bundle.json").write_text(json.dumps(content | {"schema": 1}))


def foreign(folder):
    (folder / "bundle.json").write_text('{"model_type": "vit", "files": {}}')


def not_json(folder):
    (folder / "bundle.json").write_bytes(b"\x80\x04\x95pickle")


def lost(folder):
    (folder / "submodel-00.keras").unlink()


def outside(folder):
    rewritten(folder, lambda content: content["files"].update({"../secret": "0" * 64}))


def outside_network(folder):
    rewritten(folder, lambda content: content["files"].update({"../secret.keras": "0" * 64}))


def other_format(folder):
    (folder / "router.h5").write_bytes((folder / "router.keras").read_bytes())
    rewritten(folder, lambda content: content["files"].update({"router.h5": sha256_of(folder / "router.h5")}))


def other_head(folder):
    rewritten(folder, lambda content: content["models"]["router"].update(head="README.md"))


def deep(folder):
    (folder / "bundle.json").write_text('{"schema": 3, "files": ' + "[" * 100_000 + "]" * 100_000 + "}")


def huge_images(folder):
    rewritten(folder, lambda content: content["backbones"][0]["fitting"].update(size=[100_000, 100_000]))


def odd_images(folder):
    rewritten(folder, lambda content: content["backbones"][0]["fitting"].update(size=["a", 1]))


def no_kind(folder):
    rewritten(folder, lambda content: content.pop("kind"))


def unknown_kind(folder):
    rewritten(folder, lambda content: content.update(kind="oracle"))


def unhashed(folder):
    rewritten(folder, lambda content: content["models"]["router"].update(head="other.keras"))


def nonsense(folder):
    rewritten(folder, lambda content: content.update(models=[1, 2]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_byte, r"router\.keras has changed"),
        (cut, r"backbone-00\.keras has changed"),
        (cut_json, "can't be read"),
        (swap_labels, r"bundle\.json has changed"),
        (newer, "newer aisles.*Update aisles"),
        (older, "older aisles: its schema is 1.*Train it again"),
        (foreign, "not from aisles"),
        (not_json, "can't be read"),
        (lost, r"lacks its file submodel-00\.keras"),
        (outside, r"lists '\.\./secret'\. A bundle holds \.keras files"),
        (outside_network, "lacks its file"),
        (other_format, r"lists 'router\.h5'\. A bundle holds \.keras files"),
        (other_head, r"names 'README\.md' as a network"),
        (deep, "can't be read"),
        (huge_images, r"wants images of \[100000, 100000\]: .* from 1 to 2048"),
        (odd_images, r"wants images of \['a', 1\]"),
        (no_kind, "doesn't say"),
        (unknown_kind, "'oracle', which is unknown"),
        (unhashed, "no hash of"),
        (nonsense, "doesn't describe"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bundle_that_is_not_whole_and_ours_is_refused(bundle, damage, message):
    damage(bundle[0])
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle[0])


def test_what_is_no_bundle_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BundleError, match=r"no bundle\.json"):
            read_bundle(path)


def test_a_network_that_contradicts_bundle_json_is_refused(bundle, images):
    folder, _ = bundle
    (folder / "router.keras").write_bytes((folder / "submodel-02.keras").read_bytes())
    rewritten(folder, lambda c: c["files"].update({"router.keras": sha256_of(folder / "router.keras")}))
    with pytest.raises(BundleError, match="2 outputs"):
        load_bundle(folder).predict(images)


def test_a_network_changed_or_lost_after_loading_is_noticed_when_it_is_needed(bundle, images):
    loaded = load_bundle(bundle[0])
    change_byte(bundle[0])
    with pytest.raises(BundleError, match="has changed"):
        loaded.predict(images)
    for network in bundle[0].glob("*.keras"):
        network.unlink()
    with pytest.raises(BundleError, match=r"\.keras is missing: the bundle was moved or deleted"):
        loaded.predict(images)


def test_a_bundle_of_a_relative_path_answers_after_the_working_directory_changes(bundle, images, monkeypatch):
    folder, classifier = bundle
    monkeypatch.chdir(folder.parent)
    loaded = load_bundle(folder.name)
    monkeypatch.chdir("/")
    np.testing.assert_allclose(loaded.predict_proba(images), classifier.predict_proba(images), atol=1e-6)


@pytest.mark.parametrize("fault", [OSError("no more room"), KeyboardInterrupt("no more room")])
def test_a_bundle_that_cant_be_replaced_stays(bundle, images, monkeypatch, fault):
    folder, classifier = bundle
    real = whole_folder.os.replace

    def failing(source, target):
        if Path(target) == folder and Path(source).name.startswith(".part-"):
            raise fault
        real(source, target)

    monkeypatch.setattr(whole_folder.os, "replace", failing)
    with pytest.raises(type(fault), match="no more room"):
        save_bundle(classifier, folder)
    load_bundle(folder).predict(images)
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_readers_see_the_old_bundle_or_the_new_one_while_it_is_replaced(hierarchy, make_two_stage, tmp_path):
    classifier = make_two_stage(hierarchy)
    save_bundle(classifier, tmp_path / "bundle", facts={"data": {"number": -1}})
    done, seen, faults = threading.Event(), set(), []

    def read():
        while not done.is_set():
            try:
                seen.add(read_bundle(tmp_path / "bundle")["facts"]["data"]["number"])
            except Exception as error:
                faults.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(15):
        save_bundle(classifier, tmp_path / "bundle", facts={"data": {"number": number}})
    done.set()
    for reader in readers:
        reader.join()
    assert not faults and len(seen) > 3
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_of_something_else_is_never_overwritten(hierarchy, make_two_stage, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a bundle"):
        save_bundle(make_two_stage(hierarchy), tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def keras_model(n_outputs):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(n_outputs, activation="softmax"),
        ]
    )


def test_keras_models_of_ones_own_are_saved_and_other_callables_refused(images, tmp_path):
    given = FlatClassifier.from_model(keras_model(3), ["c", "a", "b"])
    save_bundle(given, tmp_path / "given")
    np.testing.assert_allclose(
        load_bundle(tmp_path / "given").predict_proba(images), given.predict_proba(images), atol=1e-6
    )
    (tmp_path / "given" / "flat.keras").unlink()
    keras_model(2).save(tmp_path / "given" / "flat.keras")
    digest = sha256_of(tmp_path / "given" / "flat.keras")
    rewritten(tmp_path / "given", lambda content: content["files"].update({"flat.keras": digest}))
    with pytest.raises(
        BundleError, match=r"flat\.keras doesn't fit bundle\.json\. .* 2 outputs and 3 labels"
    ):
        load_bundle(tmp_path / "given").predict(images)
    function = FlatClassifier.from_model(lambda pixels: pixels, ["a", "b"], input_size=(2, 2))
    with pytest.raises(ValueError, match="code is never stored"):
        save_bundle(function, tmp_path / "function")
    assert not (tmp_path / "function").exists()


def test_a_run_on_embeddings_says_why_it_has_no_bundle(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{}")
    for asked in ("run", "run/bundles/two-stage"):
        with pytest.raises(BundleError, match="run is a run without bundles. Of embeddings") as refused:
            read_bundle(tmp_path / asked)
        assert "RUN/bundles/two-stage" not in str(refused.value)
    (tmp_path / "run" / "bundles" / "flat").mkdir(parents=True)
    (tmp_path / "run" / "bundles" / "flat" / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match=r"run holds .*bundles/flat: give one of them"):
        read_bundle(tmp_path / "run" / "bundles" / "two-stages")


def test_a_run_folder_in_a_bundles_place_is_told_where_its_bundles_are(tmp_path):
    for name in ("two-stage", "flat"):
        (tmp_path / "run" / "bundles" / name).mkdir(parents=True)
        (tmp_path / "run" / "bundles" / name / "bundle.json").write_text("{}")
    with pytest.raises(
        BundleError, match=r"It holds .*bundles/two-stage and .*bundles/flat: give one of them"
    ):
        load_bundle(tmp_path / "run")
