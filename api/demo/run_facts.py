"""What the page shows of a run: the verdict, examples among its test images, and where its report is."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from aisles.data_prep.images.decoding import read_image_bytes
from aisles.data_prep.io.errors import UnreadableImage
from aisles.experiments.runs.reader import FLAT, Run, read_run
from aisles.experiments.runs.schema import BenchmarkMetrics

from .texts import Texts

KINDS = ("right", "wrong", "corrected", "broken")
EACH = 2
"""Examples of each kind."""
VERDICTS = {"better": "better", "worse": "worse", "equivalent": "equivalent"}


@dataclass(frozen=True, eq=False)
class Example:
    """An image to try.

    Attributes
    ----------
    kind : str
        `right`, `wrong`, `corrected`, `broken` (what flat and the primary method made of it), or `foreign`.
    label : str
        The true class; empty for a foreign object.
    name : str
    data : bytes
        The image file's content.
    """

    kind: str
    label: str
    name: str
    data: bytes


def foreign_object(side: int = 320) -> Example:
    """Draw something that is no product: a bicycle under a sun."""
    image = Image.new("RGB", (side, side), (206, 226, 240))
    draw = ImageDraw.Draw(image)
    unit = side / 16
    draw.rectangle((0, 12 * unit, side, side), fill=(122, 158, 104))
    draw.ellipse((12 * unit, unit, 15 * unit, 4 * unit), fill=(250, 205, 70))
    for x in (4.2, 11.8):
        box = [unit * v for v in (x - 2.4, 8.2, x + 2.4, 13)]
        draw.ellipse(box, outline=(30, 30, 34), width=max(2, side // 64))
    frame = [(4.2, 10.6), (6.4, 7.2), (10.6, 7.2), (11.8, 10.6), (10.4, 5.6), (12, 5.4), (10.4, 5.6), (7.6, 10.6),
             (4.2, 10.6), (7.6, 10.6), (6.2, 6.2), (5.4, 6.2), (7, 6.2)]  # fmt: skip
    draw.line([(unit * x, unit * y) for x, y in frame], fill=(178, 40, 44), width=max(2, side // 50))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Example("foreign", "", "bicycle.png", buffer.getvalue())


def examples_of(run: Run) -> list[Example]:
    """Choose test images by what flat and the primary method made of them in the first seed, the surest first."""
    two_stage, flat = run.correct(run.primary)[0], run.correct(FLAT)[0]
    groups = (two_stage & flat, ~two_stage & ~flat, two_stage & ~flat, ~two_stage & flat)
    sure = run.classes_by[run.primary][0].max(1)
    found = []
    for kind, rows in zip(KINDS, groups, strict=True):
        taken: set[str] = set()
        for row in sorted(np.flatnonzero(rows), key=lambda i: (-sure[i], i)):
            path, label = run.paths[row], str(run.labels[row])
            if len(taken) == EACH:
                break
            if path is None or label in taken:
                continue
            try:
                found.append(Example(kind, label, path.name, read_image_bytes(path)))
            except UnreadableImage:
                continue
            taken.add(label)
    return found


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run as the page shows it.

    Attributes
    ----------
    folder : Path
    metrics : BenchmarkMetrics
    examples : list of Example
    """

    folder: Path
    metrics: BenchmarkMetrics
    examples: list[Example]

    @property
    def report(self) -> Path | None:
        """The report's file."""
        path = self.folder / "report.html"
        return path if path.is_file() else None

    def verdict(self, texts: Texts) -> str:
        """Return the verdict in one line: the primary method against the flat method that validation images prefer."""
        best = self.metrics.get("best_flat") or {}
        compared = (best.get("comparisons") if best.get("name") != FLAT else None) or self.metrics[
            "comparisons"
        ]
        first = compared[0]
        if first["verdict"] == "not judged":
            return first["sentence"]
        low, high = first["interval"]
        return texts(
            f"run_{VERDICTS.get(first['verdict'], 'open')}",
            a=first["a"], b=first["b"],
            accuracy_a=f"{texts.number(100 * first['accuracy_a'], 1)} %",
            accuracy_b=f"{texts.number(100 * first['accuracy_b'], 1)} %",
            difference=texts.number(100 * first["difference"], 1, sign=True),
            low=texts.number(100 * low, 1, sign=True), high=texts.number(100 * high, 1, sign=True),
            images=self.metrics["n_test"], margin=texts.number(100 * first.get("margin", 0), 1),
        )  # fmt: skip


def read_facts(folder: str | Path) -> RunFacts:
    """Read what the page shows of a run.

    Raises
    ------
    DataError
        If it is no folder of a finished run.
    """
    run = read_run(folder)
    return RunFacts(Path(folder), run.metrics, examples_of(run))
