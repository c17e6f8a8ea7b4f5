"""Why: heat maps of every stage, and the training images nearest to the two best classes."""

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from aisles.data_prep.images.decoding import image_size, read_image_bytes
from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import UnreadableImage
from aisles.data_prep.io.files import features_cache
from aisles.experiments.report.explanation_page import heated
from aisles.hierarchy.embeddings import unit_rows
from aisles.models.backbones.registry import JoinedBackbone
from aisles.models.features import extract
from aisles.models.prediction.explanation import StageView, explain, first_backbone, is_itself
from aisles.models.prediction.images import image_pixels, open_image
from aisles.models.prediction.stored import opened

from .image_uris import image_uri
from .judging import FLAT
from .networks import Look, Networks
from .texts import Texts

logger = logging.getLogger(__name__)
NEAREST = 3
"""Training images of each class."""
MOST = 4000
"""Training images that the nearest ones are looked for in."""


@dataclass(frozen=True, eq=False)
class Known:
    """Training images by their features: unit vectors, class names and paths."""

    backbone: object
    vectors: np.ndarray
    labels: np.ndarray
    paths: list[Path]


class Why:
    """Explains images by the networks of the page.

    Parameters
    ----------
    networks : Networks
    run : Path, optional
        Whose training images are shown.
    cache : Path, optional
        Where features are; the usual place unless given.
    """

    def __init__(self, networks: Networks, run: Path | None, cache: Path | None = None):
        self.networks, self.run = networks, run
        self.cache = features_cache(None if cache is None else cache / "features")

    def stages(self, look: Look, rule: str) -> tuple[StageView, ...]:
        """Return what router, chosen sub-model and flat model say, with their heat maps."""
        with self.networks.lock:
            chosen = None if rule == FLAT else rule
            return explain(self.networks.classifier, look.image, rule=chosen, flat=self.networks.flat).stages

    def nearest(self, look: Look, labels: list[str]) -> dict[str, list[tuple[Path, float]]] | None:
        """Return the nearest training images of each class with their cosine; None if there are none.

        The image itself, if it is a training image, is none of them.
        """
        with self.networks.lock:
            if self.known is None:
                return None
            backbone = self.known.backbone
            pixels = image_pixels(look.image, backbone.fittings)  # type: ignore[attr-defined]
            features = backbone.runner()(*(each[None] for each in pixels))  # type: ignore[attr-defined]
        cosines = self.known.vectors @ unit_rows(np.asarray(features))[0]
        found = {}
        for label in labels:
            rows = np.flatnonzero(self.known.labels == label)
            rows = rows[np.argsort(-cosines[rows], kind="stable")]
            near = ((self.known.paths[row], float(cosines[row])) for row in rows)
            others = ((path, cosine) for path, cosine in near if not is_itself(path, look.image, cosine))
            found[label] = list(islice(others, NEAREST))
        return found

    @cached_property
    def known(self) -> Known | None:
        """The run's training images, evenly thinned to `MOST`; None if there are none here."""
        file = None if self.run is None else self.run / "manifest.csv"
        stored = first_backbone(self.networks.classifier)
        if file is None or stored is None or not file.is_file():
            return None
        backbone = opened(stored)
        if isinstance(backbone, JoinedBackbone):
            return None
        manifest = read_manifest(file, check_files=False)
        rows = np.flatnonzero(manifest.splits == "train")
        every, kept = manifest.paths, {}
        for row in rows[:: max(1, -(-len(rows) // MOST))]:
            try:
                data = read_image_bytes(every[row])
                image_size(data)
            except UnreadableImage:
                continue
            kept[hashlib.sha256(data).hexdigest()] = row
        if not kept:
            return None
        paths = [every[row] for row in kept.values()]
        vectors = extract(backbone, paths, images=list(kept), cache=self.cache).vectors
        return Known(backbone, unit_rows(vectors), manifest.labels[list(kept.values())].astype(str), paths)


def stages_html(views: tuple[StageView, ...], image: Image.Image, texts: Texts) -> str:
    """Draw the heat maps."""
    names = [texts("stage_router"), texts("stage_submodel"), texts("stage_flat")]
    names = names if len(views) > 1 else names[2:]
    figures = []
    for name, view in zip(names, views, strict=False):
        caption = texts("why_heat", stage=name, label=view.about)
        if view.heat is None:
            figures.append(
                f"<figure><figcaption>{escape(name)}: {escape(texts('why_none'))}</figcaption></figure>"
            )
            continue
        address = image_uri(heated(image, view.heat), 320)
        alt = escape(caption, quote=True)
        figures.append(
            f'<figure><img src="{address}" alt="{alt}"><figcaption>{escape(caption)}</figcaption></figure>'
        )
    return f'<div class="figures">{"".join(figures)}</div>'


def nearest_html(found: dict[str, list[tuple[Path, float]]] | None, texts: Texts) -> str:
    """Draw the nearest training images of each class."""
    if found is None:
        return f'<p class="soft">{escape(texts("neighbors_missing"))}</p>'
    parts = []
    for label, neighbors in found.items():
        title = texts("neighbors_title", label=label)
        figures = []
        for path, cosine in neighbors:
            try:
                address = image_uri(open_image(path), 160)
            except UnreadableImage:
                continue
            caption = texts("neighbors_caption", cosine=texts.number(cosine, 2))
            alt = escape(f"{title}, {caption}", quote=True)
            figures.append(
                f'<figure><img src="{address}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
            )
        parts.append(
            f'<section><h3>{escape(title)}</h3><div class="figures near">{"".join(figures)}</div></section>'
        )
    return f'<div class="boxes">{"".join(parts)}</div>'
