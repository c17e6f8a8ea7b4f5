"""Features: each image through each backbone once, kept on disk.

A feature vector depends on the image's bytes and on `Backbone.key` (network, weights, preprocessing, size, crop, color,
precision, rules of decoding) and on nothing else, so those two are its address. One SQLite file per backbone; every
batch is one transaction, so a killed run loses at most the three batches in flight and a half-written vector can't
exist. Beside each vector stands a checksum of address and numbers: one that doesn't fit is computed again.
"""

import hashlib
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.io.files import features_cache
from aisles.data_prep.io.progress import Progress
from aisles.models.backbones.registry import AnyBackbone, Backbone, JoinedBackbone, OnnxBackbone

from .batches import pixel_batches

logger = logging.getLogger(__name__)
BATCH_SIZE = 32
CHUNK = 512  # images asked for in one query
IN_FLIGHT = 2


class FeatureCache:
    """Feature vectors of one backbone on disk, by SHA-256 of the image's bytes.

    Parameters
    ----------
    folder : Path
        Where the SQLite files lie.
    backbone_key : str
        `Backbone.key`.
    dimension : int
        Length of a vector.
    """

    def __init__(self, folder: str | Path, backbone_key: str, dimension: int):
        self.path = Path(folder) / f"{backbone_key}.sqlite"
        self.dimension = dimension
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._database() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS checked_features "
                "(image TEXT PRIMARY KEY, vector BLOB, checksum BLOB) WITHOUT ROWID"
            )

    def get(self, images: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are here and whole, by the images' SHA-256; damaged ones are counted in a warning."""
        found, damaged = {}, 0
        with self._database() as db:
            for start in range(0, len(images), CHUNK):
                some = list(images[start : start + CHUNK])
                marks = ",".join("?" * len(some))
                query = f"SELECT image, vector, checksum FROM checked_features WHERE image IN ({marks})"
                for image, blob, checksum in db.execute(query, some):
                    if self._is_whole(image, blob, checksum):
                        found[image] = np.frombuffer(blob, "<f4")
                    else:
                        damaged += 1
        if damaged:
            logger.warning(
                "%d of %d cached features in %s are damaged; they are computed again. If this happens again, check the "
                "disk.", damaged, damaged + len(found), self.path,
            )  # fmt: skip
        return found

    def _is_whole(self, image: str, blob: object, checksum: object) -> bool:
        if not isinstance(blob, bytes) or len(blob) != 4 * self.dimension:
            return False
        return checksum == self._checksum(image, blob) and bool(np.isfinite(np.frombuffer(blob, "<f4")).all())

    def _checksum(self, image: str, blob: bytes) -> bytes:
        """Return 8 bytes over backbone, image and vector: a vector at another image's place is damaged, too."""
        return hashlib.blake2b(f"{self.path.stem}\n{image}\n".encode() + blob, digest_size=8).digest()

    def put(self, images: Sequence[str], vectors: np.ndarray) -> None:
        """Keep vectors (n, dimension), all or none of them.

        Raises
        ------
        ValueError
            If a number is not finite: the network is spoiled, and nothing is kept.
        """
        if not np.isfinite(vectors).all():
            raise ValueError(
                f"The backbone of {self.path.stem} gives features that are not finite: its weights are spoiled, or its "
                "precision is too low for it. Use float32, or other weights."
            )
        blobs = [np.ascontiguousarray(vector, "<f4").tobytes() for vector in vectors]
        with self._database() as db, db:
            rows = [(i, b, self._checksum(i, b)) for i, b in zip(images, blobs, strict=True)]
            db.executemany("INSERT OR REPLACE INTO checked_features VALUES (?, ?, ?)", rows)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as db:
                yield db
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"The feature cache {self.path} can't be used: {error}. Delete that file; its features will be "
                "extracted again."
            ) from error


@dataclass(frozen=True)
class Features:
    """What `extract` gives.

    Attributes
    ----------
    vectors : ndarray of shape (n_images, dimension)
        float32, rows in the order of the paths.
    from_cache : int
        How many images needed no pass.
    computed : int
        How many passed through the backbone; equal bytes pass once.
    """

    vectors: np.ndarray
    from_cache: int
    computed: int


def extract(
    backbone: AnyBackbone,
    paths: Sequence[str | Path],
    *,
    images: Sequence[str] | None = None,
    cache: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
) -> Features:
    """Pass images through a backbone, or take their features from the cache.

    Parameters
    ----------
    backbone : Backbone, JoinedBackbone or OnnxBackbone
    paths : sequence of path
        Image files; a path may lead into a tar archive.
    images : sequence of str, optional
        SHA-256 of each file's bytes where known; read and computed otherwise.
    cache : path, optional
        Folder of the cache; see `features_cache`.
    batch_size : int
        Images a pass.

    Returns
    -------
    Features

    Raises
    ------
    UnreadableImage
        If a file that is not in the cache can't be decoded.
    """
    if isinstance(backbone, JoinedBackbone):
        parts = [
            extract(part, paths, images=images, cache=cache, batch_size=batch_size) for part in backbone.parts
        ]
        vectors = backbone.join([part.vectors for part in parts])
        return Features(vectors, min(p.from_cache for p in parts), max(p.computed for p in parts))
    store = FeatureCache(features_cache(cache), backbone.key, backbone.dimension)
    if images is None:
        images = [hashlib.sha256(read_image_bytes(path)).hexdigest() for path in paths]
    found = store.get(list(dict.fromkeys(images)))
    from_cache = sum(image in found for image in images)
    todo = {image: path for image, path in zip(images, paths, strict=True) if image not in found}
    logger.info("Features of %d images by %s: %d from the cache.", len(paths), backbone.name, from_cache)
    found.update(_compute(backbone, todo, store, batch_size))
    vectors = (
        np.stack([found[image] for image in images]) if images else np.zeros((0, backbone.dimension), "f4")
    )
    return Features(vectors.astype(np.float32, copy=False), from_cache, len(todo))


def _compute(
    backbone: Backbone | OnnxBackbone, todo: dict[str, str | Path], store: FeatureCache, batch_size: int
) -> dict:
    if not todo:
        return {}
    names, done = list(todo), {}
    batches = pixel_batches([Path(path) for path in todo.values()], backbone.fitting, batch_size)
    with Progress(f"{backbone.name} features", len(todo)) as bar:
        for number, vectors in enumerate(passes(backbone, batches)):
            some = names[number * batch_size :][: len(vectors)]
            store.put(some, vectors)
            done.update(zip(some, vectors, strict=True))
            bar.update(len(some))
    return done


def passes(backbone: Backbone | OnnxBackbone, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pass batches through the network, in their order, `IN_FLIGHT` at a time.

    While one batch waits for the slower half of an operation, or its features are being kept, the other one
    computes. They come out as one by one.
    """
    run = backbone.runner()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for pixels in batches:
            waiting.append(pool.submit(run, pixels))
            if len(waiting) > IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
