"""Models that were trained on images: a folder with backbone, head, curves and what they were trained with."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.files import sha256_of
from aisles.data_prep.io.whole_folder import whole_folder
from aisles.models.backbones.registry import Backbone
from aisles.models.prediction.label_model import LabelModel
from aisles.models.prediction.stored import StoredBackbone, StoredNetwork

from .curves import PHASES, Epoch, best_accuracy, draw_curves, write_curves

logger = logging.getLogger(__name__)
FILES = ("backbone.keras", "head.keras")
BACKBONE_FACTS = ("name", "preprocessing", "color", "weights", "precision")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model that was trained on images.

    Attributes
    ----------
    labels : tuple of str
        In the order of the head's outputs.
    backbone : StoredBackbone
        The network as it is after training, float32; `backbone.load()` gives the `Backbone`.
    head : StoredNetwork
        From the backbone's features to probabilities; `head.load()` gives the network.
    epochs : tuple of Epoch
        The curves of both phases.
    """

    labels: tuple[str, ...]
    backbone: StoredBackbone
    head: StoredNetwork
    epochs: tuple[Epoch, ...]

    @property
    def classifier(self) -> LabelModel:
        """The model in the form that flat and two-stage classifiers are made of; loaded when it is used."""
        return LabelModel(self.labels, self.backbone, self.head)

    def network(self) -> keras.Model:
        """Load the model as one network; see `join`."""
        return join(self.backbone.load(), self.head.load())

    def accuracy(self, phase: str) -> float | None:
        """Return the validation accuracy of a phase's best epoch, None if the phase was left out."""
        return best_accuracy(self.epochs, phase)


def join(backbone: Backbone, head: keras.Model) -> keras.Model:
    """Make one network of backbone and head: pixels (n, height, width, 3), RGB, 0-255, to probabilities.

    Its layers `backbone` (preprocessing, network, pooling) and `head` are the two that were put in.
    """
    pixels = keras.Input((*backbone.input_size, 3), name="pixels")
    return keras.Model(pixels, head(backbone.model(pixels)), name="model")


def load_trained(folder: str | Path, key: str | None = None) -> TrainedModel | None:
    """Return the model that lies finished in `folder`; None if there is none (of this `key`), or not a whole one."""
    folder = Path(folder) / "trained"
    try:
        facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        if key is not None and facts["key"] != key:
            logger.warning("%s holds a model from other settings or images; it is trained anew.", folder)
            return None
        damaged = [name for name in FILES if sha256_of(folder / name) != facts["files"][name]]
        if not damaged:
            return _stored(folder, facts)
        reason = f"{damaged[0]} has changed"
    except FileNotFoundError as error:
        if not folder.exists():
            return None
        reason = f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"training.json: {error!r}"
    logger.warning("%s is damaged (%s); this model is trained anew.", folder, reason)
    return None


def write_trained(
    folder: Path,
    backbone: Backbone,
    head: keras.Model,
    labels: tuple[str, ...],
    epochs: Sequence[Epoch],
    facts: Mapping[str, Any],
) -> TrainedModel:
    """Write a finished model to `folder`/trained, whole; `facts` must say its `key`."""
    about = {name: getattr(backbone, name) for name in BACKBONE_FACTS}
    about["fitting"] = backbone.fitting.to_dict()
    content: dict[str, Any] = {
        **facts,
        "labels": labels,
        "backbone": about,
        "validation_accuracy": {phase: best_accuracy(epochs, phase) for phase in PHASES},
        "epochs": [asdict(epoch) for epoch in epochs],
    }
    place = folder / "trained"
    with whole_folder(place) as part:
        for name, network in zip(FILES, (backbone.model, head), strict=True):
            network.save(part / name)
        content["files"] = {name: sha256_of(part / name) for name in FILES}
        write_curves(epochs, part / "curves.csv")
        draw_curves(epochs, part / "curves.png", f"{backbone.name}, {len(labels)} labels")
        (part / "training.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return _stored(place, content)


def _stored(folder: Path, facts: Mapping[str, Any]) -> TrainedModel:
    backbone, head = (StoredNetwork(folder / name, facts["files"][name]) for name in FILES)
    about = {name: facts["backbone"][name] for name in BACKBONE_FACTS}
    stored = StoredBackbone(backbone, fitting=Fitting.from_dict(facts["backbone"]["fitting"]), **about)
    epochs = tuple(Epoch(**epoch) for epoch in facts["epochs"])
    return TrainedModel(tuple(facts["labels"]), stored, head, epochs)
