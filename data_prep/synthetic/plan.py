"""Which products and images the generated catalogue has, and where ABO's traps are laid in it."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from .photos import BELOW_MINIMUM, FINE_TWIN, GENERICS, TYPES, SyntheticType

BOILERPLATE_PRODUCTS = 60  # more than the 50 that one image may be shared by
# How many times `products_per_type` each type gets, in turn: as in ABO, no two alike; one exceeds every cap.
_ABUNDANCE = (1.0, 0.9, 1.15, 0.85, 1.05, 0.95, 1.1)
_DOMAINS = (("amazon.com", "US", "en_US"), ("amazon.de", "DE", "de_DE"), ("amazon.in", "IN", "en_IN"))
_OTHER_KINDS = (
    ("view", 0.55),
    ("view", 0.35),
    ("scene", 0.2),
    ("swatch", 0.14),
    ("chart", 0.16),
    ("text", 0.1),
)


@dataclass
class PlannedImage:
    """One image: what it shows (`kind`), of which product, how it is stored (`form`), its traps."""

    image_id: str
    kind: str
    synthetic: SyntheticType
    product: list[int]
    number: int
    form: str = "jpg"
    types: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    traps: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        """Where the file is below `images/small/`."""
        digest = hashlib.sha256(self.image_id.encode()).hexdigest()[:8]
        return f"{digest[:2]}/{digest}.{'png' if self.form == 'png' else 'jpg'}"


@dataclass
class Product:
    """One product of one type: its images and the domains that sell it."""

    item_id: str
    synthetic: SyntheticType
    main: PlannedImage | None
    others: list[PlannedImage]
    n_domains: int = 1


@dataclass(frozen=True)
class Plan:
    """The whole catalogue: products, images, listings as (product, domain number, product type)."""

    products: list[Product]
    images: list[PlannedImage]
    listings: list[tuple[Product, int, str]]


def plan_catalogue(
    products_per_type: int, seed: int, *, n_listings: int | None = None, drawn_products: int | None = None
) -> Plan:
    """Decide on every product, image and trap; nothing is drawn yet.

    Parameters
    ----------
    products_per_type, seed : int
        See `catalogue.write_sample`.
    n_listings : int, optional
        How many listings there are; those that are too many are left out, from the last types.
    drawn_products : int, optional
        Of how many products of each type images have files; all images of the others have the trap `no_file`.

    Raises
    ------
    ValueError
        If there are fewer listings than asked for.
    """
    rng = np.random.default_rng([seed, 7])
    products: list[Product] = []
    for number, (synthetic, count) in enumerate(_counts(products_per_type)):
        products += [_product(synthetic, [seed, number, k], rng) for k in range(count)]
    _lay_image_traps(products)
    _lay_sharing_traps(products)
    _lay_id_traps(products)
    listings = [(p, domain, p.synthetic.name) for p in products for domain in range(p.n_domains)]
    two_types = next(p for p in products[::-1] if p.synthetic.name == "TABLE" and not _trapped(p))
    if n_listings is not None:
        if len(listings) + 1 < n_listings:
            raise ValueError(
                f"{products_per_type} products per type give {len(listings) + 1} listings, fewer than {n_listings}. "
                "Raise `products_per_type`."
            )
        listings = listings[: n_listings - 1]
    listings.append((two_types, 1, "DESK"))
    for product, _, kind in listings:
        for image in _images(product):
            image.types += [kind] if kind not in image.types else []
            image.items += [product.item_id] if product.item_id not in image.items else []
    _mark(two_types, "item_of_two_types")
    images = {p.image_id: p for product in products for p in _images(product)}
    for image in images.values():
        if drawn_products is not None and image.product[2] >= drawn_products:
            image.traps.add("no_file")
    return Plan(products, list(images.values()), listings)


def listing_line(product: Product, domain: int, kind: str, number: int) -> bytes:
    """Write one listing as ABO does: in ASCII, without empty keys, product_type in either form."""
    name, country, language = _DOMAINS[domain]
    title = f"{kind.replace('_', ' ').title()} no. {number}"
    names = [{"language_tag": language, "value": title if language != "de_DE" else f"Schönes Stück {number}"}]
    if number % 5 == 0:
        names.append({"language_tag": "en_GB", "value": title})
    listing: dict = {"brand": [{"language_tag": language, "value": "Drawn"}], "item_id": product.item_id}
    listing["item_name"] = names
    listing["product_type"] = kind if number % 10 == 3 else [{"value": kind}]
    if product.main:
        listing["main_image_id"] = product.main.image_id
    if product.others:
        listing["other_image_id"] = [image.image_id for image in product.others]
    listing |= {"country": country, "marketplace": "Amazon", "domain_name": name}
    return json.dumps(listing, ensure_ascii=True).encode("ascii")


def _counts(products_per_type: int) -> list[tuple[SyntheticType, int]]:
    counts = [
        (synthetic, max(2, round(products_per_type * _ABUNDANCE[k % len(_ABUNDANCE)])))
        for k, synthetic in enumerate(TYPES)
    ]
    counts = [(d, 2 * n if d.name == "SHOES" else n) for d, n in counts]
    counts += [(d, products_per_type) for d in (FINE_TWIN, *GENERICS)]
    return counts + [(d, max(2, products_per_type // 5)) for d in BELOW_MINIMUM]


def _product(synthetic: SyntheticType, seed: list[int], rng: np.random.Generator) -> Product:
    kinds = ["main", *(kind for kind, share in _OTHER_KINDS if rng.uniform() < share)]
    images = [
        PlannedImage(
            _image_id([*seed, n]),
            kind,
            synthetic,
            seed,
            n,
            "png" if kind == "main" and seed[2] % 17 == 5 else "jpg",
        )
        for n, kind in enumerate(kinds)
    ]
    n_domains = int(rng.choice([1, 2, 3], p=[0.85, 0.1, 0.05]))
    product = Product(_item_id(seed), synthetic, images[0], images[1:], n_domains)
    if n_domains > 1:
        _mark(product, "several_domains")
    return product


def _item_id(seed: list[int]) -> str:
    return "B0" + hashlib.sha256(f"item {seed}".encode()).hexdigest()[:8].upper()


def _image_id(seed: list[int]) -> str:
    """Make an id in ABO's way: eleven characters, `+` and `-` among them."""
    digest = hashlib.sha256(f"image {seed}".encode()).digest()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
    return str(digest[0] % 5 + 4) + "1" + "".join(letters[b % 64] for b in digest[1:9]) + "L"


def _images(product: Product) -> list[PlannedImage]:
    return ([product.main] if product.main else []) + product.others


def _mark(product: Product, trap: str) -> None:
    for image in _images(product):
        image.traps.add(trap)


def _trapped(product: Product) -> bool:
    return any(image.traps for image in _images(product)) or not product.main or not product.others


def _untouched(products: list[Product], name: str, count: int) -> list[Product]:
    """Take the first products of a type without any trap so far, so that traps don't hide each other."""
    found = [p for p in products if p.synthetic.name == name and not _trapped(p)]
    return found[:count]


def _lay_image_traps(products: list[Product]) -> None:
    """Damage or convert single main images, and leave files out."""
    forms = {"truncated": "LAMP", "cmyk": "SOFA", "alpha": "RING", "gray": "SHELF"}
    for form, name in forms.items():
        for product in _untouched(products, name, 2):
            assert product.main
            product.main.form = "png" if form == "alpha" else form
            product.main.traps.add(form)
            if form == "truncated":
                _mark_others(product)
    for trap, name in (("no_row", "BOOT"), ("no_file", "WALLET")):
        for product in _untouched(products, name, 1):
            assert product.main
            product.main.traps.add(trap)
            _mark_others(product)


def _mark_others(product: Product) -> None:
    """Return in words that the other images have no main image to be compared with."""
    for image in product.others:
        image.traps.add("unusable_main")


def _lay_sharing_traps(products: list[Product]) -> None:
    """Share images: a notice by many products, views and main images by a few, one by two types."""
    for product in _untouched(products, "BACKPACK", 1):
        product.main, _ = None, _mark(product, "missing_main")
    for product in _untouched(products, "CHAIR", 1):
        product.others = []
        _mark(product, "missing_other")
    for name, count in (("HANDBAG", 3), ("PLANTER", 2)):
        first, *rest = _untouched(products, name, count)
        for product in rest:
            product.others = [*product.others, first.others[0]]
        for product in (first, *rest):
            _mark(product, "shared_other")
    first, second = _untouched(products, "SUITCASE", 2)
    second.main = first.main
    for product in (first, second):
        _mark(product, "shared_main")
    (stool,), (chair,) = _untouched(products, "STOOL_SEATING", 1), _untouched(products, "CHAIR", 1)
    assert chair.main
    stool.others = [*stool.others, chair.main]
    chair.main.traps.add("two_labels")
    notice = PlannedImage("01BoilerpLL", "boilerplate", TYPES[0], [0, 0, 0], 0, traps={"boilerplate"})
    for product in products[:: max(1, len(products) // BOILERPLATE_PRODUCTS)]:
        product.others = [*product.others, notice]


def _lay_id_traps(products: list[Product]) -> None:
    """Return ids that a careless reader takes for numbers: leading zeros, exponents, all digits."""
    ids = (("0312345678", "00123456789"), ("1234567890", "51234567890"), ("8100000001", "71000000e11"))
    for (item_id, image_id), product in zip(ids, _untouched(products, "DRINKING_CUP", 3), strict=False):
        assert product.main
        product.item_id, product.main.image_id = item_id, image_id
        _mark(product, "numeric_id")
