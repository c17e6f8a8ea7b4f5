"""Which curves the map is made of: pre-specified, the same for every data set that can have them."""

from dataclasses import dataclass, field

EVERY = ("grocery", "catalogue", "digits", "letter", "texture")
FLATS = ("flat-lda", "flat-logistic", "flat-knn")
TWO_STAGE = ("soft:lda", "implied:lda", "hie:lda")
COARSE = ("flat-coarse", "flat-coarse-lda", "coarse:soft", "coarse:hie")
SHARES = "0,0.1,0.3"


@dataclass(frozen=True)
class Planned:
    """One axis of the map.

    Attributes
    ----------
    name : str
    title : str
    condition : str
        How a sentence begins that speaks of a value of this axis; `{value}` stands for it.
    axis : str
        As `--curve` writes it.
    brought : bool
        Whether macros are those of the column; else they are learned from the training images of the point.
    sets : tuple of str
    own : dict
        What `--curve` is given for single data sets.
    draws : int
        Per point, where something is drawn.
    """

    name: str
    title: str
    condition: str
    axis: str
    brought: bool = True
    sets: tuple[str, ...] = EVERY
    own: dict[str, str] = field(default_factory=dict, hash=False)
    draws: int = 3

    @property
    def primary(self) -> str:
        """The pre-specified method, as `run_curve` takes it."""
        return "coarse:soft" if self.name == "few-labels-coarse" else "soft:lda"

    def curve(self, data: str) -> str:
        """Return what `--curve` is given for a data set."""
        return self.own.get(data, self.axis)

    def methods(self, data: str) -> tuple[str, ...]:
        """Return the methods that are compared on a data set."""
        return (*FLATS, *TWO_STAGE, *(COARSE if self.name == "few-labels-coarse" else ()))


FEW = "1,2,5,10,20,all"
CLASSES = {
    "grocery": "classes=10,30,all", "catalogue": "classes=6,12,all", "letter": "classes=6,12,all",
    "texture": "classes=5,8", "digits": "classes=5,8",
}  # fmt: skip
MACROS = {"grocery": "hierarchy.macros=2,8,32", "catalogue": "hierarchy.macros=2,5,12",
          "letter": "hierarchy.macros=2,5,12"}  # fmt: skip

PLAN = (
    Planned(
        "few-labels-coarse", "Few fine labels, coarse labels for all other training images",
        "Fine labels per class: {value}, coarse labels for all other training images", FEW, draws=5,
    ),
    Planned(
        "few-labels", "Few fine labels and nothing else; macros learned from them",
        "Labels per class: {value}, and nothing else", FEW, brought=False, draws=5,
    ),
    Planned("noise-inside", "Wrong labels inside macros",
            "Share of wrong labels inside macros: {value}", f"noise-inside={SHARES}"),
    Planned("noise-across", "Wrong labels across macros",
            "Share of wrong labels across macros: {value}", f"noise-across={SHARES}"),
    Planned("imbalance", "A long tail of classes",
            "Images of the most frequent class over the rarest one's: {value}", "imbalance=10,100"),
    Planned("source-distance", "Training images from another source (a planted shift of all features)",
            "Distance between the sources of training and test images, in spreads inside classes: {value}",
            "source-distance=0.25,0.5,1"),
    Planned("classes", "Number of classes", "Classes: {value}", "", own=CLASSES),
    Planned("macros", "Macros learned, brought or random", "Macros: {value}",
            "macros=learned,brought,random"),
    Planned("n-macros", "Number of learned macros", "Learned macros: {value}", "", brought=False,
            sets=("grocery", "catalogue", "letter"), own=MACROS),
)  # fmt: skip
"""In the order of the page. The pre-specified method is the one that `run_curve` takes: coarse:soft where images keep
their macro alone, else soft:lda."""
