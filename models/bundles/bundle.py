"""Bundles: a trained classifier as a folder that can be checked before anything in it is loaded.

`bundle.json` says what the folder holds and has every other file's SHA-256, and its own; networks are `.keras` files
(JSON and HDF5 in a zip) of layers on an allow-list, see `keras_file`, so nothing is unpickled and no code is run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.files import sha256_of
from aisles.data_prep.io.whole_folder import put_back, whole_folder
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.backbones.engines import check_engine
from aisles.models.backbones.registry import Backbone, JoinedBackbone, OnnxBackbone
from aisles.models.prediction.guarantee import Confidence
from aisles.models.prediction.label_model import AnyModel, GivenModel, LabelModel
from aisles.models.prediction.processes import Origin
from aisles.models.prediction.stored import (
    BundleError,
    Residents,
    StoredBackbone,
    StoredByName,
    StoredJoined,
    StoredNetwork,
    opened,
)
from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier

from .keras_file import check_keras_file
from .model_card import model_card

__all__ = ["SCHEMA", "BundleError", "load_bundle", "read_bundle", "save_bundle"]

SCHEMA = 3  # 2: bundle.json has a hash of its own; 3: backbones say how images are fitted
PACKAGES = ("aisles", "keras", "tensorflow", "numpy", "pillow")
INSIDE = ("bundles/two-stage", "bundles/flat", "bundle")  # where run folders keep theirs
LEARNED_FROM = "learned_from.txt"
"""SHA-256 of every image that weights and temperatures were learned from, one a line, sorted."""
CARD, TREE, DESCRIPTION = "README.md", "tree.json", "bundle.json"
LARGEST_JSON = 64 * 2**20
"""Bytes of `bundle.json`; that of 10,000 classes has about 1 MiB."""
LARGEST_SIDE = 2048
"""Pixels of the images that a bundle may want, in height and width: a batch of 32 then takes 1.6 GB as float32."""
_KEYS = ("kind", "classes", "hierarchy", "rule", "backbones", "models", "versions")


def save_bundle(
    classifier: FlatClassifier | TwoStageClassifier,
    folder: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    tree: ClassTree | None = None,
) -> Path:
    """Write a classifier as a bundle; an existing bundle at `folder` is replaced once the new one is whole.

    Parameters
    ----------
    classifier : FlatClassifier or TwoStageClassifier
        Temperatures, what `set_confidence` found and the SHA-256 of the images it learned from are saved with it.
    folder : path
    facts : mapping, optional
        What the model card shall tell: `data` (fingerprint, counts), `metrics` (name to value), `settings`,
        `license`.
    tree : ClassTree, optional
        The tree of classes that the hierarchy was cut from; explanations show the path through it.

    Raises
    ------
    FileExistsError
        If `folder` exists, is not empty and is not a bundle.
    ValueError
        If a model can't be saved: a callable that is no Keras model, a preprocessing function, or a layer that no
        bundle may hold.
    """
    folder = Path(folder)
    check_place(folder)
    with whole_folder(folder) as part:
        content = _Writer(part, []).content(classifier)
        content["facts"] = json.loads(json.dumps(dict(facts or {}), default=str))
        if tree is not None:
            (part / TREE).write_text(tree.to_json(), encoding="utf-8")
        write_learned_from(part, classifier.learned_from)
        seal(part, content)
    return folder


def check_place(folder: Path) -> None:
    """Refuse to replace what is no bundle.

    Raises
    ------
    FileExistsError
        If the folder exists, is not empty and is not a bundle.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise FileExistsError(
            f"{folder} exists and is not a bundle. Choose another folder, or empty this one."
        )


def write_learned_from(part: Path, digests: Iterable[str]) -> None:
    """Write the SHA-256 of the images that a classifier learned from, if any are known."""
    listed = sorted(digests)
    if listed:
        (part / LEARNED_FROM).write_text("\n".join(listed) + "\n", encoding="ascii")


def seal(part: Path, content: dict[str, Any]) -> None:
    """Write model card and `bundle.json`, with the hashes of everything that lies in the folder.

    Raises
    ------
    ValueError
        If a network there holds what no bundle may: what can't be loaded is not saved.
    """
    for path in part.glob("*.keras"):
        check_keras_file(path)
    (part / CARD).write_text(model_card(content), encoding="utf-8")
    names = [path.name for path in sorted(part.iterdir()) if path.name != DESCRIPTION]
    content["files"] = {name: sha256_of(part / name) for name in names}
    content["sha256"] = _own_hash(content)
    (part / DESCRIPTION).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def read_bundle(folder: str | Path) -> dict[str, Any]:
    """Read and check `bundle.json` and every file's hash, loading no network.

    While another process replaces the bundle, the old or the new one is read.

    Raises
    ------
    BundleError
        If anything is off; the message names the file.
    """
    folder = Path(folder)
    put_back(folder)
    for _ in range(20):
        before = _state(folder)
        try:
            return _read(folder)
        except BundleError:
            if _state(folder) == before:
                raise
    return _read(folder)


def _state(folder: Path) -> tuple[int, int] | None:
    """Return what tells one `bundle.json` from another at the same place; None if there is none."""
    try:
        found = (folder / "bundle.json").stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _read(folder: Path) -> dict[str, Any]:
    content = _read_json(folder)
    schema = content["schema"]
    if schema != SCHEMA or isinstance(schema, bool):
        older = isinstance(schema, int) and schema < SCHEMA
        raise BundleError(
            f"{folder} was written by {'an older' if older else 'a newer'} aisles: its schema is {schema!r}, and this "
            f"aisles reads {SCHEMA}. "
            + ("Train it again." if older else "Update aisles: git pull && python -m pip install .")
        )
    if content.get("sha256") != _own_hash(content):
        raise BundleError(
            f"{folder / 'bundle.json'} has changed since the bundle was written (SHA-256 differs). "
            "Copy or train it again."
        )
    odd = [name for name in content["files"] if not name.endswith(".keras")]
    odd = sorted(set(odd) - {CARD, TREE, LEARNED_FROM})
    if odd:
        raise BundleError(
            f"{folder / 'bundle.json'} lists {odd[0]!r}. A bundle holds .keras files, {CARD}, {TREE} and "
            f"{LEARNED_FROM}, since other files may run code when they are loaded. Train it again with this aisles."
        )
    for name, digest in content["files"].items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"{folder} lacks its file {name}. Copy the bundle again.")
        if sha256_of(path) != digest:
            raise BundleError(
                f"{path} has changed since the bundle was written (SHA-256 differs). Copy or train it again."
            )
    return content


def load_bundle(
    folder: str | Path, *, resident: int | None = None, engine: str = "auto"
) -> FlatClassifier | TwoStageClassifier:
    """Load a classifier from a bundle, after all hashes were checked.

    Networks are read when they are first needed.

    Parameters
    ----------
    folder : path
    resident : int, optional
        How many networks (backbones with the heads on them) may be in memory at once; the least recently used goes
        first. Any number unless given.
    engine : {'auto', 'tensorflow', 'onnx'}
        What runs the networks: TensorFlow, or onnxruntime (extra `onnx`), for which they are converted when they first
        run on this machine. `auto` is onnxruntime where that has happened, else TensorFlow. Probabilities agree within
        1e-4.

    Raises
    ------
    BundleError
        As in `read_bundle`, or later when a network is first needed and can't be loaded.
    ValueError
        If `resident` is no whole number of 1 or more, or the engine is unknown.
    ImportError
        If the engine is `onnx` and the extra is not installed.
    """
    check_engine(engine)
    residents = Residents(resident)
    folder, content = Path(folder).absolute(), read_bundle(folder)  # the working directory may change
    try:
        classifier = _Loader(folder, content).classifier(residents, engine)
    except BundleError:
        raise
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise BundleError(f"{folder / 'bundle.json'} doesn't describe a classifier: {error!r}.") from error
    classifier.origin = Origin(folder, content["sha256"], resident, engine)
    return classifier


def _read_json(folder: Path) -> dict[str, Any]:
    """Read bundle.json as far as its schema and files."""
    try:
        if (folder / "bundle.json").stat().st_size > LARGEST_JSON:
            raise BundleError(
                f"{folder / 'bundle.json'} has over {LARGEST_JSON} bytes: no bundle needs that."
            )
        content = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        meant = _where_bundles_are(folder)
        if (folder / "estimator.json").is_file():
            meant = (
                "It holds an estimator on features, which predicts no images. In Python: aisles.load(folder)."
            )
        raise BundleError(
            f"{folder} is no bundle: it has no bundle.json. "
            f"{meant or 'Give a bundle that `aisles train` or `aisles benchmark` has written: RUN/bundles/two-stage.'}"
        ) from None
    except BundleError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{folder / 'bundle.json'} can't be read: {error}. Write the bundle again."
        ) from error
    if not isinstance(content, dict) or "schema" not in content:
        raise BundleError(
            f"{folder / 'bundle.json'} is not from aisles: it names no schema. Give another folder."
        )
    if not isinstance(content.get("files"), dict):
        raise BundleError(f"{folder / 'bundle.json'} lists no files. Copy or train the bundle again.")
    return content


def _where_bundles_are(folder: Path) -> str:
    """Say which bundles the run has that a folder is or lies in, or why it has none; "" outside of runs."""
    run = next((place for place in (folder, *folder.parents[:2]) if (place / "metrics.json").is_file()), None)
    inside = [(run or folder) / name for name in INSIDE if ((run or folder) / name / "bundle.json").is_file()]
    if inside:
        holds = "It holds" if run in (folder, None) else f"{run} holds"
        return f"{holds} {' and '.join(map(str, inside))}: give one of them."
    if run is None:
        return ""
    return (
        f"{run} is a run without bundles. Of embeddings, and of predictions made elsewhere, none is written, because "
        "aisles doesn't have the network that made them. Run `aisles benchmark` on the images, or in Python fit "
        "aisles.HierarchicalEstimator on the features."
    )


def _own_hash(content: dict[str, Any]) -> str:
    """Hash what bundle.json says, apart from this hash."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class _Loader:
    folder: Path
    content: dict[str, Any]

    def classifier(self, residents: Residents, engine: str) -> FlatClassifier | TwoStageClassifier:
        missing = [key for key in _KEYS if key not in self.content]
        if missing:
            raise BundleError(
                f"{self.folder / 'bundle.json'} doesn't say {missing}. Copy or train the bundle again."
            )
        backbones = [self._backbone(entry) for entry in self.content["backbones"]]
        models = self.content["models"]
        hierarchy: Any = self.content["hierarchy"]
        hierarchy = Hierarchy.from_json(json.dumps(hierarchy)) if hierarchy else None
        flat: Any = self._model(models["flat"], backbones) if "flat" in models else None
        if self.content["kind"] == "flat":
            classifier = FlatClassifier(flat, hierarchy, residents=residents, engine=engine)
        elif self.content["kind"] == "two-stage":
            submodels = [self._model(entry, backbones) for entry in models["submodels"]]
            router = self._model(models["router"], backbones)
            classifier = TwoStageClassifier(
                router,
                submodels,
                hierarchy,
                flat=flat,
                rule=self.content["rule"],
                residents=residents,
                engine=engine,
            )
        else:
            raise BundleError(
                f"{self.folder} holds a {self.content['kind']!r}, which is unknown. Update aisles."
            )
        if list(classifier.classes_) != self.content["classes"]:
            raise BundleError(
                f"{self.folder / 'bundle.json'} contradicts itself on the classes. Train it again."
            )
        if LEARNED_FROM in self.content["files"]:
            listed = (self.folder / LEARNED_FROM).read_bytes()
            if hashlib.sha256(listed).hexdigest() != self.content["files"][LEARNED_FROM]:
                raise BundleError(
                    f"{self.folder / LEARNED_FROM} has changed while the bundle was read. Read it again."
                )
            classifier.learned_from = frozenset(listed.decode("ascii").split())
        if self.content.get("confidence"):
            classifier.confidence = Confidence.from_dict(self.content["confidence"])
        return classifier

    def _backbone(self, entry: dict[str, Any]) -> StoredBackbone | StoredByName | StoredJoined:
        if "joined" in entry:
            parts: Any = tuple(self._backbone(part) for part in entry["joined"])
            return StoredJoined(parts)
        if "registered" in entry:
            return StoredByName(entry["registered"], entry["key"], self._fitting(entry), entry["weights"])
        facts = {name: entry[name] for name in ("name", "preprocessing", "color", "weights", "precision")}
        return StoredBackbone(self._network(entry["file"]), fitting=self._fitting(entry), **facts)

    def _fitting(self, entry: dict[str, Any]) -> Fitting:
        self._size(entry["fitting"]["size"])
        return Fitting.from_dict(entry["fitting"])

    def _size(self, sides: Any) -> tuple[int, int]:
        whole = isinstance(sides, list) and len(sides) == 2 and all(type(side) is int for side in sides)
        if not whole or not all(1 <= side <= LARGEST_SIDE for side in sides):
            raise BundleError(
                f"{self.folder / 'bundle.json'} wants images of {str(sides)[:80]}: height and width must be whole "
                f"numbers from 1 to {LARGEST_SIDE}."
            )
        return sides[0], sides[1]

    def _model(self, entry: dict[str, Any], backbones: list[Any]) -> AnyModel:
        labels, temperature = tuple(entry["labels"]), float(entry["temperature"])
        if entry.get("network"):
            network = self._network(entry["network"])
            order = None if entry["order"] is None else tuple(entry["order"])
            size = self._size(entry["input_size"])
            return GivenModel(network, labels, size, temperature=temperature, order=order)
        if entry["head"] is None:
            return LabelModel(labels)
        return LabelModel(labels, backbones[entry["backbone"]], self._network(entry["head"]), temperature)

    def _network(self, name: str) -> StoredNetwork:
        if not isinstance(name, str) or name not in self.content["files"] or not name.endswith(".keras"):
            raise BundleError(
                f"{self.folder / 'bundle.json'} names {str(name)[:80]!r} as a network, and has no hash of a "
                ".keras file of that name."
            )
        return StoredNetwork(self.folder / name, self.content["files"][name])


@dataclass(frozen=True)
class _Writer:
    folder: Path
    backbones: list[Backbone | StoredBackbone]

    def content(self, classifier: FlatClassifier | TwoStageClassifier) -> dict[str, Any]:
        models: dict[str, Any] = {}
        two_stage = isinstance(classifier, TwoStageClassifier)
        if two_stage:
            models["router"] = self._entry(classifier.router, "router")
            models["submodels"] = [
                self._entry(m, f"submodel-{i:02d}") for i, m in enumerate(classifier.submodels)
            ]
        flat = classifier.flat if two_stage else classifier.model
        if flat is not None:
            models["flat"] = self._entry(flat, "flat")
        hierarchy, confidence = classifier.hierarchy, classifier.confidence
        return {
            "schema": SCHEMA,
            "kind": "two-stage" if two_stage else "flat",
            "classes": [str(name) for name in classifier.classes_],
            "hierarchy": json.loads(hierarchy.to_json()) if hierarchy else None,
            "rule": str(classifier.rule) if two_stage else None,
            "confidence": confidence.to_dict() if confidence else None,
            "backbones": [
                self._write_backbone(backbone, f"backbone-{i:02d}")
                for i, backbone in enumerate(self.backbones)
            ],
            "models": models,
            "versions": {name: version(name) for name in PACKAGES},
        }

    def _entry(self, model: AnyModel, name: str) -> dict[str, Any]:
        facts = {
            "labels": list(model.labels),
            "temperature": model.temperature,
            "backbone": None,
            "head": None,
        }
        if isinstance(model, GivenModel):
            _check_savable(model, name)
            opened(model.network).save(self.folder / f"{name}.keras")
            order = None if model.order is None else list(model.order)
            return {
                **facts,
                "network": f"{name}.keras",
                "input_size": list(model.input_size or ()),
                "order": order,
            }
        if model.backbone is None:
            return facts
        if not any(model.backbone is backbone for backbone in self.backbones):
            self.backbones.append(model.backbone)
        opened(model.head).save(self.folder / f"{name}.keras")
        position = next(i for i, backbone in enumerate(self.backbones) if backbone is model.backbone)
        return {**facts, "head": f"{name}.keras", "backbone": position}

    def _write_backbone(self, backbone: Any, stem: str) -> dict[str, Any]:
        """Write a backbone's network, and return what bundle.json says of it."""
        loaded = opened(backbone)
        if isinstance(loaded, JoinedBackbone):
            parts = [self._write_backbone(part, f"{stem}-{i}") for i, part in enumerate(loaded.parts)]
            return {"name": loaded.name, "joined": parts}
        if isinstance(loaded, OnnxBackbone):
            return {
                "name": loaded.name,
                "registered": loaded.name,
                "key": loaded.key,
                "fitting": loaded.fitting.to_dict(),
                "preprocessing": loaded.normalization,
                "color": "rgb",
                "weights": loaded.weights,
                "precision": loaded.precision,
            }
        name = f"{stem}.keras"
        loaded.model.save(self.folder / name)
        return {
            "file": name,
            "name": backbone.name,
            "fitting": backbone.fitting.to_dict(),
            "preprocessing": backbone.preprocessing,
            "color": backbone.color,
            "weights": backbone.weights,
            "precision": backbone.precision,
        }


def _check_savable(model: GivenModel, name: str) -> None:
    if not model.is_keras or model.preprocess is not None:
        what = "a preprocessing function" if model.is_keras else "a callable that is no Keras model"
        raise ValueError(
            f"A bundle holds Keras models only, since code is never stored. The {name} is or has {what}: "
            "build one Keras model that does everything."
        )
