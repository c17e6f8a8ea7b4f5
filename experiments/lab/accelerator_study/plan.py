"""What is trained, in which order, and what validation images choose. A run stopped at any model goes on from there.

First stage, on training images: flat with each recipe, then, from the best of them, flat once more, router and
sub-models, and specialists, each with several learning rates; validation images choose. Second stage, on training and
validation images: flat models with seeds of their own, and for each of the first ones what is trained from it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .augmentation import Augmentation
from .network import SCALES, EfficientNetLite, pretrained, with_labels
from .packing import Photographs
from .specialists import RULES
from .speed import inference_speed, training_speed
from .store import Results
from .training import Fitted, Recipe, Task, TrainingImages, fit, predict

logger = logging.getLogger(__name__)
RECIPES = (
    Recipe("medium"),
    Recipe("strong", augmentation=Augmentation(smallest=0.15, rotation=15, mixed=0.5)),
    Recipe("large", side=224),
    Recipe("gentle", rate=3e-4),
    Recipe("light", rate=5e-4, augmentation=Augmentation(smallest=0.5, color=0.2)),
)
RATES = (0.1, 0.3)  # of what is trained from a flat model, as shares of the flat model's rate
EPOCHS = (20, 30, 40, 60)  # of a flat model: the most for which there is time
SHARE = 3  # what is trained from a flat model gets a third of its epochs
WORK = 27.0  # of the whole plan, in trainings of a flat model
FIRST_STAGE = 0.35  # of the time; what is left to be tried then is not tried
RESERVE = 10.0  # seconds at the end
MEMBERS = 6  # flat models in the ensemble that predicts at the cost of a router and five sub-models


@dataclass(frozen=True)
class Settings:
    """How much is trained.

    Attributes
    ----------
    network : str
        Key of `network.SCALES`.
    seeds : int
        Flat models from which others are trained.
    flats : int
        Flat models in all; ensembles are drawn from them.
    minutes : float
        No model is begun that would end later.
    also : str
        Another network of which flat models are trained if time is left; empty: none.
    precision : str
        Of training.
    batch : int
    side : int
        Of prediction, in pixels; 0: what the network was made for.
    epochs : int
        Of a flat model; 0: the most of `EPOCHS` for which there is time.
    recipes : tuple of Recipe
    """

    network: str = "lite0"
    seeds: int = 5
    flats: int = 10
    minutes: float = 8.0
    also: str = ""
    precision: str = "bfloat16"
    batch: int = 64
    side: int = 0
    epochs: int = 0
    recipes: tuple[Recipe, ...] = RECIPES

    def toy(self) -> "Settings":
        """Return settings that try everything out at a size for which a processor needs a minute."""
        recipes = tuple(replace(recipe, side=32) for recipe in self.recipes[:2])
        return replace(
            self, seeds=2, flats=3, batch=16, side=32, epochs=3, recipes=recipes, precision="float32"
        )


class OutOfTime(Exception):
    """The next model would end too late."""


class Run:
    """One run: photographs on the device, results so far, and the weights of flat models.

    Parameters
    ----------
    photographs : Photographs
    packed : path
        The folder with the networks' weights.
    results : Results
    weights : path
        Folder for the flat models' weights.
    settings : Settings
    """

    def __init__(
        self,
        photographs: Photographs,
        packed: str | Path,
        results: Results,
        weights: str | Path,
        settings: Settings,
    ):
        self.started = time.monotonic()
        self.photographs, self.packed, self.results, self.settings = (
            photographs,
            Path(packed),
            results,
            settings,
        )
        self.weights = Path(weights)
        here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = here or torch.device("cpu")
        torch.backends.cudnn.benchmark = True
        self.learned, self.validated = photographs.rows("train", "val"), photographs.rows("val")
        self.trained_first = photographs.rows("train")
        self.answered = np.concatenate([self.validated, photographs.rows("test")])
        canvases, sizes = photographs.canvases(self.learned)  # no test image is among them
        self.place = np.full(len(photographs.encoded), -1)
        self.place[self.learned] = np.arange(len(self.learned))
        self.images = TrainingImages(
            torch.from_numpy(canvases).to(self.device), torch.from_numpy(sizes).to(self.device)
        )
        self.pixels: dict[str, torch.Tensor] = {}
        self.speed = 0.0  # images of the smallest recipe per second
        self.base = min(recipe.side for recipe in settings.recipes)

    def go(self) -> bool:
        """Train whatever is missing and fits into the time; return whether nothing is missing any more."""
        self._prepare()
        finished = True
        try:
            self._choose()
            for name, train in self._second_stage():
                self._once(name, train)
        except OutOfTime as reason:
            logger.warning("%s", reason)
            finished = False
        self._time_prediction()
        return finished

    # What there is time for

    def _prepare(self) -> None:
        settings, first = self.settings, min(self.settings.recipes, key=lambda recipe: recipe.side)
        how = {"batch": settings.batch, "steps": 30 if self.device.type != "cpu" else 2}
        noted = self.results.facts("run")
        known = noted.get("training_images_per_second", {}).get(settings.precision)
        self.speed = known or training_speed(settings.network, self.images, first, settings.precision, **how)
        left = 60 * settings.minutes - self._elapsed
        per_epoch = len(self.learned) / self.speed
        fitting = [n for n in EPOCHS if n * per_epoch * WORK <= left]
        epochs = noted.get("epochs") or settings.epochs or max(fitting, default=EPOCHS[0])
        self.epochs: int = epochs
        self.later = max(1, epochs // SHARE)
        facts = {
            "device": _device_name(self.device),
            "torch": torch.__version__,
            "settings": asdict(settings),
            "epochs": epochs,
            "epochs_of_what_is_trained_from_flat": self.later,
            "training_images_per_second": {settings.precision: self.speed},
            "classes": list(self.photographs.classes),
            "macros": list(self.photographs.macros),
            "macro_of_class": self.photographs.macro_of_class.tolist(),
            "cost": self._costs(),
        }
        logger.info("%s", {key: facts[key] for key in ("device", "epochs", "training_images_per_second")})
        if not noted:
            labels = self.photographs.labels[self.answered]
            self.results.put(
                "images",
                {},
                labels=labels,
                is_test=self.photographs.splits[self.answered] == "test",
                file_names=self.photographs.file_names[self.answered],
                products=self.photographs.products[self.answered],
            )
        kept = ("chosen", "prediction_images_per_second")
        self.results.note("run", {**facts, **{key: noted[key] for key in kept if key in noted}})

    @property
    def _accelerated(self) -> bool:
        return self.device.type != "cpu"

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def _enough_tried(self) -> bool:
        return self._elapsed > FIRST_STAGE * 60 * self.settings.minutes

    def _costs(self) -> dict[str, float]:
        """Count multiplications for one image: of flat, and of all blocks that specialists have of their own."""
        network = EfficientNetLite(self.settings.network, len(self.photographs.classes))
        side = self._side(self.settings.network)
        return {
            "flat": network.multiplications(side),
            "specialist": network.multiplications(side, network.last_blocks),
        }

    def _check_time(self, images: float, side: int, name: str) -> None:
        seconds = images * (side / self.base) ** 2 / self.speed
        if self._elapsed + seconds + RESERVE > 60 * self.settings.minutes:
            raise OutOfTime(
                f"No time left for {name} ({seconds:.0f} s more). The same command goes on from here; "
                "raise --minutes."
            )

    def _time_prediction(self) -> None:
        """Note once how fast the device predicts; it takes seconds, for which `minutes` leaves room."""
        noted, network = self.results.facts("run"), self.settings.network
        if "prediction_images_per_second" not in noted:
            batch, rounds = (256, 20) if self._accelerated else (8, 3)
            speeds = inference_speed(network, self._side(network), self.device, batch=batch, rounds=rounds)
            logger.info("predictions per second: %s", speeds)
            self.results.note("run", {**noted, "prediction_images_per_second": speeds})

    # The first stage: what validation images choose

    def _choose(self) -> None:
        noted = self.results.facts("run")
        if "chosen" in noted:
            self.chosen = noted["chosen"]
            return
        truth = self.photographs.labels[self.validated]
        trials = {}
        for recipe in self.settings.recipes:
            if trials and self._enough_tried:
                break
            name = f"trial-flat-{recipe.name}"
            self._once(
                name, lambda recipe=recipe, name=name: self._flat(name, recipe, 1000, self.trained_first)
            )
            trials[recipe.name] = score(self.results.arrays(name)["classes"], truth)
        recipe = max(trials, key=lambda name: trials[name])
        self.chosen: dict[str, Any] = {"recipe": recipe, "trials": {"flat": trials}}
        start = f"trial-flat-{recipe}"
        for kind in ("again", "separate", "specialists"):
            found = {}
            for rate in RATES:
                if found and self._enough_tried:
                    break
                name = f"trial-{kind}-{rate:g}"
                train = self._trainer(kind)
                self._once(
                    name,
                    lambda name=name, rate=rate, train=train: train(
                        name, start, rate, 1000, self.trained_first, self.photographs.macro_of_class
                    ),
                )
                for rule, classes in self._answers(kind, name, start).items():
                    found[f"{rate:g} {rule}".strip()] = score(classes, truth)
            best = max(found, key=lambda name: found[name])
            self.chosen["trials"][kind] = found
            rate, _, rule = best.partition(" ")
            self.chosen[kind] = {"rate": float(rate), "rule": rule}
        logger.info("chosen by validation images: %s", self.chosen)
        self.results.note("run", {**self.results.facts("run"), "chosen": self.chosen})

    def _answers(self, kind: str, name: str, start: str) -> dict[str, np.ndarray]:
        """Return class probabilities by the rules that validation images may choose among."""
        arrays, macro_of_class = self.results.arrays(name), self.photographs.macro_of_class
        if kind == "again":
            return {"": arrays["classes"]}
        if kind == "separate":
            return {"": arrays["macros"][:, macro_of_class] * arrays["within"]}
        flat = self.results.arrays(start)["classes"]
        return {rule: combine(flat, arrays["joint"], macro_of_class) for rule, combine in RULES.items()}

    # The second stage: what test images judge

    def _second_stage(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Name what is to be trained, in order, with the function that trains it."""
        settings, macros = self.settings, self.photographs.macro_of_class
        recipe = next(one for one in settings.recipes if one.name == self.chosen["recipe"])

        def flat(number: int) -> tuple[str, Callable[[], None]]:
            name = f"flat-{number}"
            return name, lambda: self._flat(name, recipe, number, self.learned)

        def trained_from(kind: str, seed: int, macro_of_class: np.ndarray, prefix: str):
            name, rate = f"{prefix}-{seed}", self.chosen[kind]["rate"]
            train = self._trainer(kind)
            return name, lambda: train(name, f"flat-{seed}", rate, seed, self.learned, macro_of_class)

        first = min(settings.flats, MEMBERS)
        yield from map(flat, range(first))
        for seed in range(settings.seeds):
            for kind in ("separate", "again", "specialists"):
                yield trained_from(kind, seed, macros, kind)
        yield from map(flat, range(first, settings.flats))
        for number in range(3 if settings.also else 0):
            name = f"{settings.also}-flat-{number}"
            larger = replace(
                recipe, side=round(recipe.side * SCALES[settings.also][2] / SCALES[settings.network][2])
            )
            yield (
                name,
                lambda name=name, number=number, larger=larger: self._flat(
                    name, larger, number, self.learned, settings.also
                ),
            )
        for seed in range(settings.seeds):
            shuffled = np.random.default_rng(seed).permutation(macros)
            yield trained_from("separate", seed, shuffled, "random")

    def _once(self, name: str, train: Callable[[], None]) -> None:
        if name not in self.results:
            train()

    def _trainer(self, kind: str) -> Callable[..., None]:
        return {"again": self._again, "separate": self._separate, "specialists": self._specialists}[kind]

    # The models

    def _flat(self, name: str, recipe: Recipe, seed: int, rows: np.ndarray, network: str = "") -> None:
        network = network or self.settings.network
        heavier = 1 if network == self.settings.network else 1.6
        self._check_time(heavier * len(rows) * self.epochs, recipe.side, name)
        with np.load(self.packed / f"{network}.npz") as tensors:
            model = pretrained(network, len(self.photographs.classes), tensors, seed)
        model = model.to(self.device, memory_format=torch.channels_last)  # pyright: ignore
        task = Task(rows, self.photographs.labels[rows])
        fitted = self._fit(model, task, recipe, recipe.rate, self.epochs, seed)
        self.weights.mkdir(parents=True, exist_ok=True)
        torch.save(fitted.network.state_dict(), self.weights / f"{name}.pt")
        self._keep(
            name,
            [fitted],
            {"recipe": recipe.name, "seed": seed},
            classes=self._predict(fitted, rows, network),
        )

    def _again(self, name: str, start: str, rate: float, seed: int, rows: np.ndarray, _: np.ndarray) -> None:
        """Train a flat model once more, on as many images as router and sub-models together."""
        recipe = self._recipe(start)
        self._check_time(2 * len(rows) * self.later, recipe.side, name)
        task = Task(rows, self.photographs.labels[rows])
        fitted = self._fit(
            self._flat_model(start), task, recipe, rate * recipe.rate, 2 * self.later, 2000 + seed
        )
        self._keep(name, [fitted], {"start": start, "rate": rate}, classes=self._predict(fitted, rows))

    def _separate(
        self, name: str, start: str, rate: float, seed: int, rows: np.ndarray, macro_of_class: np.ndarray
    ) -> None:
        """Train a router and one sub-model per macro from a flat model."""
        recipe, labels = self._recipe(start), self.photographs.labels
        self._check_time(2 * len(rows) * self.later, recipe.side, name)
        flat = self._flat_model(start)
        how = (recipe, rate * recipe.rate, self.later)
        # The router keeps flat's outputs and learns the summed probability of each macro's classes.
        task = Task(rows, macro_of_class[labels[rows]], groups=macro_of_class)
        router = self._fit(with_labels(flat, range(flat._fc.out_features)), task, *how, 3000 + seed)
        macros = self._predict(router, rows, groups=macro_of_class)
        within = np.zeros((self._n_answered(rows), len(macro_of_class)), np.float32)
        fitted = [router]
        for macro in range(int(macro_of_class.max()) + 1):
            members = np.flatnonzero(macro_of_class == macro)
            own = rows[macro_of_class[labels[rows]] == macro]
            task = Task(own, np.searchsorted(members, labels[own]))
            fitted.append(
                self._fit(with_labels(flat, members.tolist()), task, *how, 3001 + macro + 100 * seed)
            )
            within[:, members] = self._predict(fitted[-1], rows)
        facts = {"start": start, "rate": rate, "macro_of_class": macro_of_class.tolist()}
        self._keep(name, fitted, facts, macros=macros, within=within)

    def _specialists(
        self, name: str, start: str, rate: float, seed: int, rows: np.ndarray, macro_of_class: np.ndarray
    ) -> None:
        """Train, per macro, flat's last blocks on its classes and `other`: as many images of all other macros."""
        recipe, labels = self._recipe(start), self.photographs.labels
        self._check_time(2 * len(rows) * self.later, recipe.side, name)
        flat = self._flat_model(start)
        joint = np.zeros((self._n_answered(rows), len(macro_of_class)), np.float32)
        fitted = []
        for macro in range(int(macro_of_class.max()) + 1):
            members = np.flatnonzero(macro_of_class == macro)
            rest = np.flatnonzero(macro_of_class != macro)
            inside = macro_of_class[labels[rows]] == macro
            own = rows[inside]
            task = Task(own, np.searchsorted(members, labels[own]), rows[~inside], len(members))
            model = with_labels(flat, members.tolist(), rest.tolist())
            how = (recipe, rate * recipe.rate, self.later, 4000 + macro + 100 * seed)
            fitted.append(self._fit(model, task, *how, cut=flat.last_blocks))
            joint[:, members] = self._predict(fitted[-1], rows)[:, :-1]
        self._keep(name, fitted, {"start": start, "rate": rate}, joint=joint)

    def _recipe(self, start: str) -> Recipe:
        name = self.results.facts(start)["recipe"]
        return next(recipe for recipe in self.settings.recipes if recipe.name == name)

    def _flat_model(self, start: str) -> EfficientNetLite:
        """Return a flat model from its weights; where these are not here any more, it is trained once more."""
        path = self.weights / f"{start}.pt"
        if not path.is_file():
            facts = self.results.facts(start)
            rows = self.trained_first if start.startswith("trial") else self.learned
            self._flat(start, self._recipe(start), facts["seed"], rows)
        model = EfficientNetLite(self.settings.network, len(self.photographs.classes))
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return model.to(self.device, memory_format=torch.channels_last)  # pyright: ignore

    def _fit(
        self,
        model: EfficientNetLite,
        task: Task,
        recipe: Recipe,
        rate: float,
        epochs: int,
        seed: int,
        cut: int = 0,
    ) -> Fitted:
        fitted = fit(
            model,
            self.images,
            replace(task, rows=self.place[task.rows], others=self.place[task.others]),
            recipe,
            rate=rate,
            epochs=epochs,
            seed=seed,
            batch=self.settings.batch,
            precision=self.settings.precision,
            cut=cut,
        )
        if not cut and model.name == self.settings.network and fitted.images > 10_000:
            self.speed = fitted.images * (recipe.side / self.base) ** 2 / fitted.seconds
        return fitted

    def _side(self, network: str) -> int:
        return self.settings.side or SCALES[network][2]

    def _n_answered(self, rows: np.ndarray) -> int:
        """Count the images that a model answers: what was not trained on validation images sees no test image."""
        return len(self.answered if len(rows) == len(self.learned) else self.validated)

    def _predict(
        self, fitted: Fitted, rows: np.ndarray, network: str = "", groups: np.ndarray | None = None
    ) -> np.ndarray:
        network = network or self.settings.network
        if network not in self.pixels:
            centers = self.photographs.centers(self.answered, self._side(network))
            self.pixels[network] = torch.from_numpy(centers).to(self.device)
        pixels = self.pixels[network][: self._n_answered(rows)]
        return predict(fitted.network, pixels, groups=groups, batch=256 if self._accelerated else 32)

    def _keep(self, name: str, fitted: list[Fitted], facts: dict[str, Any], **arrays: np.ndarray) -> None:
        seconds = sum(one.seconds for one in fitted)
        images = sum(one.images for one in fitted)
        curves = [[round(loss, 4) for loss in one.curve] for one in fitted]
        self.results.put(name, {**facts, "seconds": seconds, "images": images, "curves": curves}, **arrays)
        logger.info(
            "%5.0f s  %s: %d images in %.1f s, loss %.3f", self._elapsed, name, images, seconds, curves[0][-1]
        )


def score(classes: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return accuracy and mean log-likelihood: what validation images prefer, in this order."""
    classes = classes.astype(np.float64)
    share = classes / classes.sum(1, keepdims=True)
    likelihood = np.log(share[np.arange(len(truth)), truth].clip(1e-6)).mean()
    return float((classes.argmax(1) == truth).mean()), float(likelihood)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type
