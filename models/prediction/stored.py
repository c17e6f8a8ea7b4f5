"""Networks that stay on disk until they are needed, and how many may be in memory at once."""

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import keras

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import sha256_of
from aisles.models.backbones.registry import AnyBackbone, Backbone, JoinedBackbone
from aisles.models.bundles.keras_file import load_keras_file

logger = logging.getLogger(__name__)
T = TypeVar("T")


class BundleError(DataError):
    """A bundle is missing, changed, cut short, of a newer schema, or no bundle at all."""


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A `.keras` file and what its SHA-256 has to be."""

    path: Path
    sha256: str

    def load(self) -> keras.Model:
        """Check hash and content and load the network: no code of the file's own is run.

        Raises
        ------
        BundleError
            If the file is missing, has changed, is no network or holds what no bundle may (see `keras_file`).
        """
        if not self.path.is_file():
            raise BundleError(
                f"{self.path} is missing: the bundle was moved or deleted after it was loaded. Load it again."
            )
        if sha256_of(self.path) != self.sha256:
            raise BundleError(
                f"{self.path} has changed since the bundle was written (SHA-256 differs). "
                "Copy or train the bundle again."
            )
        try:
            return load_keras_file(self.path)
        except MemoryError:
            raise
        except Exception as error:  # on a file that contradicts itself Keras raises whatever it stumbles over
            raise BundleError(f"{self.path} can't be loaded: {error or type(error).__name__}") from error


@dataclass(frozen=True, eq=False)
class StoredBackbone:
    """A backbone on disk; attributes as in `Backbone`."""

    network: StoredNetwork
    name: str
    preprocessing: str
    color: str
    weights: str
    precision: str
    fitting: Fitting

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How an image becomes pixels; one only."""
        return (self.fitting,)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.fitting.size

    def load(self) -> Backbone:
        """Load the backbone; raises as `StoredNetwork.load`."""
        model = self.network.load()
        if model.input_shape[1:] != (*self.input_size, 3):
            raise BundleError(
                f"{self.network.path} takes images of {model.input_shape[1:]}; bundle.json says "
                f"{self.input_size}. Copy or train the bundle again."
            )
        return Backbone(
            self.name, model, self.preprocessing, self.color, self.weights, self.precision, self.fitting
        )


@dataclass(frozen=True, eq=False)
class StoredByName:
    """A registered backbone that a bundle names and doesn't hold: an ONNX file, which no bundle may bring along."""

    name: str
    key: str
    fitting: Fitting
    weights: str
    precision: str = "float32"

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How an image becomes pixels; one only."""
        return (self.fitting,)

    def load(self) -> AnyBackbone:
        """Build the backbone that is installed here.

        Raises
        ------
        BundleError
            If it is not registered, or not the one that the heads were trained on.
        """
        from aisles.models.backbones.registry import BACKBONES, build_backbone

        if self.name not in BACKBONES:
            raise BundleError(
                f"The bundle's heads were trained on the backbone {self.name!r}, which is not registered here. "
                "Load the plugin that registers it, or install its package."
            )
        backbone = build_backbone(self.name, input_size=self.fitting.size, fit=self.fitting.fit)
        if backbone.key != self.key:
            raise BundleError(
                f"The backbone {self.name!r} here is {backbone.key}; the bundle's heads were trained on {self.key}. "
                "Install the version that the bundle was written with, or train it again."
            )
        return backbone


@dataclass(frozen=True, eq=False)
class StoredJoined:
    """Joined backbones, each of which is stored."""

    parts: tuple["StoredBackbone | StoredByName", ...]

    @property
    def name(self) -> str:
        """The parts' names, joined by +."""
        return "+".join(part.name for part in self.parts)

    @property
    def precision(self) -> str:
        """The parts' precision."""
        return self.parts[0].precision

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How an image becomes the pixels of each part."""
        return tuple(part.fitting for part in self.parts)

    def load(self) -> JoinedBackbone:
        """Load every part; raises as they do."""
        return JoinedBackbone(tuple(part.load() for part in self.parts))


Stored = StoredNetwork | StoredBackbone | StoredByName | StoredJoined


def opened(network: Any) -> Any:
    """Return what was stored, loaded; anything else as it is."""
    return network.load() if isinstance(network, Stored) else network


class Residents:
    """What is in memory: at most `limit` things, of which the least recently used goes first.

    Parameters
    ----------
    limit : int, optional
        None for any number.
    """

    def __init__(self, limit: int | None = None):
        if limit is not None and (not isinstance(limit, Integral) or isinstance(limit, bool) or limit < 1):
            raise ValueError(
                f"At least 1 network must be allowed in memory: give a whole number. Received: {limit!r}."
            )
        self.limit = limit
        self.loads: int = 0
        self._held: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.RLock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """Return what `load` makes, made now if it is not in memory; room is made before loading.

        Threads share what is in memory: of several that want the same, one loads it and the others wait.
        """
        found = self._find(key)
        if found is not None:
            return found[0]
        with (
            self._loading
        ):  # one at a time, so that a network is loaded once and memory stays within the limit
            found = self._find(key)
            if found is not None:
                return found[0]
            self._make_room()
            value = load()
            with self._lock:
                self.loads += 1
                self._held[key] = value
            return value

    def _find(self, key: Hashable) -> tuple[Any] | None:
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return (self._held[key],)

    def _make_room(self) -> None:
        if self.limit is None or len(self._held) < self.limit:
            return
        with self._lock:
            while len(self._held) >= self.limit:
                self._held.popitem(last=False)
        gc.collect()  # networks refer to themselves, so counting references alone never frees them
