"""Benchmarks of curation at ABO's full size, on generated listings and archives."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aisles.data_prep.abo.balancing import balance
from aisles.data_prep.abo.listings import index_catalogue, read_images, read_listings
from aisles.data_prep.abo.recipe import load_recipe
from aisles.data_prep.abo.selection import select
from aisles.data_prep.images.splitting import split_by_product
from aisles.data_prep.io.archive import TarImages

from .performance import Ratio, as_ratio, ratios_of

LISTINGS, IMAGES, TYPES = 147_702, 398_212, 576
_PEAK = """
import resource, sys
from aisles.data_prep.abo.listings import index_catalogue
index_catalogue(sys.argv[1], sys.argv[2])
own, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(max(own, others) / 1e6)
"""


def index_ratios() -> list[Ratio]:
    """Time indexing at full size against a bare loop of gzip and json.loads; tell the largest process's memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_catalogue(folder / "abo", 1.0)
        runs = iter(range(100))
        tasks = {
            "bare loop": lambda: _bare_loop(folder / "abo"),
            "index": lambda: index_catalogue(folder / "abo", folder / f"index-{next(runs)}"),
        }
        values = ratios_of(tasks, "bare loop", 3)["index"]
        command = [sys.executable, "-c", _PEAK, str(folder / "abo"), str(folder / "measured")]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [
        as_ratio("index over the bare loop", values, 1.0),
        as_ratio("peak memory of the largest process over 1 GB", np.array([peak]), 1.0),
    ]


def tar_ratios(clock: Callable[[], float] = time.perf_counter) -> list[Ratio]:
    """Compare the rate of random reads through a tar's index with that of loose files (20,000 of 8 KB)."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        names = [f"{i:05d}.jpg" for i in range(20_000)]
        (folder / "loose").mkdir()
        with tarfile.open(folder / "images.tar", "w") as tar:
            for file in names:
                data = rng.bytes(8192)
                (folder / "loose" / file).write_bytes(data)
                member = tarfile.TarInfo(file)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        order = [names[i] for i in rng.permutation(len(names))]
        images = TarImages(folder / "images.tar")
        tasks = {
            "tar": lambda: [images.read(file) for file in order],
            "loose": lambda: [(folder / "loose" / file).read_bytes() for file in order],
        }
        values = 1 / ratios_of(tasks, "loose", 5, clock=clock)["tar"]
        images.close()
    return [as_ratio("rate through the tar over loose files", values, 0.9, at_least=True)]


def curation_ratios(clock: Callable[[], float] = time.perf_counter) -> list[Ratio]:
    """Time select, balance and split at full size over ten times the time at a tenth of it; 1 is linear growth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = {}
        for share in (0.1, 1.0):
            write_catalogue(folder / f"{share}", share)
            index = index_catalogue(folder / f"{share}", folder / f"{share}-index")
            tables = read_listings(index.folder), read_images(index.folder)
            tasks[f"{share}"] = lambda tables=tables, share=share: _curate(tables[0], tables[1], share)
        values = ratios_of(tasks, "0.1", 3, clock=clock)["1.0"] / 10
    return [as_ratio("time at full size over ten times that at a tenth", values, 1.5)]


def write_catalogue(folder: Path, share: float) -> None:
    """Write listings and the image table in ABO's layout: `share` of the full size, class sizes as unequal."""
    rng = np.random.default_rng(0)
    n_listings, n_images = int(LISTINGS * share), int(IMAGES * share)
    kinds = rng.choice(TYPES, n_listings, p=_type_shares())
    (folder / "listings" / "metadata").mkdir(parents=True)
    (folder / "images" / "metadata").mkdir(parents=True)
    padding = [
        rng.bytes(150).hex() for _ in range(500)
    ]  # about as long as Amazon's texts, and as hard to pack
    for part, rows in enumerate(np.array_split(np.arange(n_listings), 16)):
        path = folder / "listings" / "metadata" / f"listings_{part:x}.json.gz"
        with gzip.open(path, "wt", compresslevel=6, encoding="ascii") as file:
            for row in rows:
                file.write(_listing(int(row), int(kinds[row]), n_images, padding) + "\n")
    with gzip.open(folder / "images" / "metadata" / "images.csv.gz", "wt", encoding="ascii") as file:
        file.write("image_id,height,width,path\n")
        file.writelines(f"I{i:08d}L,2560,1969,{i % 256:02x}/{i:08x}.jpg\n" for i in range(n_images))


def _listing(row: int, kind: int, n_images: int, padding: list[str]) -> str:
    first = int(
        row * IMAGES / LISTINGS
    )  # images of neighbors overlap a little, as variants share photographs
    images = [f"I{(first + i) % n_images:08d}L" for i in range(1 + row % 5)]
    text = padding[row % len(padding)]
    return json.dumps(
        {
            "brand": [{"language_tag": "en_US", "value": "AmazonBasics"}],
            "bullet_point": [
                {"language_tag": "en_US", "value": text[i * 60 : i * 60 + 60]} for i in range(5)
            ],
            "item_id": f"B{row:09d}",
            "item_name": [{"language_tag": "en_US", "value": text[:80]}],
            "product_type": [{"value": f"TYPE_{kind:03d}"}],
            "main_image_id": images[0],
            "other_image_id": images[1:],
            "country": "US",
            "marketplace": "Amazon",
            "domain_name": "amazon.com",
            "node": [{"node_id": 18_770_271_011 + kind, "node_name": f"/Categories/{text[80:120]}"}],
        }
    )


def _type_shares() -> np.ndarray:
    shares = 1 / np.arange(1, TYPES + 1) ** 1.1
    return shares / shares.sum()


def _bare_loop(folder: Path) -> int:
    count = 0
    for path in sorted((folder / "listings" / "metadata").iterdir()):
        with gzip.open(path, "rb") as file:
            for line in file:
                json.loads(line)
                count += 1
    return count


def _curate(listings, images, share: float) -> None:
    """Do what curation does apart from looking at images, with drawn similarities."""
    recipe = load_recipe("abo65")
    settings = recipe.selection.model_copy(update={"minimum": int(150 * share), "cap": int(400 * share)})
    candidates = select(listings, images, settings).candidates
    scores = candidates.loc[:, ["image_id", "label", "source", "reason"]].copy()
    drawn = np.random.default_rng(1).random(len(scores)).round(6)
    scores["similarity"] = np.where(scores["source"] == "main", 1.0, drawn)
    balanced = balance(scores, recipe.similarity.threshold("vgg16"), settings.cap).images
    kept = balanced.loc[balanced["decision"] == "kept", ["image_id", "label"]]
    product = dict(zip(candidates["image_id"], candidates["product"], strict=True))
    split_by_product(kept["label"].to_numpy(dtype=object), [product[image] for image in kept["image_id"]])
