"""One page that shows why: a single HTML file with every image inside, which needs no network."""

import base64
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image

from .plots.tree_path import tree_path

if TYPE_CHECKING:
    from aisles.hierarchy.class_tree import ClassTree
    from aisles.models.prediction.explanation import Explanation, Neighbor, StageView, TrainingImages
    from aisles.models.prediction.two_stage import Classifier, FlatClassifier

logger = logging.getLogger(__name__)
SIDE = 320  # pixels of the longer side of an image on the page
MOST_AT_HAND = 20_000  # training images that are looked through without being asked to
_COLORS = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float
)  # like inferno

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>aisles: why</title>
<style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #66707f; --line: #d9dee6; --fill: #3b6fb6; --card: #fff;
 --ground: #f4f6f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa5b5; --line: #37404d; --fill: #6f9fe0;
 --card: #1b212a; --ground: #12161c; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2rem auto;
 max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: .2rem 0 .4rem; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem;
 margin: 1.2rem 0; }
.answer { font-size: 1.05rem; margin: 0 0 1rem; } .soft { color: var(--soft); font-size: .86rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.4rem; align-items: flex-start; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .82rem; max-width: 20rem; overflow-wrap: anywhere; }
img { border-radius: 6px; display: block; max-width: 100%; }
.stage { flex: 1 1 15rem; max-width: 26rem; min-width: 0; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin-bottom: .6rem; }
td { padding: .12rem .4rem .12rem 0; vertical-align: middle; } td.name { width: 46%; overflow-wrap: anywhere; }
td.value { width: 3.2rem; text-align: right; font-variant-numeric: tabular-nums; }
.bar { height: .7rem; border-radius: 3px; background: var(--fill); min-width: 1px; }
.near { display: flex; flex-wrap: wrap; gap: .7rem; } .near figure { width: 7rem; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); }
svg .path { stroke: var(--fill); stroke-width: 3; fill: none; } svg .other { stroke: var(--soft); fill: none; }
svg .dot { fill: var(--fill); } svg { max-width: 100%; height: auto; }
</style></head><body>
<h1>Why these answers</h1>
"""


class ExplanationPage:
    """A page that grows by one section an image, and begins with the first.

    Parameters
    ----------
    begin : callable
        Opens the text file to write to.
    classifier : Classifier
    rule : str, optional
    calibrated : bool
    flat : FlatClassifier, optional
    training : TrainingImages, optional
    tree : ClassTree, optional
    """

    begin: Callable[[], IO[str]]
    classifier: "Classifier"
    rule: str | None
    calibrated: bool
    flat: "FlatClassifier | None"
    training: "TrainingImages | None"
    tree: "ClassTree | None"

    def __init__(
        self,
        begin: Callable[[], IO[str]],
        classifier: "Classifier",
        *,
        rule: str | None = None,
        calibrated: bool = True,
        flat: "FlatClassifier | None" = None,
        training: "TrainingImages | None" = None,
        tree: "ClassTree | None" = None,
    ):
        self.begin, self.classifier, self.rule, self.calibrated = begin, classifier, rule, calibrated
        self.flat, self.training, self.tree = flat, training, tree
        self.file: IO[str] | None = None

    def add(self, path: Path) -> None:
        """Explain one image and write its section."""
        from aisles.models.prediction.explanation import explain

        found = explain(
            self.classifier,
            path,
            rule=self.rule,
            flat=self.flat,
            training=self.training,
            calibrated=self.calibrated,
        )
        if self.file is None:
            self.file = self.begin()
            self.file.write(_HEAD)
        self.file.write(section(str(path), found, self.classifier, self.tree))

    def close(self) -> None:
        """Write the end, if there was a beginning."""
        if self.file is not None:
            self.file.write("</body></html>\n")


@contextmanager
def open_page(
    path: Path,
    bundle: Path,
    classifier: "Classifier",
    *,
    rule: str | None = None,
    calibrated: bool = True,
    flat: Path | None = None,
    manifest: Path | None = None,
    tree: Path | None = None,
    cache: Path | None = None,
) -> Iterator[ExplanationPage]:
    """Open a page for the answers of a bundle; the file appears when it is finished, and not at all without images.

    The manifest and the tree of the run that the bundle lies in are used if they are there and no others are given.
    """
    from aisles.data_prep.io.files import whole_file

    page_flat = _flat(flat)
    with ExitStack() as stack:

        def begin() -> IO[str]:
            part = stack.enter_context(whole_file(path))
            # A name that is no UTF-8 is shown with its bytes escaped.
            return stack.enter_context(open(part, "w", encoding="utf-8", errors="backslashreplace"))

        page = ExplanationPage(
            begin,
            classifier,
            rule=rule,
            calibrated=calibrated,
            flat=page_flat,
            training=_training(classifier, bundle, manifest, cache),
            tree=_tree(classifier, bundle, tree),
        )
        yield page
        page.close()
    if page.file is None:
        logger.warning("%s was not written: there was no image to explain.", path)


def section(name: str, found: "Explanation", classifier: "Classifier", tree: "ClassTree | None") -> str:
    """Write one image's part of the page."""
    prediction = found.prediction
    steps = " &rsaquo; ".join(f"<b>{escape(label)}</b> {share:.1%}" for label, share in prediction.path)
    answer = steps or "no answer: nothing is probable enough"
    parts = [
        f"<section><h2>{escape(name)}</h2>",
        f'<p class="answer">{answer} <span class="soft">rule {escape(prediction.rule)}</span></p>',
        f'<div class="row"><figure>{_image(found.image, f"{name}, the image")}</figure>',
        *[_stage(stage, found.image) for stage in found.stages],
        "</div>",
        _path(found, classifier, tree),
        _neighbors(found.neighbors),
        "</section>\n",
    ]
    return "\n".join(parts)


def _stage(stage: "StageView", image: Image.Image) -> str:
    rows = "".join(
        f'<tr><td class="name">{escape(label)}</td><td><div class="bar" style="width:{100 * share:.1f}%"></div></td>'
        f'<td class="value">{share:.1%}</td></tr>'
        for label, share in stage.bars
    )
    rest = stage.n_labels - len(stage.bars)
    more = f'<p class="soft">and {rest} more</p>' if rest > 0 else ""
    if stage.heat is None:
        heat = '<p class="soft">No heat map: one label only, or a model that can\'t be looked into.</p>'
    else:
        text = f"Grad-CAM: what speaks for {stage.about}"
        heat = f"<figure>{_image(heated(image, stage.heat), text)}<figcaption>{escape(text)}</figcaption></figure>"
    return f'<div class="stage"><h3>{escape(stage.title)}</h3><table>{rows}</table>{more}{heat}</div>'


def _path(found: "Explanation", classifier: "Classifier", tree: "ClassTree | None") -> str:
    label = found.prediction.label or (found.prediction.top[0][0] if found.prediction.top else None)
    if label is None or classifier.hierarchy is None:
        return ""
    drawing = tree_path(label, classifier.hierarchy, tree)
    return f"<h3>The path to {escape(label)} in the tree of classes</h3>{drawing}"


def _neighbors(neighbors: "tuple[Neighbor, ...]") -> str:
    from aisles.models.prediction.images import open_image

    if not neighbors:
        return ""
    metrics = []
    for neighbor in neighbors:
        caption = f"{escape(neighbor.label)} {neighbor.cosine:.2f}"
        try:
            image = _image(open_image(neighbor.path), f"training image of {neighbor.label}", 112)
        except (OSError, ValueError):
            image = ""
        metrics.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<h3>Nearest training images (cosine of features)</h3><div class="near">{"".join(metrics)}</div>'


def _image(image: Image.Image, text: str, side: int = SIDE) -> str:
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(text, quote=True)}" src="data:image/jpeg;base64,{data}">'


def heated(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """Lay a heat map over an image, of which the network saw all, squashed to its input."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    mask = Image.fromarray((255 * heat).astype(np.uint8)).resize(small.size, Image.Resampling.BICUBIC)
    share = np.asarray(mask, float) / 255
    place = share * (len(_COLORS) - 1)
    low = place.astype(int).clip(0, len(_COLORS) - 2)
    colors = _COLORS[low] + (_COLORS[low + 1] - _COLORS[low]) * (place - low)[..., None]
    gray = np.asarray(small.convert("L"), float)[..., None].repeat(3, 2)
    return Image.fromarray((0.45 * gray + 0.55 * colors).clip(0, 255).astype(np.uint8))


def _flat(bundle: Path | None) -> "FlatClassifier | None":
    if bundle is None:
        return None
    from aisles.models.bundles.bundle import load_bundle
    from aisles.models.prediction.two_stage import FlatClassifier

    flat = load_bundle(bundle)
    if not isinstance(flat, FlatClassifier):
        raise ValueError(
            f"--flat wants a flat bundle. {bundle} is a two-stage bundle; its flat model is shown anyway."
        )
    return flat


def _training(
    classifier: "Classifier", bundle: Path, manifest: Path | None, cache: Path | None
) -> "TrainingImages | None":
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.data_prep.io.errors import DataError
    from aisles.models.prediction.explanation import TrainingImages, first_backbone

    backbone = first_backbone(classifier)
    path = manifest or bundle.resolve().parent.parent / "manifest.csv"
    if backbone is None or (manifest is None and not path.is_file()):
        return None
    try:
        read = read_manifest(path, check_files=manifest is not None, min_classes=1)
    except DataError:
        if manifest is not None:
            raise
        return None
    train = read.keep((read.splits == "train") | (read.splits == ""))
    paths = train.paths
    at_hand = manifest is not None or (0 < len(paths) <= MOST_AT_HAND and _is_there(paths[0]))
    if not paths or not at_hand:
        return None
    return TrainingImages(backbone, paths, train.labels.tolist(), cache=cache)


def _is_there(path: Path) -> bool:
    from aisles.data_prep.images.decoding import read_image_bytes

    try:
        read_image_bytes(path)
    except ValueError:
        return False
    return True


def _tree(classifier: "Classifier", bundle: Path, given: Path | None) -> "ClassTree | None":
    from aisles.hierarchy.class_tree import ClassTree

    run = bundle.resolve().parent.parent
    for path in [given] if given is not None else [bundle / "tree.json", run / "tree.json"]:
        if path.is_file():
            tree = ClassTree.from_json(path.read_text(encoding="utf-8"))
            if list(tree.classes) == [str(name) for name in classifier.classes_]:
                return tree
            if given is not None:
                raise ValueError(f"The tree {path} is of other classes than the bundle.")
    if given is not None:
        raise FileNotFoundError(f"There is no tree at {given}.")
    return None
