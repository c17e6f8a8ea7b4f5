r"""Damage valid files and see that nothing but a right answer or one of our named errors comes of it.

    python -m experiments.lab.fuzz --cases 2000 --seed 0

Seeded mutations of bundles (their hashes made to fit again, so that what lies behind them is reached), tar archives
and their indexes, manifests, predictions tables, features tables, hierarchy files, settings and images. Allowed are an
answer whose invariants hold, a `DataError`, or a `ValueError` or `OSError` that our own code raises; each within 5
seconds of processors' time and 1.5 GB, without a file being opened for writing outside the case's own folder. What
breaks that is printed with its kind and number: `--kind KIND --first NUMBER --cases 1` repeats it.
"""

import argparse
import copy
import io
import json
import os
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aisles.data_prep.io import errors
from aisles.data_prep.io.errors import DataError

SECONDS, MEGABYTES = 5.0, 1500.0
WAITING = 10
"""A case may last so many times its seconds where other processes take the processors."""
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1e-300, 1e300, float("nan"), float("inf"), 10**12, 2**63, "", " ", "..", "../../x",
    "/etc/passwd", "a\x00b", "\x1b[2J", "\ud800", "x" * 5000, [], {}, [[]],
    {"class_name": "Lambda", "config": {}, "module": "keras.layers"},
)  # fmt: skip
CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class Kind:
    """One kind of input: which file is valid, how it is damaged, and what must hold for what is read from it."""

    make: Callable[[Path], None]
    damage: Callable[[Path, np.random.Generator], None]
    read: Callable[[Path], None]


@dataclass
class Outcome:
    """How the cases of a run ended."""

    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


# ---- damage ----------------------------------------------------------------------------------


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, drop, repeat, overwrite or insert bytes, one to four times."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(changed)
        start = int(rng.integers(size + 1))
        end = min(size, start + int(rng.integers(1, 64)))
        match int(rng.integers(6)):
            case 0 if size:
                changed[min(start, size - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[start:]
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = changed[start:end] * int(rng.integers(1, 50))
            case 4:
                changed[start:end] = bytes([int(rng.choice([0, 10, 34, 44, 255]))]) * (end - start)
            case _:
                changed[start:start] = rng.bytes(int(rng.integers(1, 32)))
    return bytes(changed)


def damaged_json(content: Any, rng: np.random.Generator) -> Any:
    """Put a hostile value somewhere, or drop, rename or repeat an entry, one to three times."""
    content = json.loads(json.dumps(content))
    for _ in range(int(rng.integers(1, 4))):
        places = [place for place in _containers(content) if place]
        if not places:
            return _hostile(rng)
        place = places[int(rng.integers(len(places)))]
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key, value = keys[int(rng.integers(len(keys)))], _hostile(rng)
        match int(rng.integers(4)):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[str(value)[:50]] = place.pop(key)
            case 1:
                place.append(place[key])
            case _:
                place[key] = value
    return content


def _hostile(rng: np.random.Generator) -> Any:
    return copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])  # the next damage may change it


def _containers(content: Any) -> Iterator[dict | list]:
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            yield each
            waiting.extend(each.values() if isinstance(each, dict) else each)


def _any_bytes(path: Path, rng: np.random.Generator) -> None:
    files = sorted(each for each in path.rglob("*") if each.is_file())
    chosen = files[int(rng.integers(len(files)))]
    chosen.write_bytes(damaged_bytes(chosen.read_bytes(), rng))


# ---- what is read ----------------------------------------------------------------------------


def _make_bundle(place: Path) -> None:
    import keras
    from keras import layers

    from aisles.hierarchy.hierarchy import Hierarchy
    from aisles.models.backbones.registry import wrap_backbone
    from aisles.models.bundles.bundle import save_bundle
    from aisles.models.heads.building import build_head
    from aisles.models.heads.variants import HeadVariant
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import TwoStageClassifier

    pixels = keras.Input((8, 8, 3))
    maps = layers.Conv2D(2, 3, activation="relu")(pixels)
    backbone = wrap_backbone(keras.Model(pixels, maps, name="two_filters"), "tiny", preprocessing="symmetric")
    variant = HeadVariant((4,), batch_norm=True, dropout=0.1, augmentation=False)

    def model(labels: tuple[str, ...]) -> LabelModel:
        return LabelModel(labels, backbone, build_head(variant, backbone.dimension, len(labels), seed=0), 1.5)

    hierarchy = Hierarchy(("m", "n"), (("a", "b"), ("c",)))
    parts = [model(("a", "b")), LabelModel(("c",))]
    save_bundle(
        TwoStageClassifier(model(("m", "n")), parts, hierarchy, flat=model(CLASSES)), place / "bundle"
    )


def _damage_bundle(place: Path, rng: np.random.Generator) -> None:
    from aisles.data_prep.io.files import sha256_of
    from aisles.models.bundles.bundle import _own_hash

    folder = place / "bundle"
    content = json.loads((folder / "bundle.json").read_text())
    networks = sorted(folder.glob("*.keras"))
    chosen = networks[int(rng.integers(len(networks)))]
    match int(rng.integers(4)):
        case 0:  # no hash is made to fit
            return _any_bytes(folder, rng)
        case 1:
            content = damaged_json(content, rng)
        case 2:
            with zipfile.ZipFile(chosen) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            if rng.random() < 0.7:
                config = damaged_json(json.loads(members["config.json"]), rng)
                members["config.json"] = json.dumps(config).encode()
            else:
                name = sorted(members)[int(rng.integers(len(members)))]
                members[name] = damaged_bytes(members[name], rng)
            with zipfile.ZipFile(chosen, "w") as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
        case _:
            chosen.write_bytes(damaged_bytes(chosen.read_bytes(), rng))
    if isinstance(content, dict):
        if isinstance(content.get("files"), dict):
            for path in folder.iterdir():
                if path.name in content["files"]:
                    content["files"][path.name] = sha256_of(path)
        content["sha256"] = _own_hash(content)
    (folder / "bundle.json").write_text(json.dumps(content))


def _read_bundle(place: Path) -> None:
    from aisles.models.bundles.bundle import load_bundle

    classifier = load_bundle(place / "bundle")
    probs = classifier.predict_proba(np.full((2, 8, 8, 3), 99, np.uint8))
    _check(probs.shape == (2, len(classifier.classes_)), "probabilities of another shape")
    _check(bool(np.isfinite(probs).all()) and np.allclose(probs.sum(1), 1), "probabilities that are none")


def _images(folder: Path) -> None:
    folder.mkdir(parents=True)
    pixels = np.arange(24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8)
    for name in ("a.png", "b.jpg", "c.gif", "d.webp", "e.bmp", "f.tiff"):
        Image.fromarray(pixels).save(folder / name)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / "g.png")


def _read_images(place: Path) -> None:
    from aisles.data_prep.images.decoding import load_pixels

    refused: Exception | None = None
    for path in sorted((place / "images").iterdir()):
        try:
            pixels = load_pixels(path, (16, 16))
        except DataError as error:
            refused = error
        else:
            _check(pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8, "pixels of another shape")
    if refused is not None:
        raise refused


def _make_archive(place: Path) -> None:
    from aisles.data_prep.io.archive import TarImages

    _images(place / "images")
    with tarfile.open(place / "images.tar", "w") as archive:
        for path in sorted((place / "images").iterdir()):
            archive.add(path, f"images/{path.name}")
    TarImages(place / "images.tar").close()  # which leaves the index


def _damage_archive(place: Path, rng: np.random.Generator) -> None:
    tar, index = place / "images.tar", place / "images.tar.index.npz"
    if rng.random() < 0.5:
        index.write_bytes(damaged_bytes(index.read_bytes(), rng))
        return
    index.unlink()
    tar.write_bytes(damaged_bytes(tar.read_bytes(), rng))
    shutil.rmtree(place / "images")  # what is read now may be other bytes: a tar has no checksums of them


def _read_archive(place: Path) -> None:
    from aisles.data_prep.io.archive import TarImages

    archive = TarImages(place / "images.tar")
    try:
        for name in archive:
            _check(not name.startswith("/") and ".." not in name.split("/"), f"the path {name!r}")
            data = archive.read(name)
            if (place / "images").exists():
                _check(data == (place / name).read_bytes(), f"other bytes than those of {name!r}")
    finally:
        archive.close()


def _make_manifest(place: Path) -> None:
    _images(place / "images")
    names = sorted(path.name for path in (place / "images").iterdir())
    rows = [
        f"images/{name},{CLASSES[i % 3]},p{i // 2},{('train', 'val', 'test')[i % 3]}"
        for i, name in enumerate(names)
    ]
    (place / "metadata.csv").write_text("\n".join(["file_name,label,product,split", *rows]) + "\n")


def _damage_manifest(place: Path, rng: np.random.Generator) -> None:
    path = place / "metadata.csv"
    path.write_bytes(damaged_bytes(path.read_bytes(), rng))


def _read_manifest(place: Path) -> None:
    from aisles.data_prep.images.manifest import read_manifest

    manifest = read_manifest(place / "metadata.csv")
    _check(len(manifest.paths) == len(manifest.labels), "rows of unequal number")
    _check(set(map(str, manifest.labels)) == set(map(str, manifest.classes)), "labels that are no classes")


def _make_predictions(place: Path) -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], 30)
    truth = np.array(CLASSES)[rng.integers(3, size=30)]
    rows = [f"{i}.jpg,{truth[i]},{','.join(f'{p:.6f}' for p in probs[i])}" for i in range(30)]
    (place / "one.csv").write_text("\n".join(["file_name,truth,p:a,p:b,p:c", *rows]) + "\n")
    names = np.array([f"{i}.jpg" for i in range(30)])
    np.savez(place / "two.npz", file_name=names, truth=truth, probs=probs, classes=np.array(CLASSES))


def _read_predictions(place: Path) -> None:
    from aisles.experiments.judge.tables import read_predictions

    refused: Exception | None = None
    for name in ("one.csv", "two.npz"):
        try:
            tables = read_predictions(place / name)
            _check(bool(tables), "no table")
        except (ValueError, OSError) as error:
            if not _named(error):
                raise
            refused = error
    if refused is not None:
        raise refused


def _make_features(place: Path) -> None:
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    np.savez(place / "features.npz", features=features, label=np.array(CLASSES * 10))


def _read_features(place: Path) -> None:
    from aisles.data_prep.images.features_table import read_features_table

    table = read_features_table(place / "features.npz")
    _check(bool(np.isfinite(table.vectors).all()), "features that are no numbers")


def _make_hierarchy(place: Path) -> None:
    content = {"macros": {"m": ["a", "b"], "n": ["c"], "o": ["d", "e", "f"]}}
    (place / "hierarchy.json").write_text(json.dumps(content))


def _damage_hierarchy(place: Path, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        return _any_bytes(place, rng)
    content = damaged_json(json.loads((place / "hierarchy.json").read_text()), rng)
    (place / "hierarchy.json").write_text(json.dumps(content))


def _read_hierarchy(place: Path) -> None:
    from aisles.hierarchy.hierarchy import Hierarchy

    hierarchy = Hierarchy.read(place / "hierarchy.json")
    _check(Hierarchy.from_json(hierarchy.to_json()) == hierarchy, "a hierarchy that is not what it writes")
    _check({name for group in hierarchy.members for name in group} == set(hierarchy.classes), "other classes")


def _make_settings(place: Path) -> None:
    from aisles.experiments.settings.benchmark import BenchmarkSettings
    from aisles.experiments.settings.writing import write_settings

    write_settings(place / "settings.toml", BenchmarkSettings())


def _damage_settings(place: Path, rng: np.random.Generator) -> None:
    lines = (place / "settings.toml").read_text().splitlines()
    valued = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    odd = [
        "nan",
        "inf",
        "-1",
        "0",
        "true",
        '""',
        "[]",
        "[0, 0]",
        "1e300",
        "99999999999999999999",
        '"\\u0000"',
        "{}",
    ]
    if rng.random() < 0.4:
        return _any_bytes(place, rng)
    for _ in range(int(rng.integers(1, 3))):
        i = valued[int(rng.integers(len(valued)))]
        lines[i] = f"{lines[i].partition(' = ')[0]} = {odd[int(rng.integers(len(odd)))]}"
    (place / "settings.toml").write_text("\n".join(lines) + "\n")


def _read_settings(place: Path) -> None:
    from aisles.experiments.settings.reading import read_settings

    settings = read_settings(place / "settings.toml")
    numbers = [value for value in _numbers(settings.model_dump())]
    _check(all(np.isfinite(float(value)) for value in numbers), "settings that are no numbers")


def _numbers(content: Any) -> Iterator[float]:
    for place in _containers(content):
        for value in place.values() if isinstance(place, dict) else place:
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield value


KINDS = {
    "bundle": Kind(_make_bundle, _damage_bundle, _read_bundle),
    "archive": Kind(_make_archive, _damage_archive, _read_archive),
    "manifest": Kind(_make_manifest, _damage_manifest, _read_manifest),
    "predictions": Kind(_make_predictions, _any_bytes, _read_predictions),
    "features": Kind(_make_features, _any_bytes, _read_features),
    "hierarchy": Kind(_make_hierarchy, _damage_hierarchy, _read_hierarchy),
    "settings": Kind(_make_settings, _damage_settings, _read_settings),
    "images": Kind(lambda place: _images(place / "images"), _any_bytes, _read_images),
}


# ---- one case, and all of them ---------------------------------------------------------------


class Broken(Exception):
    """An answer whose invariants don't hold, a file written elsewhere, too much time or memory."""


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(f"a wrong answer: {what}")


def _named(error: BaseException) -> bool:
    """Return whether an error is one of ours: a `DataError`, or raised in our own code, not below it."""
    if isinstance(error, DataError):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(__file__).resolve().parents[2], Path(errors.__file__).resolve().parents[2]
    place = Path(last.filename).resolve()
    inside = place.is_relative_to(ours[1]) or (
        place.is_relative_to(ours[0]) and "site-packages" not in place.parts
    )
    return isinstance(error, ValueError | OSError) and inside and "raise" in (last.line or "")


class Writes:
    """Watches which files this process opens for writing, makes, moves or removes."""

    def __init__(self):
        self.allowed: Path | None = None
        self.elsewhere: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def only_in(self, folder: Path) -> Iterator[None]:
        """Note everything that is written outside `folder`."""
        self.allowed, self.elsewhere = folder.resolve(), []
        try:
            yield
        finally:
            self.allowed = None

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            mode = arguments[1] if isinstance(arguments[1], str) else ""
            paths = arguments[:1] if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR) else ()
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            paths = arguments[:1]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = arguments[:2]
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"):
            self.elsewhere.append(f"{event} {str(arguments)[:80]}")
            return
        else:
            return
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                whole = Path(os.path.abspath(os.fsdecode(path)))
                if not whole.is_relative_to(self.allowed) and whole != Path(os.devnull):
                    self.elsewhere.append(f"{event} {whole}")


def run_case(name: str, number: int, seed: int, valid: Path, writes: Writes) -> str:
    """Damage a copy of the valid files and read it; return `answered` or the error's name, or raise `Broken`."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case"
        shutil.copytree(valid, place)
        kind.damage(place, np.random.default_rng([seed, number, *name.encode()]))
        before = _megabytes()
        started, computed = time.perf_counter(), time.process_time()
        try:
            with writes.only_in(place):
                kind.read(place)
            ended = "answered"
        except Broken:
            raise
        except Exception as error:
            if not _named(error):
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(last.filename).name}:{last.lineno}"
                raise Broken(f"{type(error).__name__} at {where}: {str(error)[:200]}") from error
            ended = type(error).__name__
        seconds, megabytes = time.process_time() - computed, _megabytes() - before
        waited = time.perf_counter() - started
        if writes.elsewhere:
            raise Broken(f"written outside: {writes.elsewhere[:3]}")
        if max(seconds, waited / WAITING) > SECONDS or megabytes > MEGABYTES:
            raise Broken(f"{seconds:.1f} s in {waited:.1f} s, and {megabytes:.0f} MB more than before")
        return ended


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(cases: int, seed: int = 0, *, kinds: tuple[str, ...] = tuple(KINDS), first: int = 0) -> Outcome:
    """Run cases, the kinds in turn.

    Parameters
    ----------
    cases : int
    seed : int
    kinds : tuple of str
        Keys of `KINDS`.
    first : int
        The number of the first case, for each kind.

    Returns
    -------
    Outcome
    """
    outcome, writes = Outcome(), Writes()
    with tempfile.TemporaryDirectory() as folder:
        for name in kinds:
            (Path(folder) / name).mkdir()
            KINDS[name].make(Path(folder) / name)
            KINDS[name].read(Path(folder) / name)  # what is valid is read, and libraries are loaded
        for case in range(cases):
            name, number = kinds[case % len(kinds)], first + case // len(kinds)
            try:
                outcome.counts[f"{name}: {run_case(name, number, seed, Path(folder) / name, writes)}"] += 1
            except Broken as broken:
                outcome.counts[f"{name}: BROKEN"] += 1
                outcome.faults.append(f"--kind {name} --first {number} --seed {seed}: {broken}")
    return outcome


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    from aisles.models.tensorflow_loading import load_quietly

    load_quietly()
    kinds = tuple(options.kind or KINDS)
    outcome = fuzz(options.cases, options.seed, kinds=kinds, first=options.first)
    told = io.StringIO()
    for name, count in sorted(outcome.counts.items()):
        told.write(f"{count:6} {name}\n")
    told.writelines(f"{fault}\n" for fault in outcome.faults)
    sys.stdout.write(told.getvalue())
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
