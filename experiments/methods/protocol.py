"""The training protocol: every method gets the same images, features, settings and seeds, or the run stops."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from .head_jobs import Trainer
from .registry import FLAT, Method, MethodResult

logger = logging.getLogger(__name__)
Made = TypeVar("Made")


def collect(
    methods: Iterable[Method], make: Callable[[Method], Made], must: tuple[str, ...]
) -> tuple[dict[str, Made], dict[str, str]]:
    """Ask every method for something; one that fails becomes a reason.

    Parameters
    ----------
    methods : iterable of Method
    make : callable
        Gives what is wanted of a method, or raises.
    must : tuple of str
        Methods without which there is nothing to compare: their failure is raised.

    Returns
    -------
    tuple of dict
        What was made by name, and reasons by name.
    """
    found: dict[str, Made] = {}
    failed: dict[str, str] = {}
    for method in methods:
        try:
            found[method.name] = make(method)
        except Exception as error:
            if method.name in must:
                raise
            failed[method.name] = f"{type(error).__name__}: {error}"
            logger.warning("The method %s failed: %s", method.name, error)
    return found, failed


def check_same_protocol(trainer: Trainer, methods: Mapping[str, MethodResult]) -> None:
    """Check that every head was trained on the same images, features, settings and seeds as flat's.

    And that all fine-tuned networks started from one backbone, on these images, with the same settings.

    Raises
    ------
    ValueError
        Naming the head that differs, and in what.
    """
    flat = methods[FLAT]
    common = ("data", "features", "training")
    wanted = {key: trainer.made_from(flat.jobs[0][0])[key] for key in common}
    for name, method in methods.items():
        for seed, jobs in enumerate(method.jobs):
            for job in jobs:
                had = trainer.made_from(job)
                differing = [key for key in common if had[key] != wanted[key]]
                if differing or had["seed"] not in (seed, 0 if method.deterministic else seed):
                    raise ValueError(
                        f"Every method must be trained by the same protocol. {job.name} of {name} differs in "
                        f"{differing or ['seed']}. Delete its folder and start the benchmark again."
                    )
    tuned = [method for method in methods.values() if method.protocol is not None]
    for method in tuned:
        had = method.protocol or {}
        differing = [key for key in had if had[key] != (tuned[0].protocol or {}).get(key)]
        if differing or had.get("data") != wanted["data"]:
            raise ValueError(
                f"All fine-tuned networks must be trained by the same protocol. {method.name} differs in "
                f"{differing or ['data']}. Delete its folder and start the benchmark again."
            )
