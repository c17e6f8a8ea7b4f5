"""The commands `pack`, `train` and `judge`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

PACKED = Path(".accelerator")
RESULTS = "results.zip"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 if training stopped before its end."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m experiments.lab.accelerator_study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write photographs and weights into one folder")
    packing.add_argument("data", type=Path, help="manifest, or its folder")
    packing.add_argument("hierarchy", type=Path, help="JSON file with `macros`")
    packing.add_argument("--packed", type=Path, default=PACKED)
    packing.add_argument("--quality", type=int, default=60, help="of WebP, 1-100")
    packing.add_argument("--networks", default="lite0,lite2", help="comma-separated")
    training = commands.add_parser("train", help="train what is missing")
    training.add_argument("--packed", type=Path, default=PACKED)
    training.add_argument("--output", type=Path, required=True, help=f"folder of {RESULTS}")
    training.add_argument(
        "--weights", type=Path, help="folder of the flat models' weights; default OUTPUT/weights"
    )
    training.add_argument("--minutes", type=float, default=8.0, help="no model is begun that would end later")
    training.add_argument("--seeds", type=int, default=5, help="flat models from which others are trained")
    training.add_argument("--flats", type=int, default=10, help="flat models in all")
    training.add_argument("--epochs", type=int, default=0, help="0: the most for which there is time")
    training.add_argument("--network", default="lite0", choices=("lite0", "lite2"))
    training.add_argument(
        "--also", default="", choices=("", "lite2"), help="flat models of it if time is left"
    )
    training.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    training.add_argument(
        "--toy", action="store_true", help="a few small images: try the command on a processor"
    )
    judging = commands.add_parser("judge", help="write the verdict as JSON and Markdown")
    judging.add_argument("folder", type=Path, help=f"with {RESULTS}")
    judging.add_argument("report", type=Path, help="JSON file; the Markdown file lies beside it")
    options = vars(parser.parse_args(arguments))
    return {"pack": _pack, "train": _train, "judge": _judge}[options.pop("command")](**options)


def _pack(data: Path, hierarchy: Path, packed: Path, quality: int, networks: str) -> int:
    from .packing import pack

    facts = pack(data, hierarchy, packed, quality=quality, networks=networks.split(","))
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def _train(packed: Path, output: Path, weights: Path | None, toy: bool, **settings) -> int:
    from .packing import read_photographs
    from .plan import Run, Settings
    from .store import Results

    photographs, chosen = read_photographs(packed), Settings(**settings)
    if toy:
        photographs, chosen = photographs.at_most(2), chosen.toy()
    run = Run(photographs, packed, Results(output / RESULTS), weights or output / "weights", chosen)
    return 0 if run.go() else 1


def _judge(folder: Path, report: Path) -> int:
    from .judging import judge, write_verdict
    from .store import Results

    for path in write_verdict(judge(Results(folder / RESULTS)), report):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
