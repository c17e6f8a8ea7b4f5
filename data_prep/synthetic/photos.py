"""Photographs of synthetic products: main images, other views, and what a catalogue has besides them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from . import furniture, goods
from .furniture import Chance, cloth, wood
from .renderer import Camera, Color, Mesh, paint, shade

SUPERSAMPLING = 2


@dataclass(frozen=True)
class SyntheticType:
    """A product type: its name, its natural group, how a product is made and from where it is looked at."""

    name: str
    group: str
    build: Callable[[Chance], Mesh]
    yaw: float = 50.0
    pitch: tuple[float, float] = (8.0, 32.0)


TYPES: tuple[SyntheticType, ...] = (
    SyntheticType("CHAIR", "seating", furniture.chair),
    SyntheticType("SOFA", "seating", furniture.sofa),
    SyntheticType("STOOL_SEATING", "seating", furniture.stool),
    SyntheticType("OTTOMAN", "seating", furniture.ottoman),
    SyntheticType("TABLE", "tables and storage", furniture.table),
    SyntheticType("DESK", "tables and storage", furniture.desk),
    SyntheticType("SHELF", "tables and storage", furniture.shelf),
    SyntheticType("CABINET", "tables and storage", furniture.cabinet),
    SyntheticType("RUG", "tables and storage", furniture.rug, 40, (40, 85)),
    SyntheticType("LAMP", "lighting", furniture.lamp, 50, (0, 25)),
    SyntheticType("LIGHT_FIXTURE", "lighting", furniture.light_fixture, 50, (-20, 15)),
    SyntheticType("LIGHT_BULB", "lighting", furniture.light_bulb, 50, (-10, 40)),
    SyntheticType("BACKPACK", "bags", goods.backpack, 50, (0, 25)),
    SyntheticType("HANDBAG", "bags", goods.handbag, 50, (0, 30)),
    SyntheticType("SUITCASE", "bags", goods.suitcase, 50, (0, 25)),
    SyntheticType("WALLET", "bags", goods.wallet, 45, (-10, 40)),
    SyntheticType("SHOES", "footwear", goods.shoe, 50, (5, 35)),
    SyntheticType("BOOT", "footwear", goods.boot, 50, (0, 25)),
    SyntheticType("SANDAL", "footwear", goods.sandal, 50, (10, 40)),
    SyntheticType("DRINKING_CUP", "kitchenware", goods.cup, 70, (0, 35)),
    SyntheticType("DISHWARE_BOWL", "kitchenware", goods.bowl, 70, (5, 45)),
    SyntheticType("SAUTE_FRY_PAN", "kitchenware", goods.pan, 60, (10, 55)),
    SyntheticType("PLANTER", "kitchenware", goods.planter, 70, (5, 30)),
    SyntheticType("RING", "jewelry", goods.ring, 60, (-5, 35)),
    SyntheticType("NECKLACE", "jewelry", goods.necklace, 40, (-10, 30)),
    SyntheticType("EARRING", "jewelry", goods.earring, 40, (-10, 30)),
)
FINE_TWIN = SyntheticType("FINERING", "jewelry", goods.fine_ring, 60, (-5, 35))
BELOW_MINIMUM = (
    SyntheticType("BED", "seating", furniture.bed),
    SyntheticType("BENCH", "seating", furniture.ottoman),
    SyntheticType("VASE", "kitchenware", goods.planter),
)
_BY_GROUP = {group: [t for t in TYPES if t.group == group] for group in {t.group for t in TYPES}}


def generic(name: str, groups: tuple[str, ...]) -> SyntheticType:
    """Make a type that holds anything of some groups, as ABO's HOME and KITCHEN do."""
    choices = [kind for group in groups for kind in _BY_GROUP[group]]

    def anything(rng: Chance) -> Mesh:
        return choices[rng.integers(len(choices))].build(rng)

    return SyntheticType(name, groups[0], anything)


GENERICS = (
    generic("HOME", ("seating", "tables and storage", "lighting", "kitchenware")),
    generic("KITCHEN", ("kitchenware",)),
)


def draw_photo(kind: str, synthetic: SyntheticType, product: list[int], image: int) -> Image.Image:
    """Draw one image of one product.

    Parameters
    ----------
    kind : {"main", "view", "scene", "swatch", "chart", "text", "boilerplate"}
        What the image shows.
    synthetic : SyntheticType
        The product's type.
    product : list of int
        The product's seed: the same numbers give the same product in all of its images.
    image : int
        The image's seed.

    Returns
    -------
    PIL.Image.Image
        RGB, 150 to 240 pixels on the longer side.
    """
    mesh = synthetic.build(np.random.default_rng(product))
    rng = np.random.default_rng([*product, image])
    if kind == "main" and synthetic.name == "RUG" and rng.uniform() < 0.5:
        return _finish(_rug_in_room(synthetic, mesh, rng), rng)
    return _finish(_PAINTERS[kind](synthetic, mesh, rng), rng)


def _camera(synthetic: SyntheticType, rng: Chance, **changes) -> Camera:
    pose = {
        "yaw": rng.uniform(-synthetic.yaw, synthetic.yaw),
        "pitch": rng.uniform(*synthetic.pitch),
        "roll": rng.normal(0, 4),
        "distance": rng.uniform(3, 9),
        "fill": rng.uniform(0.6, 0.97),
        "mirror": bool(rng.uniform() < 0.5),
    }
    return Camera(**(pose | changes))


def _canvas(rng: Chance, color: Color = (255, 255, 255)) -> Image.Image:
    longest = int(rng.integers(75, 121)) * 2 * SUPERSAMPLING
    aspect = 1.0 if rng.uniform() < 0.6 else rng.uniform(0.7, 1.0)
    wide = rng.uniform() < 0.5
    other = int(longest * aspect)
    return Image.new("RGB", (longest, other) if wide else (other, longest), color)


def _studio(rng: Chance) -> tuple[Image.Image, Color | None]:
    """Return an empty image, mostly white, sometimes tinted or a gradient, and the color of its shadows."""
    if rng.uniform() < 0.75:
        return _canvas(rng), (232, 232, 232) if rng.uniform() < 0.7 else None
    tint = shade(cloth(rng), rng.uniform(0.7, 1.6))
    canvas = _canvas(rng, tint)
    if rng.uniform() < 0.5:
        ramp = Image.linear_gradient("L").resize(canvas.size).point([v // 2 for v in range(256)])
        canvas = Image.composite(Image.new("RGB", canvas.size, shade(tint, 0.6)), canvas, ramp)
    return canvas, shade(tint, 0.8)


def _main(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    canvas, shadow = _studio(rng)
    paint(canvas, mesh, _camera(synthetic, rng), shadow=shadow)
    return canvas


def _view(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw the product from elsewhere, one view in five as a close-up that leaves part of it out."""
    canvas, shadow = _studio(rng)
    close = rng.uniform() < 0.2
    shift = (rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)) if close else (0.0, 0.0)
    camera = _camera(synthetic, rng, shift=shift, **({"fill": rng.uniform(1.05, 1.35)} if close else {}))
    paint(canvas, mesh, camera, shadow=shadow)
    return canvas


def _room(rng: Chance) -> tuple[Image.Image, int]:
    """Paint wall, floor and a window; also give the height at which the floor begins."""
    wall, floor = shade(cloth(rng), 1.3), wood(rng)
    canvas = _canvas(rng, wall)
    width, height = canvas.size
    line = int(height * rng.uniform(0.5, 0.65))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, line, width, height), fill=floor)
    for y in np.linspace(line, height, 7)[1:]:
        pen.line((0, y, width, y), fill=shade(floor, 0.88), width=3)
    left = rng.uniform(0.05, 0.7) * width
    pane = (left, height * 0.08, left + width * 0.24, line * 0.7)
    pen.rectangle(pane, fill=(206, 226, 240), outline=(250, 250, 250), width=8)
    pen.line((left + width * 0.12, pane[1], left + width * 0.12, pane[3]), fill=(250, 250, 250), width=5)
    return canvas, line


def _furnish(canvas: Image.Image, line: int, rng: Chance, count: int) -> None:
    width, height = canvas.size
    names = {"SOFA", "TABLE", "SHELF", "CABINET", "LAMP", "PLANTER", "CHAIR", "DESK"}
    choices = [kind for kind in TYPES if kind.name in names]
    places = np.sort(rng.uniform(0.0, 1.0, count))
    for share in places:
        other = choices[rng.integers(len(choices))]
        size = width * rng.uniform(0.3, 0.5)
        x, bottom = share * width, line + (height - line) * rng.uniform(0.05, 0.7)
        frame = (x - size / 2, bottom - size, x + size / 2, bottom)
        paint(
            canvas, other.build(rng), _camera(other, rng, roll=0.0, fill=0.95), frame, shade(wood(rng), 0.7)
        )


def _scene(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw a furnished room in which the product is small."""
    canvas, line = _room(rng)
    _furnish(canvas, line, rng, int(rng.integers(4, 7)))
    width, height = canvas.size
    size = width * rng.uniform(0.14, 0.26)
    x, bottom = rng.uniform(0.2, 0.8) * width, height * rng.uniform(0.8, 0.97)
    paint(
        canvas, mesh, _camera(synthetic, rng, fill=0.95), (x - size / 2, bottom - size, x + size / 2, bottom)
    )
    return canvas


def _rug_in_room(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw a room whose floor is mostly the rug, as many main photographs of rugs are."""
    canvas, line = _room(rng)
    width, height = canvas.size
    camera = _camera(synthetic, rng, pitch=rng.uniform(25, 40), roll=0.0, fill=0.98)
    paint(canvas, mesh, camera, (0, line, width, height))
    _furnish(canvas, line, rng, 2)
    return canvas


def _swatch(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Fill the image with the product's color: plain, woven, grained or striped."""
    color = mesh[-1].color
    canvas = _canvas(rng, color)
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    style, step = rng.integers(4), int(rng.integers(6, 22))
    if style == 1:
        for x in range(0, width, step):
            pen.line((x, 0, x, height), fill=shade(color, 0.88), width=step // 3)
        for y in range(0, height, step):
            pen.line((0, y, width, y), fill=shade(color, 1.1), width=step // 3)
    if style == 2:
        for y in np.cumsum(rng.uniform(3, 2 * step, height // 4)):
            pen.line((0, y, width, y + rng.normal(0, 8)), fill=shade(color, rng.uniform(0.8, 1.1)), width=3)
    if style == 3:
        for x in range(-height, width, 2 * step):
            pen.line((x, height, x + height, 0), fill=shade(color, 0.8), width=step)
    return canvas


@lru_cache
def _font(size: int):
    return ImageFont.load_default(size)


_WORDS = (
    "easy",
    "to",
    "clean",
    "soft",
    "strong",
    "warranty",
    "year",
    "washable",
    "size",
    "comfort",
    "quality",
)


def _phrase(rng: Chance, words: int) -> str:
    return " ".join(_WORDS[k] for k in rng.integers(len(_WORDS), size=words))


def _chart(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw a size chart: a table of numbers under a heading."""
    canvas = _canvas(rng)
    width, height = canvas.size
    pen, size = ImageDraw.Draw(canvas), width // 16
    pen.text((width * 0.06, height * 0.04), "SIZE CHART", fill=(20, 20, 20), font=_font(int(size * 1.4)))
    rows, columns = int(rng.integers(5, 9)), int(rng.integers(3, 6))
    ys, xs = (
        np.linspace(height * 0.2, height * 0.96, rows + 1),
        np.linspace(width * 0.04, width * 0.96, columns + 1),
    )
    pen.rectangle((xs[0], ys[0], xs[-1], ys[1]), fill=shade(cloth(rng), 1.1))
    for y in ys:
        pen.line((xs[0], y, xs[-1], y), fill=(90, 90, 90), width=2)
    for x in xs:
        pen.line((x, ys[0], x, ys[-1]), fill=(90, 90, 90), width=2)
    for y in ys[:-1]:
        for x in xs[:-1]:
            text = f"{rng.uniform(1, 60):.1f}" if y > ys[0] and x > xs[0] else "SMLX"[rng.integers(4)]
            pen.text((x + 6, y + 6), text, fill=(30, 30, 30), font=_font(size))
    return canvas


def _text(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw an advertising panel: a colored band with a heading, bullets and lines of words."""
    color = cloth(rng)
    canvas = _canvas(rng, shade(color, 1.7) if rng.uniform() < 0.5 else (255, 255, 255))
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, width, height * 0.22), fill=color)
    pen.text(
        (width * 0.05, height * 0.06), _phrase(rng, 2).upper(), fill=(255, 255, 255), font=_font(width // 11)
    )
    for y in np.arange(height * 0.28, height * 0.92, width / 13):
        pen.ellipse((width * 0.05, y + 6, width * 0.05 + 14, y + 20), fill=color)
        pen.text((width * 0.1, y), _phrase(rng, 5), fill=(40, 40, 40), font=_font(width // 22))
    return canvas


def _boilerplate(synthetic: SyntheticType, mesh: Mesh, rng: Chance) -> Image.Image:
    """Draw the notice that hangs on everything the seller sells."""
    canvas = Image.new("RGB", (400, 400), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    pen.ellipse((120, 60, 280, 220), outline=(230, 130, 20), width=16)
    pen.line((160, 140, 195, 180, 250, 100), fill=(230, 130, 20), width=16)
    pen.text((50, 260), "QUALITY GUARANTEE", fill=(40, 40, 40), font=_font(30))
    pen.text((110, 310), "1 year warranty", fill=(90, 90, 90), font=_font(26))
    return canvas


_PAINTERS: dict[str, Callable[[SyntheticType, Mesh, Chance], Image.Image]] = {
    "main": _main, "view": _view, "scene": _scene, "swatch": _swatch,
    "chart": _chart, "text": _text, "boilerplate": _boilerplate,
}  # fmt: skip


def _finish(canvas: Image.Image, rng: Chance) -> Image.Image:
    """Shrink what was painted too large, then light, blur and grain as a camera gives."""
    image = canvas.reduce(SUPERSAMPLING)
    gain, lift = rng.uniform(0.88, 1.06), rng.uniform(-6, 6)
    image = image.point([min(255, max(0, round(v * gain + lift))) for v in range(256)] * 3)
    if rng.uniform() < 0.2:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.4, 1.2))))
    strength = int(rng.integers(2, 9))
    grain = rng.integers(0, 2 * strength, (image.height, image.width), dtype=np.int16) - strength
    pixels = np.asarray(image, dtype=np.int16) + grain[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
