"""The whole story on a synthetic catalogue: archives, curation, hierarchy, comparison, prediction."""

import logging
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)
DRAWN = "These images are drawn: the metrics show that everything works, and tell nothing about ABO."


def run_quickstart(output: Path, *, seed: int = 0, json_: bool = False) -> str:
    """Draw a catalogue in ABO's format, curate it, and compare flat and two-stage on it.

    Parameters
    ----------
    output : Path
        Gets the folders `catalogue`, `curated` and `run`. What is there already is not made again.
    seed : int
        For the drawings.
    json_ : bool
        Whether to give `metrics.json` in place of the table.

    Returns
    -------
    str
        The verdict and where to look.
    """
    from aisles.cli.commands import as_json
    from aisles.data_prep.abo.curation import curate
    from aisles.data_prep.abo.recipe import load_recipe
    from aisles.data_prep.io.files import write_whole
    from aisles.data_prep.synthetic.catalogue import write_sample
    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.benchmark.summary import summary
    from aisles.experiments.runs.writer import make_run_folder
    from aisles.experiments.settings.reading import read_settings
    from aisles.models.backbones.registry import build_backbone
    from aisles.models.features import extract

    make_run_folder(output)
    logger.info("Everything goes to %s; on two processors it takes two to three minutes.", output)
    cache = output / "features"
    catalogue, curated = output / "catalogue", output / "curated"
    if not _drawn_with(catalogue, seed):
        logger.info("1. Drawing a catalogue in ABO's format: %s", catalogue)
        write_sample(catalogue, seed=seed)
        write_whole(catalogue / "seed.txt", f"{seed}\n")
    backbone = build_backbone("efficientnet_lite0")

    def embed(paths: Sequence[Path]):
        return extract(backbone, paths, cache=cache).vectors

    logger.info("2. Curating it by the recipe 'sample': %s", curated)
    curation = curate(catalogue, curated, load_recipe("sample"), embed)
    logger.info("3. Clustering the classes and comparing flat with two-stage: %s", output / "run")
    settings = read_settings(None, {"data.note": DRAWN, "hierarchy.macros": 5})
    result = run_benchmark(curation.manifest, output / "run", settings, cache=cache)
    return as_json(result.metrics) if json_ else f"{summary(result)}\n\n{DRAWN}"


def _drawn_with(catalogue: Path, seed: int) -> bool:
    """Return whether the catalogue is there and was drawn with this seed."""
    mark = catalogue / "seed.txt"
    return mark.is_file() and mark.read_text().strip() == str(seed)
