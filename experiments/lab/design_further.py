"""The further candidates of the design search, each trick given to flat and to two-stage alike.

Calibrated: temperatures from validation images. Warm start: sub-models and router that start as the flat head, beside
the flat head trained on. Overlap: classes that stand in a second macro, too. Joint: router and sub-models trained
together by the likelihood of soft's distribution. Distilled: heads that learn from flat heads or from soft.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from aisles.experiments.methods.head_jobs import HeadJob, flat_job, router_job, submodel_job, two_stage_jobs
from aisles.hierarchy.calibration import apply_temperature, fit_composed_temperatures, fit_temperature
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import macro_from_flat, soft

from .design_candidates import MEMBERS, SEEDS, Candidate, Search, Tables, both, each_pair
from .design_lessons import Lesson, School

ALL = 100
WAYS = {
    "": (1.0, False, None, ALL),
    ", slowly": (0.1, False, None, ALL),
    ", last layer alone": (1.0, True, None, ALL),
    ", 5 epochs": (1.0, False, 5, ALL),
    ", 20 epochs": (1.0, False, 20, ALL),
    ", from epoch 8": (1.0, False, None, 8),
}
"""How a flat head is trained on: the rate against a new head's, whether the last layer alone, epochs if not by patience
(which may find that none helps), and the flat head's own epochs at most."""
GUEST_SHARES = (0.02, 0.01)
"""Mass of a class in a foreign macro from which on it stands there, too, by held-out training images."""
MACROS_OVERLAPPING, MACROS_APART, MACROS_TAUGHT = (3, 5, 8), (2, 3, 5), (3, 5)
"""Numbers of macros tried with overlap, with stages trained together but apart from each other, and with teachers."""


def further_candidates(search: Search) -> Iterator[Candidate]:
    """Make every further candidate."""
    school = School(search.trainer, search.folder / "lessons")
    yield from calibrated_candidates(search)
    yield from warm_candidates(search, school)
    yield from overlapping_candidates(search)
    yield from joint_candidates(search, school)
    yield from taught_candidates(search, school)


def calibrated_candidates(search: Search) -> Iterator[Candidate]:
    """Return temperatures to flat, to means of flat heads, and to both stages.

    What they say of validation images is cross-fitted over two halves, as these choose.
    """
    truth, classes = search.truth["val"], search.tree.classes
    said = [[search.says(flat_job(classes, seed, i)) for seed in SEEDS] for i in range(MEMBERS)]
    scaled = [
        _stacked(cross_fitted(scale_flat, (val,), (test,), truth) for val, test in member) for member in said
    ]
    for members in (1, 2, 6):
        name = "flat, calibrated" if members == 1 else f"{members} flat heads, each calibrated, mean"
        tables = both(lambda part, n=members: np.mean([s[part] for s in scaled[:n]], axis=0))
        yield Candidate(name, "flat", members, tables, "calibrated")
    one, flat = flat_job(classes, 0), search.flats(1)
    for k, hierarchy in search.hierarchies.items():
        jobs, within = two_stage_jobs(hierarchy, 0), search.within(hierarchy)
        rules = {
            "soft": (search.router(hierarchy), jobs),
            "implied": (_implied(flat, hierarchy), [one, *jobs[1:]]),
        }
        for rule, (macros, paid) in rules.items():
            tables = _stacked(
                cross_fitted(partial(scale_stages, hierarchy), (mv, wv), (mt, wt), truth)
                for mv, wv, mt, wt in zip(macros[0], within[0], macros[1], within[1], strict=True)
            )
            name = f"{rule}, calibrated, {k} macros"
            yield Candidate(name, "two-stage", search.cost(paid), tables, "calibrated")


def cross_fitted(
    scale: Callable, val: tuple, test: tuple, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale each half of validation images by what the other half says, and test images by all of them.

    Parameters
    ----------
    scale : callable
        (known, truth, asked) -> distributions of the asked images.
    val, test : tuple of ndarray
        What `scale` needs of either images, one row an image.
    truth : int ndarray
        Of validation images.
    """
    half = np.random.default_rng(0).permutation(len(truth)) % 2
    found = [
        scale([table[half != i] for table in val], truth[half != i], [table[half == i] for table in val])
        for i in (0, 1)
    ]
    joined = np.empty((len(truth), found[0].shape[1]))
    joined[half == 0], joined[half == 1] = found
    return joined, scale(val, truth, test)


def scale_flat(known, truth: np.ndarray, asked) -> np.ndarray:
    """Return one temperature to a flat head."""
    return apply_temperature(asked[0], fit_temperature(_log(known[0]), truth))


def scale_stages(hierarchy: Hierarchy, known, truth: np.ndarray, asked) -> np.ndarray:
    """Return soft's distribution with a temperature for the router and one a sub-model."""
    found = fit_composed_temperatures(_log(known[0]), _log(known[1]), hierarchy, truth)
    return soft(found.apply_router(asked[0]), found.apply_submodels(asked[1], hierarchy), hierarchy)


def warm_candidates(search: Search, school: School) -> Iterator[Candidate]:
    """Train flat on, on all images, or a copy of it on each macro's; and a copy as router."""
    classes, study_rate = search.tree.classes, search.trainer.settings.learning_rate

    def lesson(job: HeadJob, way: str) -> Lesson:
        share, last, epochs, start = WAYS[way]
        return Lesson(job, share * study_rate, from_flat=start, last_only=last, epochs=epochs)

    jobs = [flat_job(classes, s) for s in SEEDS]
    jobs += [job for h in search.hierarchies.values() for s in SEEDS for job in two_stage_jobs(h, s)]
    school.train(lesson(job, way) for job in jobs for way in WAYS)
    for way in WAYS:
        tables = _stacked(school.says(lesson(flat_job(classes, s), way)) for s in SEEDS)
        yield Candidate(f"flat trained on{way}", "flat", 1.0, tables, "warm start")
    last = school.took(lesson(flat_job(classes, 0), ", last layer alone"), "parameters")
    hidden = 1 - search.cost([], last)
    for k, hierarchy in search.hierarchies.items():
        for way in WAYS:
            make = partial(lesson, way=way)
            router = _stacked(school.says(make(router_job(hierarchy, s))) for s in SEEDS)
            within = _within(school, hierarchy, lambda members, s, m=make: m(submodel_job(members, s)))
            costs = [
                search.cost([], school.took(make(job), "parameters")) for job in two_stage_jobs(hierarchy, 0)
            ]
            name = f"from flat{way}, {k} macros"
            shared = hidden if WAYS[way][1] else 0
            rules = {"soft": (router, shared + sum(costs)), "implied": (None, 1 + sum(costs[1:]))}
            for rule, (macros, cost) in rules.items():
                tables = _routed(macros or _implied(search.flats(1), hierarchy), within, hierarchy)
                yield Candidate(f"{rule}, stages {name}", "two-stage", cost, tables, "warm start")


def overlapping_candidates(search: Search) -> Iterator[Candidate]:
    """Let classes stand in a second macro, where sub-models see their images, too."""
    cuts = {(share, k): overlapping(search, k, share) for k in MACROS_OVERLAPPING for share in GUEST_SHARES}
    members = {names for hierarchy in cuts.values() for names in hierarchy.members if len(names) > 1}
    search.trainer.train(submodel_job(names, s) for names in members for s in SEEDS)
    for (share, k), hierarchy in cuts.items():
        own, within = search.hierarchies[k], search.within(hierarchy)
        subs = [submodel_job(names, 0) for names in hierarchy.members if len(names) > 1]
        rules = {
            "soft": (search.router(own), router_job(own, 0)),
            "implied": (_implied(search.flats(1), own), flat_job(search.tree.classes, 0)),
        }
        for rule, (macros, first) in rules.items():
            name = f"{rule}, {k} macros overlapping from {share:.0%}"
            cost = search.cost([first, *subs])
            yield Candidate(name, "two-stage", cost, _routed(macros, within, hierarchy), "overlap")


def overlapping(search: Search, k: int, share: float) -> Hierarchy:
    """Put classes into a second macro by held-out probabilities of training images."""
    return with_guests(search.hierarchies[k], search.held_out_mass, share)


def with_guests(hierarchy: Hierarchy, mass: np.ndarray, share: float) -> Hierarchy:
    """Add to each macro the classes that leave at least a share of their mass there.

    As HD-CNN chooses overlapping coarse categories (Yan et al., ICCV 2015).

    Parameters
    ----------
    mass : ndarray of shape (n_classes, n_classes)
        The mean distribution of each class's images.
    """
    macros = macro_from_flat(mass, hierarchy)
    members = [
        sorted({*own, *(name for name, m in zip(hierarchy.classes, macros[:, i], strict=True) if m >= share)})
        for i, own in enumerate(hierarchy.members)
    ]
    return Hierarchy(hierarchy.macros, tuple(map(tuple, members)))


def joint_candidates(search: Search, school: School) -> Iterator[Candidate]:
    """Train router and sub-models together, with one hidden layer for all or one for each."""
    classes, rate = search.tree.classes, search.trainer.settings.learning_rate
    designs = {f"one network for both stages, {k} macros": (h, True) for k, h in search.hierarchies.items()}
    for k in MACROS_OVERLAPPING:
        name = f"one network for both stages, {k} macros overlapping from {GUEST_SHARES[0]:.0%}"
        designs[name] = (overlapping(search, k, GUEST_SHARES[0]), True)
    for k in MACROS_APART:
        designs[f"router and sub-models trained together, {k} macros"] = (search.hierarchies[k], False)
    lessons = {
        name: [Lesson(flat_job(classes, s), rate, stages=hierarchy, shared=shared) for s in SEEDS]
        for name, (hierarchy, shared) in designs.items()
    }
    school.train(one for some in lessons.values() for one in some)
    for name, some in lessons.items():
        cost = search.cost([], school.took(some[0], "parameters"))
        yield Candidate(name, "two-stage", cost, _stacked(map(school.says, some)), "joint")


def taught_candidates(search: Search, school: School) -> Iterator[Candidate]:
    """Let flat heads, or soft, teach a flat head, and router and sub-models."""
    classes, rate = search.tree.classes, search.trainer.settings.learning_rate
    teachers = {f"{MEMBERS} flat heads": MEMBERS, "soft of 5 macros": search.hierarchies[5]}
    cuts = {k: search.hierarchies[k] for k in MACROS_TAUGHT}
    for taught_by, teacher in teachers.items():
        jobs = [job for h in cuts.values() for s in SEEDS for job in two_stage_jobs(h, s)]
        jobs += [flat_job(classes, s) for s in SEEDS]
        school.train(Lesson(job, rate, teacher=teacher) for job in jobs)
        make = partial(Lesson, rate=rate, teacher=teacher)
        flat = _stacked(school.says(make(flat_job(classes, s))) for s in SEEDS)
        yield Candidate(f"flat, taught by {taught_by}", "flat", 1.0, flat, "distilled")
        for k, hierarchy in cuts.items():
            router = _stacked(school.says(make(router_job(hierarchy, s))) for s in SEEDS)
            within = _within(school, hierarchy, lambda members, s, m=make: m(submodel_job(members, s)))
            jobs = two_stage_jobs(hierarchy, 0)
            name, one = f"taught by {taught_by}, {k} macros", flat_job(classes, 0)
            tables = _routed(router, within, hierarchy)
            yield Candidate(f"soft, {name}", "two-stage", search.cost(jobs), tables, "distilled")
            tables = _routed(_implied(flat, hierarchy), within, hierarchy)
            cost = search.cost([one, *jobs[1:]])
            yield Candidate(f"implied, {name}", "two-stage", cost, tables, "distilled")


def _within(school: School, hierarchy: Hierarchy, lesson_of: Callable) -> Tables:
    """Put sub-models' distributions side by side, macro after macro; a macro of one class is a constant."""

    def of(seed: int) -> tuple[np.ndarray, ...]:
        said = [
            school.says(lesson_of(names, seed)) if len(names) > 1 else None for names in hierarchy.members
        ]
        known = next(pair for pair in said if pair)
        ones = [np.ones((len(table), 1)) for table in known]
        return both(lambda part: np.concatenate([(pair or ones)[part] for pair in said], axis=1))

    return _stacked(map(of, SEEDS))


def _implied(flat: Tables, hierarchy: Hierarchy) -> Tables:
    return both(lambda part: np.stack([macro_from_flat(probs, hierarchy) for probs in flat[part]]))


def _routed(macros: Tables, within: Tables, hierarchy: Hierarchy) -> Tables:
    return each_pair(lambda a, b: soft(a, b, hierarchy), macros, within)


def _stacked(said) -> Tables:
    val, test = zip(*said, strict=True)
    return np.stack(val), np.stack(test)


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, 1e-12))
