import pytest
from pydantic import ValidationError

from aisles.data_prep.abo.recipe import load_recipe, packaged_recipes
from aisles.data_prep.io.errors import DataError


def test_the_packaged_recipes_are_there_and_valid():
    assert packaged_recipes() == ("abo65", "sample")
    assert [load_recipe(name).name for name in packaged_recipes()] == ["abo65", "sample"]


def test_abo65_is_the_published_study():
    recipe = load_recipe("abo65")
    assert (recipe.selection.minimum, recipe.selection.cap, recipe.selection.maximum_shared) == (150, 400, 50)
    assert len(recipe.selection.generics) == 12 and len(recipe.selection.synonyms) == 3
    assert all(synonym.action == "drop" for synonym in recipe.selection.synonyms)
    assert all(group.action == "keep" for group in recipe.selection.confusable)
    assert recipe.similarity.backbone == "vgg16"
    assert (recipe.similarity.threshold().of("SOFA"), recipe.similarity.threshold().of("RUG")) == (0.5, 0.2)
    lite = recipe.similarity.threshold("efficientnet_lite0")
    assert (lite.of("SOFA"), lite.of("RUG")) == (0.35, 0.15)
    assert recipe.split.shares["test"] == 0.2 and recipe.audit.exclude == ()


def test_settings_are_changed_by_dotted_keys_and_read_as_toml():
    changes = {"selection.cap": "200", "selection.generics": '["HOME"]', "split.method": "leaky"}
    recipe = load_recipe("abo65", changes)
    assert (recipe.selection.cap, recipe.selection.generics, recipe.split.method) == (200, ("HOME",), "leaky")


def test_a_recipe_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[selection]\nminimum = 5\n[similarity.thresholds.vgg16]\ndefault = 0.4\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.selection.minimum, recipe.selection.cap) == ("mine", 5, 400)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("selection.minimun", "1", "selection.minimun is unknown. Did you mean selection.minimum?"),
        ("selektion", "1", "selektion is unknown. Did you mean selection?"),
        ("colors", "1", "colors is unknown. There are: audit, name, selection, similarity, split."),
        ("similarity.thresholds.vgg16.defualt", "1", "similarity.thresholds.vgg16.defualt is unknown."),
        ("selection.minimum", "0", "greater than or equal to 1"),
        ("similarity.thresholds.vgg16.default", "1.5", "less than or equal to 1"),
        ("split.method", "random", "'product' or 'leaky'"),
        ("split.shares", "{ test = 1.0 }", "positive share for train"),
        ("name.x", "1", "'name' is a value, not a section"),
        ("audit.exclude", '["blur"]', "audit.exclude.0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(key, value, message):
    with pytest.raises(DataError, match=message):
        load_recipe("abo65", {key: value})


def test_a_class_can_not_be_merged_into_one_that_goes_away():
    chain = '[{ narrow = "A", wide = "B", action = "merge" }, { narrow = "B", wide = "C", action = "merge" }]'
    with pytest.raises(DataError, match=r"In conflict: \['B'\]"):
        load_recipe("abo65", {"selection.synonyms": chain})


def test_a_backbone_without_threshold_is_refused_with_the_next_step():
    with pytest.raises(DataError, match="no similarity threshold for .*inception_v3.*aisles data calibrate"):
        load_recipe("abo65").similarity.threshold("inception_v3")


def test_no_such_recipe_and_no_toml_are_named(tmp_path):
    with pytest.raises(DataError, match="neither a file nor one of abo65, sample"):
        load_recipe("abo66")
    (tmp_path / "broken.toml").write_text("[selection")
    with pytest.raises(DataError, match="is not TOML"):
        load_recipe(tmp_path / "broken.toml")


def test_a_recipe_can_not_be_changed_afterwards():
    with pytest.raises(ValidationError):
        load_recipe("abo65").selection.cap = 5  # pyright: ignore[reportAttributeAccessIssue]
