"""Bundles: a trained classifier as a folder that can be checked before anything in it is loaded.

`bundle.json` says what the folder holds and has every other file's SHA-256; networks are `.keras` files (JSON and
HDF5 in a zip, loaded in Keras' safe mode), so nothing is unpickled.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from ..hierarchy.taxonomy import Hierarchy
from .backbones import Backbone
from .classifier import LabelModel
from .model_card import model_card
from .two_stage import FlatClassifier, TwoStageClassifier

SCHEMA = 1
PACKAGES = ("aisles", "keras", "tensorflow", "numpy", "pillow")


class BundleError(ValueError):
    """A bundle is missing, changed, cut short, of a newer schema, or no bundle at all."""


def save_bundle(
    classifier: FlatClassifier | TwoStageClassifier,
    folder: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a classifier as a bundle; an existing bundle at `folder` is replaced once the new one is whole.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
    folder : path
    facts : mapping, optional
        What the model card shall tell: `data` (fingerprint, counts), `figures` (name to value), `settings`.

    Raises
    ------
    FileExistsError
        If `folder` exists, is not empty and is not a bundle.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "bundle.json").is_file():
        raise FileExistsError(f"{folder} exists and is not a bundle. Choose another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".part-{folder.name}-", dir=folder.parent))
    try:
        content = _write_models(classifier, part)
        content["facts"] = json.loads(json.dumps(dict(facts or {}), default=str))
        (part / "README.md").write_text(model_card(content), encoding="utf-8")
        content["files"] = {path.name: _sha256(path) for path in sorted(part.iterdir())}
        (part / "bundle.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def read_bundle(folder: str | Path) -> dict[str, Any]:
    """Read and check `bundle.json` and every file's hash, loading no network.

    Raises
    ------
    BundleError
        If anything is off; the message names the file.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        schema, files = content["schema"], content["files"]
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is no bundle: it has no bundle.json. Give a folder that `aisles train` or "
            "`aisles benchmark` has written."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'bundle.json'} can't be read: {error}. Write the bundle again.") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BundleError(
            f"{folder} was written by a newer aisles (schema {schema}, this one reads up to {SCHEMA}). "
            "Update aisles: python -m pip install --upgrade aisles."
        )
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"{folder} lacks its file {name}. Copy the bundle again.")
        if _sha256(path) != digest:
            raise BundleError(
                f"{path} has changed since the bundle was written (SHA-256 differs). Copy or train it again."
            )
    return content


def load_bundle(folder: str | Path) -> FlatClassifier | TwoStageClassifier:
    """Load a classifier from a bundle, after all hashes were checked.

    Raises
    ------
    BundleError
        As in `read_bundle`.
    """
    folder, content = Path(folder), read_bundle(folder)
    try:
        return _Loader(folder, content).classifier()
    except (KeyError, IndexError, TypeError) as error:
        raise BundleError(f"{folder / 'bundle.json'} doesn't describe a classifier: {error!r}.") from error


@dataclass(frozen=True)
class _Loader:
    folder: Path
    content: dict[str, Any]

    def classifier(self) -> FlatClassifier | TwoStageClassifier:
        trunks = [self._trunk(entry) for entry in self.content["trunks"]]
        models = self.content["models"]
        hierarchy = self.content["hierarchy"]
        hierarchy = Hierarchy.from_json(json.dumps(hierarchy)) if hierarchy else None
        flat = self._model(models["flat"], trunks) if "flat" in models else None
        if self.content["kind"] == "flat":
            return FlatClassifier(flat, hierarchy)
        submodels = [self._model(entry, trunks) for entry in models["submodels"]]
        router = self._model(models["router"], trunks)
        return TwoStageClassifier(router, submodels, hierarchy, flat=flat, rule=self.content["rule"])

    def _trunk(self, entry: dict[str, Any]) -> Backbone:
        model = self._network(entry["file"])
        facts = {name: entry[name] for name in ("name", "preprocessing", "color", "weights", "precision")}
        return Backbone(model=model, **facts)

    def _model(self, entry: dict[str, Any], trunks: list[Backbone]) -> LabelModel:
        if entry["head"] is None:
            return LabelModel(tuple(entry["labels"]))
        head = self._network(entry["head"])
        return LabelModel(tuple(entry["labels"]), trunks[entry["trunk"]], head, float(entry["temperature"]))

    def _network(self, name: str) -> keras.Model:
        if name not in self.content["files"]:
            raise BundleError(f"{self.folder / 'bundle.json'} names {name}, which it has no hash of.")
        try:
            return keras.saving.load_model(self.folder / name, compile=False, safe_mode=True)
        except (ValueError, OSError, TypeError) as error:
            raise BundleError(f"{self.folder / name} can't be loaded: {error}") from error


def _write_models(classifier: FlatClassifier | TwoStageClassifier, folder: Path) -> dict[str, Any]:
    trunks: list[Backbone] = []

    def entry(model: LabelModel, name: str) -> dict[str, Any]:
        facts = {"labels": list(model.labels), "temperature": model.temperature, "trunk": None, "head": None}
        if model.constant:
            return facts
        if not any(model.trunk is trunk for trunk in trunks):
            trunks.append(model.trunk)
        model.head.save(folder / f"{name}.keras")
        position = next(i for i, trunk in enumerate(trunks) if trunk is model.trunk)
        return {**facts, "head": f"{name}.keras", "trunk": position}

    two_stage = isinstance(classifier, TwoStageClassifier)
    models: dict[str, Any] = {}
    if two_stage:
        models["router"] = entry(classifier.router, "router")
        models["submodels"] = [entry(m, f"submodel-{i:02d}") for i, m in enumerate(classifier.submodels)]
    flat = classifier.flat if two_stage else classifier.model
    if flat is not None:
        models["flat"] = entry(flat, "flat")
    hierarchy = classifier.hierarchy
    return {
        "schema": SCHEMA,
        "kind": "two-stage" if two_stage else "flat",
        "classes": [str(name) for name in classifier.classes_],
        "hierarchy": json.loads(hierarchy.to_json()) if hierarchy else None,
        "rule": str(classifier.rule) if two_stage else None,
        "trunks": [_write_trunk(trunk, folder / f"trunk-{i:02d}.keras") for i, trunk in enumerate(trunks)],
        "models": models,
        "versions": {name: version(name) for name in PACKAGES},
    }


def _write_trunk(trunk: Backbone, path: Path) -> dict[str, Any]:
    trunk.model.save(path)
    return {
        "file": path.name,
        "name": trunk.name,
        "input_size": list(trunk.input_size),
        "preprocessing": trunk.preprocessing,
        "color": trunk.color,
        "weights": trunk.weights,
        "precision": trunk.precision,
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
