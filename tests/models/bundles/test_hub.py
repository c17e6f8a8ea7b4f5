"""Push and pull, against a local stand-in of the Hub's HTTP interface."""

import hashlib
import json
import shutil
import threading

import pytest

hub = pytest.importorskip("huggingface_hub")
import huggingface_hub.constants as constants  # noqa: E402

from aisles.data_prep.io.errors import DataError  # noqa: E402
from aisles.models.bundles.bundle import BundleError, load_bundle, read_bundle, save_bundle  # noqa: E402
from aisles.models.bundles.hub import pull_bundle, push_bundle  # noqa: E402
from tests.hub_stand_in import Hub  # noqa: E402

pytestmark = pytest.mark.keras


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def bundle(hierarchy, make_two_stage, tmp_path):
    facts = {
        "metrics": {"test accuracy": 0.75, "test macro_f1": 0.5, 'notes: #1 "good"': 1},
        "license": "Apache-2.0",
    }
    classifier = make_two_stage(hierarchy)
    classifier.learned_from = frozenset({"ab" * 32})
    return save_bundle(classifier, tmp_path / "bundle", facts=facts)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_pushed_comes_back_byte_for_byte_and_answers_alike(bundle, server, tmp_path, images):
    pushed = push_bundle(bundle, "me/shelf", endpoint=server.url)
    assert pushed.repo == "me/shelf" and pushed.url.endswith("/me/shelf")
    assert set(pushed.files) == set(contents(bundle)) and contents(bundle) == {
        name: data for name, data in server.repos["me/shelf"][-1].items() if name != ".gitattributes"
    }
    pulled = pull_bundle("me/shelf", tmp_path / "there", endpoint=server.url)
    assert contents(pulled) == contents(bundle)  # and nothing of the Hub's own files
    mine, theirs = (load_bundle(folder, engine="tensorflow") for folder in (bundle, pulled))
    assert (mine.predict_proba(images) == theirs.predict_proba(images)).all()


def test_the_cards_front_matter_is_what_the_hub_reads(bundle):
    card = hub.ModelCard.load(bundle / "README.md")
    assert card.data.library_name == "aisles" and card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    found = {
        (result.metric_type, result.metric_name): result.metric_value for result in card.data.eval_results
    }
    assert found == {
        ("accuracy", "test accuracy"): 0.75, ("f1", "test macro_f1"): 0.5, ("other", 'notes: #1 "good"'): 1
    }  # fmt: skip
    assert card.text.strip().startswith("# Two-stage classifier of 6 classes")


def test_a_later_push_replaces_networks_that_are_there_no_more(
    bundle, server, hierarchy, make_two_stage, tmp_path
):
    push_bundle(bundle, "me/shelf", endpoint=server.url)
    save_bundle(make_two_stage(hierarchy, flat=False), bundle)
    push_bundle(bundle, "me/shelf", endpoint=server.url)
    assert "flat.keras" not in server.repos["me/shelf"][-1]
    pulled = pull_bundle("me/shelf", tmp_path / "there", endpoint=server.url)
    assert contents(pulled) == contents(bundle)


def test_a_file_that_was_changed_on_the_way_is_refused_and_nothing_is_left(bundle, server, tmp_path):
    push_bundle(bundle, "me/shelf", endpoint=server.url)
    server.repos["me/shelf"][-1]["router.keras"] += b"x"
    server.repos["me/shelf"][-1]["evil.py"] = b"raise SystemExit"
    with pytest.raises(BundleError, match="router.keras has changed"):
        pull_bundle("me/shelf", tmp_path / "there", endpoint=server.url)
    assert not (tmp_path / "there").exists()
    assert not any("evil" in path for _, path in server.asked)


def test_offline_it_comes_from_the_cache_and_nothing_is_asked(bundle, server, tmp_path, monkeypatch):
    push_bundle(bundle, "me/shelf", endpoint=server.url)
    pull_bundle("me/shelf", tmp_path / "first", endpoint=server.url)
    server.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pulled = pull_bundle("me/shelf", tmp_path / "second", endpoint=server.url)
    assert contents(pulled) == contents(bundle) and not server.asked
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        push_bundle(bundle, "me/shelf", endpoint=server.url)
    with pytest.raises(DataError, match="not in the local cache"):
        pull_bundle("me/other", tmp_path / "third", endpoint=server.url)
    assert not server.asked


def test_what_the_hub_refuses_is_explained(bundle, server, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no repository me/none"):
        pull_bundle("me/none", tmp_path / "x", endpoint=server.url)
    push_bundle(bundle, "me/shelf", endpoint=server.url)
    with pytest.raises(DataError, match="no such revision"):
        pull_bundle("me/shelf", tmp_path / "x", revision="v9", endpoint=server.url)
    with pytest.raises(DataError, match="no name of a repository"):
        pull_bundle("a/b/c/d", tmp_path / "x", endpoint=server.url)
    server.repos["me/words"] = [{"README.md": b"# Words"}]
    with pytest.raises(DataError, match="holds no bundle"):
        pull_bundle("me/words", tmp_path / "x", endpoint=server.url)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(DataError, match="hf auth login"):
        push_bundle(bundle, "me/new", endpoint=server.url)
    assert not (tmp_path / "x").exists()


def test_a_damaged_bundle_is_not_pushed_and_no_folder_of_others_is_replaced(bundle, server, tmp_path):
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("rain")
    with pytest.raises(FileExistsError, match="not a bundle"):
        pull_bundle("me/shelf", tmp_path / "diary", endpoint=server.url)
    shutil.copy(bundle / "flat.keras", bundle / "router.keras")
    with pytest.raises(BundleError, match="has changed"):
        push_bundle(bundle, "me/shelf", endpoint=server.url)
    assert not server.asked


def test_the_card_stands_in_the_hashes_of_what_is_pushed(bundle):
    assert (
        read_bundle(bundle)["files"]["README.md"]
        == hashlib.sha256((bundle / "README.md").read_bytes()).hexdigest()
    )


def test_the_commands_push_and_pull_and_print_json(bundle, server, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from aisles.cli.main import main

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.chdir(tmp_path)
    pushed = CliRunner().invoke(main, ["push", str(bundle), "me/shelf", "--private", "--json"])
    assert pushed.exit_code == 0, pushed.output
    assert json.loads(pushed.stdout)["repo"] == "me/shelf"
    pulled = CliRunner().invoke(main, ["pull", "me/shelf"])
    assert pulled.exit_code == 0 and "aisles predict shelf IMAGES" in pulled.stdout
    assert contents(tmp_path / "shelf") == contents(bundle)
    missing = CliRunner().invoke(main, ["pull", "me/none", "--json"])
    assert missing.exit_code == 3 and "no repository me/none" in missing.output


def test_a_missing_extra_is_named(bundle, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"\.\[hub\]"):
        push_bundle(bundle, "me/shelf")
    with pytest.raises(ImportError, match=r"\.\[hub\]"):
        pull_bundle("me/shelf")
