"""Predictions as lines for a person or a program."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aisles.models.two_stage import Classifier, HierarchicalPrediction

logger = logging.getLogger(__name__)


def print_predictions(
    classifier: "Classifier", images: Iterable[Path], *, rule: str | None, top: int, json_lines: bool
) -> int:
    """Print one line an image as batches finish, and give the number of images that could be read."""
    names: list[str] = []
    count = 0
    readable = _readable(images, names)
    for count, prediction in enumerate(classifier.iter_predict(readable, rule=rule, top=top), start=1):
        name = names[count - 1]
        click.echo(as_line(name, prediction) if not json_lines else _json_line(name, prediction))
    return count


def as_line(name: str, prediction: "HierarchicalPrediction") -> str:
    """Write a prediction as `chair.jpg: SEATING 0.97 > SOFA 0.91`."""
    path = " > ".join(f"{label} {probability:.2f}" for label, probability in prediction.path)
    return f"{name}: {path or 'no answer'}"


def _json_line(name: str, prediction: "HierarchicalPrediction") -> str:
    return json.dumps({"file_name": name, **asdict(prediction)}, ensure_ascii=False)


def _readable(images: Iterable[Path], names: list[str]) -> Iterator[bytes]:
    from aisles.data_prep.errors import DataError
    from aisles.data_prep.images import check_image, read_image_bytes

    for path in images:
        try:
            data = read_image_bytes(path)
            check_image(data)
        except (DataError, OSError) as error:
            logger.warning("%s: %s", path, error)
            continue
        names.append(str(path))
        yield data
