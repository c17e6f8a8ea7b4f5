"""Every metric of metrics.json again, from a run folder's predictions alone and by other means than the run's."""

import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from sklearn import metrics as sk
from sklearn.metrics import silhouette_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from aisles.hierarchy.calibration import BOUNDS

pytestmark = pytest.mark.keras


class Told:
    """What the run folder's predictions say; nothing of the library is used."""

    def __init__(self, folder):
        self.folder = folder
        self.metrics = json.loads((folder / "metrics.json").read_text())
        self.classes = self.metrics["classes"]
        self.macros = list(self.metrics["macros"])
        macro_of = {c: i for i, name in enumerate(self.macros) for c in self.metrics["macros"][name]}
        self.macro_of = np.array([macro_of[c] for c in self.classes])
        table = pd.read_csv(folder / "predictions.csv", keep_default_na=False, dtype={"product": str})
        first = table[(table["method"] == "flat") & (table["seed"] == 0)]
        self.products = first["product"].to_numpy()
        self.truth = np.array([self.classes.index(label) for label in first["label"]])
        self.table = table
        self.names = list(self.metrics["methods"])
        self.archives = {name: self.archive(name) for name in self.names}
        manifest = pd.read_csv(folder / "manifest.csv", dtype=str)
        self.aisle_of = dict(zip(manifest["label"], manifest["aisle"], strict=True))

    def archive(self, name):
        with np.load(self.folder / "probabilities" / f"{name.replace(':', '-')}.npz") as arrays:
            return dict(arrays)

    def probs(self, name):
        return self.archives[name]["probs"].astype(np.float64)

    def answers(self, name):
        rows = self.table[self.table["method"] == name]
        return np.stack(
            [[self.classes.index(a) for a in rows[rows["seed"] == seed]["answer"]] for seed in (0, 1)]
        )

    def correct(self, name):
        return self.answers(name) == self.truth


@pytest.fixture(scope="module")
def told(full_run):
    return Told(full_run)


def each(told):
    for name in told.names:
        yield name, told.metrics["methods"][name], told.answers(name)


def test_everybody_took_part(told):
    assert told.metrics["failed"] == {}
    roles = Counter(metrics["role"] for metrics in told.metrics["methods"].values())
    assert roles == {
        "flat": 3, "ensemble": 2, "two-stage": 9, "control": 2, "reference": 1, "hierarchy": 1,
    }  # fmt: skip


def test_the_table_and_the_archives_agree(told):
    for name, _, answers in each(told):
        assert (told.probs(name).argmax(2) == answers).all()
        assert (told.archives[name]["truth"] == told.truth).all()
    assert not [column for column in told.table if column.startswith(("p:", "m:"))]
    for name, rows in told.table.groupby("method"):
        surest = told.probs(name).max(2)
        if name == "hiclass":  # bare answers
            assert (rows["probability"] == "").all()
        else:
            assert np.allclose(rows["probability"].astype(float).to_numpy().reshape(2, -1), surest, rtol=1e-6)


def in_top(k, probs, y):
    return y in sorted(range(len(probs)), key=lambda c: (-probs[c], c))[:k]


def test_accuracies(told):
    for name, metrics, answers in each(told):
        shares = [sk.accuracy_score(told.truth, row) for row in answers]
        assert metrics["accuracy"] == pytest.approx(shares)
        assert metrics["accuracy_mean"] == pytest.approx(np.mean(shares))
        expected = None if metrics["deterministic"] else pytest.approx(np.std(shares, ddof=1))
        assert metrics["accuracy_sd"] == expected
        assert metrics["balanced_accuracy"] == pytest.approx(
            [sk.balanced_accuracy_score(told.truth, row) for row in answers]
        )
        assert metrics["macro_f1"] == pytest.approx(
            [sk.f1_score(told.truth, row, average="macro") for row in answers]
        )
        in_macro = [(told.macro_of[row] == told.macro_of[told.truth]).mean() for row in answers]
        assert metrics["macro_accuracy"] == pytest.approx(in_macro)
        assert metrics["hierarchical_f1"] == pytest.approx((np.array(shares) + in_macro) / 2)
        if name == "hiclass":  # bare answers
            assert metrics["top5_accuracy"] is None
            continue
        hits = [
            np.mean([in_top(5, p, y) for p, y in zip(rows, told.truth, strict=True)])
            for rows in told.probs(name)
        ]
        assert metrics["top5_accuracy"] == pytest.approx(hits)


def test_error_budgets(told):
    for name, metrics, answers in each(told):
        for row, budget, share in zip(
            answers, told.metrics["error_budget"][name], metrics["cross_macro_share"], strict=True
        ):
            kinds = Counter(
                "right"
                if a == y
                else "within_wrong"
                if told.macro_of[a] == told.macro_of[y]
                else "router_wrong"
                for a, y in zip(row, told.truth, strict=True)
            )
            assert {key: budget[key] for key in ("right", "within_wrong", "router_wrong")} == {
                key: kinds[key] for key in ("right", "within_wrong", "router_wrong")
            }
            n = len(told.truth)
            assert budget["R"] * budget["S"] == pytest.approx(kinds["right"] / n)
            assert budget["R"] == pytest.approx(1 - kinds["router_wrong"] / n)
            assert share == pytest.approx(kinds["router_wrong"] / max(n - kinds["right"], 1))


def best_in_true_macro(told, scores, macro_of):
    best = []
    for p, y in zip(scores, told.truth, strict=True):
        inside = [c for c in range(len(p)) if macro_of[c] == macro_of[y]]
        best.append(max(inside, key=lambda c: (p[c], -c)) == y)
    return pytest.approx(np.mean(best))


def test_ceilings_do_not_depend_on_where_the_images_were_routed(told):
    for name, metrics, answers in each(told):
        archive = told.archives[name]
        macro_of = archive.get("macro_of", told.macro_of)
        unrouted = archive.get("inside", archive["probs"])
        for seed, ceiling in enumerate(metrics["ceilings"]):
            in_macro = macro_of[answers[seed]] == macro_of[told.truth]
            assert ceiling["oracle_submodels"] == pytest.approx(in_macro.mean())
            if name == "hiclass":
                assert ceiling["oracle_router"] is None
            else:
                assert ceiling["oracle_router"] == best_in_true_macro(told, unrouted[seed], macro_of)
    # soft and flat leave no macro out, so their distributions order classes as those before routing do
    families = {"soft": ("hard", "beam:2", "threshold:0.1", "implied"), "flat": ("masked", "hie")}
    for whole, others in families.items():
        for seed, probs in enumerate(told.probs(whole)):
            expected = best_in_true_macro(told, probs, told.macro_of)
            for name in (whole, *others):
                assert told.metrics["methods"][name]["ceilings"][seed]["oracle_router"] == expected
    for name in ("hard", "beam:2", "threshold:0.1", "masked"):
        assert told.archives[name]["inside"].sum(2) == pytest.approx(3 if name != "masked" else 1, abs=1e-4)


def test_hard_is_what_the_router_and_the_sub_models_did(told):
    archive, hard = told.archives["hard"], told.metrics["error_budget"]["hard"]
    routed = archive["macro_probs"].argmax(2)
    assert told.metrics["router"]["accuracy"] == pytest.approx(
        (routed == told.macro_of[told.truth]).mean(axis=1)
    )
    assert [b["R"] for b in hard] == pytest.approx(told.metrics["router"]["accuracy"])
    assert told.metrics["router"]["implied_by_flat"] == pytest.approx(
        [b["R"] for b in told.metrics["error_budget"]["flat"]]
    )


def test_distances_on_every_tree(told):
    tree = json.loads((told.folder / "tree.json").read_text())
    n = len(told.classes)
    clusters, heights = {i: {i} for i in range(n)}, np.zeros((n, n))
    for step, (a, b, height, _) in enumerate(tree["linkage"]):
        for i in clusters[int(a)]:
            for j in clusters[int(b)]:
                heights[i, j] = heights[j, i] = height
        clusters[n + step] = clusters[int(a)] | clusters[int(b)]
    aisles = [told.aisle_of[c] for c in told.classes]

    def learned(a, y):
        return 0 if a == y else 1 if told.macro_of[a] == told.macro_of[y] else 2

    trees = {
        "learned": learned,
        "learned_tree": lambda a, y: heights[a, y] / heights.max(),
        "independent": lambda a, y: 0 if a == y else 1 if aisles[a] == aisles[y] else 2,
    }
    for _, metrics, answers in each(told):
        assert set(metrics["distance"]) == set(trees)
        for tree_name, distance in trees.items():
            for row, per_mistake, per_image in zip(
                answers, *metrics["distance"][tree_name].values(), strict=True
            ):
                all_ = [distance(a, y) for a, y in zip(row, told.truth, strict=True)]
                assert per_image == pytest.approx(np.mean(all_))
                mistakes = [d for d, a, y in zip(all_, row, told.truth, strict=True) if a != y]
                assert per_mistake == pytest.approx(np.mean(mistakes) if mistakes else 0)


def loop_ece(probs, truth):
    bins = [[] for _ in range(15)]
    for p, y in zip(probs, truth, strict=True):
        place = min(14, max(0, math.ceil(p.max() * 15) - 1))
        bins[place].append((p.max(), p.argmax() == y))
    return sum(abs(sum(r for _, r in b) - sum(c for c, _ in b)) for b in bins) / len(truth)


def loop_nll(probs, truth):
    return -np.mean([math.log(max(p[y], np.finfo(float).eps)) for p, y in zip(probs, truth, strict=True)])


def tempered(probs, temperature):
    with np.errstate(divide="ignore"):
        powers = np.exp(np.log(probs) / temperature)
    return powers / powers.sum(1, keepdims=True)


def test_calibration_before_and_after(told):
    for name, metrics, _ in each(told):
        said = metrics["calibration"]
        if name in ("hiclass", "hard", "masked"):  # bare answers, or zeros and ones
            assert said is None
            continue
        archive = told.archives[name]
        for seed, probs in enumerate(told.probs(name)):
            probs = probs / probs.sum(1, keepdims=True)
            scaled = tempered(probs, said["temperature"][seed])
            onehot = np.eye(len(told.classes))[told.truth]
            for key, table in (("before", probs), ("after", scaled)):
                assert said[key]["ece"][seed] == pytest.approx(loop_ece(table, told.truth), abs=1e-9)
                assert said[key]["nll"][seed] == pytest.approx(loop_nll(table, told.truth), rel=1e-6)
                assert said[key]["brier"][seed] == pytest.approx(((table - onehot) ** 2).sum(1).mean())
            val = np.maximum(archive["val_probs"][seed].astype(float), 1e-12)

            def loss(log_t, val=val):
                return loop_nll(tempered(val, math.exp(log_t)), archive["val_truth"])  # noqa: B023

            best = min(np.linspace(*np.log(BOUNDS), 241), key=loss)
            temperature = said["temperature"][seed]
            gain = held_out_gain(val, archive["val_truth"])
            wrong = val.argmax(1) != archive["val_truth"]
            checked = wrong[::2].any() and wrong[1::2].any() and math.exp(best) > BOUNDS[0]
            if gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)) and (best >= 0 or checked):
                assert loss(math.log(temperature)) <= loss(best) + 1e-6
            else:
                assert temperature == 1


def held_out_gain(probs, truth):
    """Return each image's gain in log-likelihood by the temperature that the other half of the images asks for."""
    rows, gain = np.arange(len(truth)), np.empty(len(truth))
    for asked in (rows % 2 == 0, rows % 2 == 1):
        grid = np.exp(np.linspace(*np.log(BOUNDS), 2001))
        best = min(grid, key=lambda t: loop_nll(tempered(probs[~asked], t), truth[~asked]))  # noqa: B023
        after = tempered(probs[asked], best)[np.arange(asked.sum()), truth[asked]]
        gain[asked] = np.log(after) - np.log(probs[asked, truth[asked]] / probs[asked].sum(1))
    return gain


def test_risk_against_coverage(told):
    for name, metrics, _ in each(told):
        if name == "hiclass":  # bare answers
            assert metrics["risk_coverage"] is None
            continue
        risks = []
        for seed, probs in enumerate(told.probs(name)):
            sure, right = probs.max(1), told.correct(name)[seed]
            curve = []
            for k in range(1, len(sure) + 1):
                edge = sorted(sure, reverse=True)[k - 1]
                above, ties = sure > edge, sure == edge
                wrong = (~right[above]).sum() + (~right[ties]).mean() * (k - above.sum())
                curve.append(wrong / k)
            risks.append(curve)
        said = metrics["risk_coverage"]
        assert said["aurc"] == pytest.approx(np.mean(risks, axis=1))
        at = [max(1, round(c * len(told.truth))) - 1 for c in said["coverage"]]
        assert said["risk"] == pytest.approx(np.mean(risks, axis=0)[at])


def test_every_class(told):
    flat = told.answers("flat")
    for _, metrics, answers in each(told):
        tables = [
            sk.precision_recall_fscore_support(told.truth, row, labels=range(8), zero_division=0)
            for row in answers
        ]
        said = metrics["per_class"]
        for i, key in enumerate(("precision", "recall", "f1", "support")):
            assert said[key] == pytest.approx(np.mean([table[i] for table in tables], axis=0))
        corrected = [(flat != told.truth) & (answers == told.truth) & (told.truth == c) for c in range(8)]
        broken = [(flat == told.truth) & (answers != told.truth) & (told.truth == c) for c in range(8)]
        assert said["corrected"] == pytest.approx([part.sum() / 2 for part in corrected])
        assert said["broken"] == pytest.approx([part.sum() / 2 for part in broken])


def judged(told):
    """Every comparison with the names of both and their correctness."""
    controls = told.metrics["controls"]
    for found in told.metrics["comparisons"]:
        yield found, told.correct(found["a"]), told.correct(found["b"])
    for found in controls["hierarchies"]:
        yield found, told.correct(found["a"]), told.correct(found["b"])
    partitions = controls["random"]["partitions"]
    primary = np.concatenate([told.correct("soft")] * len(partitions))
    yield controls["random"]["comparison"], np.concatenate([told.correct(p) for p in partitions]), primary


def test_differences_and_mcnemar(told):
    for found, a, b in judged(told):
        assert found["difference"] == pytest.approx(b.mean() - a.mean())
        assert found["difference_per_seed"] == pytest.approx(b.mean(1) - a.mean(1))
        assert found["difference_sd"] == pytest.approx(np.std(b.mean(1) - a.mean(1), ddof=1))
        for seed, test in enumerate(found["mcnemar"]):
            table = [[(x & y).sum() for y in (b[seed], ~b[seed])] for x in (a[seed], ~a[seed])]
            assert (test["corrected"], test["broken"]) == (table[1][0], table[0][1])
            assert test["p_value"] == pytest.approx(mcnemar(table, exact=True).pvalue)
            assert (test["corrected"] - test["broken"]) / a.shape[1] == pytest.approx(
                found["difference_per_seed"][seed]
            )


def by_product(told, a, b):
    gains = (b.astype(float) - a).mean(0)
    return (
        pd.DataFrame({"product": told.products, "gain": gains})
        .groupby("product")["gain"]
        .agg(["sum", "size"])
    )


def check_quantiles(interval, draws):
    """Check that an interval's ends are the 2.5 % and 97.5 % quantiles, as far as other draws can tell."""
    for end, level in zip(interval, (0.025, 0.975), strict=True):
        low, high = np.quantile(draws, [level - 0.009, level + 0.009])
        assert low - 1e-9 <= end <= high + 1e-9


def variances(told, a, b):
    """Variance of the mean difference over images, and of the difference over seeds, from their definitions."""
    sums = by_product(told, a, b)
    n, mean, g = sums["size"].sum(), sums["sum"].sum() / sums["size"].sum(), len(sums)
    images = ((sums["sum"] - mean * sums["size"]) ** 2).sum() / n**2 * g / (g - 1)
    per_seed = (b.astype(float) - a).mean(axis=1)
    n_seeds = len(told.metrics["seeds"])
    units = per_seed.reshape(-1, n_seeds).mean(axis=1) if len(per_seed) > n_seeds else per_seed  # partitions
    return images, units.var(ddof=1), mean, g, len(units)


def family_of(told, found):
    families = (told.metrics["comparisons"][1:], told.metrics["controls"]["hierarchies"])
    return next((family for family in families if found in family), [found])


def spread(told, found, a, b):
    """Variances as the run should take them: a family's mean is the least that a spread over seeds counts."""
    images, seeds, mean, g, k = variances(told, a, b)
    df, family = k - 1, family_of(told, found)
    if len(family) > 1:
        usual = np.mean([variances(told, x, y)[1] for other, x, y in judged(told) if other in family])
        if seeds < usual:
            seeds, df = usual, 2 * (k - 1)
    return images, seeds / k, mean, g, df


def trained_for_all(told, found):
    """Variance of the mean over trainings of the one method that all random partitions meet, and its df; else 0."""
    if found is not told.metrics["controls"]["random"]["comparison"]:
        return 0.0, np.inf
    accuracies = told.correct(found["b"]).mean(axis=1)
    return accuracies.var(ddof=1) / len(accuracies), len(accuracies) - 1


def critical(alpha, images, seeds, g, df, shared, shared_df):
    parts = images * stats.t.ppf(1 - alpha / 2, g - 1) + seeds * stats.t.ppf(1 - alpha / 2, df)
    parts += shared * stats.t.ppf(1 - alpha / 2, shared_df)
    return parts / (images + seeds + shared)


def test_intervals_take_images_and_seeds(told):
    for found, a, b in judged(told):
        images, seeds, mean, g, df = spread(told, found, a, b)
        shared, shared_df = trained_for_all(told, found)
        half = critical(0.05, images, seeds, g, df, shared, shared_df) * math.sqrt(images + seeds + shared)
        assert found["interval"] == pytest.approx([mean - half, mean + half], abs=1e-9)
        assert found["seed_sd"] == pytest.approx(math.sqrt(seeds * found["n_seeds"]), abs=1e-12)
        if found["simultaneous"] is not None:
            assert found["simultaneous"][0] <= found["interval"][0] + 1e-12


def test_p_values_flip_whole_products_and_count_seeds(told):
    rng = np.random.default_rng(78)
    for found, a, b in judged(told):
        sums = by_product(told, a, b)["sum"].to_numpy()
        flips = (rng.integers(0, 2, (20_000, len(sums))) * 2 - 1) @ sums
        flipped = (np.abs(flips) >= abs(sums.sum()) - 1e-9).mean()
        images, seeds, mean, g, df = spread(told, found, a, b)
        shared = trained_for_all(told, found)
        size = abs(mean) / math.sqrt(images + seeds + shared[0])

        def beyond(power, images=images, seeds=seeds, g=g, df=df, shared=shared, size=size):
            return critical(10**power, images, seeds, g, df, *shared) - size

        counted = 1e-6 if beyond(-6) < 0 else 1.0 if beyond(0) > 0 else 10 ** optimize.bisect(beyond, -6, 0)
        assert found["p_value"] == pytest.approx(max(flipped, counted), abs=0.02)


def test_holm_equivalence_and_the_smallest_difference(told):
    first, *others = told.metrics["comparisons"]
    assert first["b"] == "soft" and first["p_corrected"] == first["p_value"]
    assert all(c["p_corrected"] >= c["p_value"] for c in others)
    for raw, corrected in (("p_value", "p_holm"), ("equivalence_p", "equivalence_p_corrected")):
        expected = multipletests([c[raw] for c in others], method="holm")[1]
        assert [c[corrected] for c in others] == pytest.approx(expected)
    for found, a, b in judged(told):
        sums = by_product(told, a, b)
        size = sums["size"].mean()
        d = np.append(sums["sum"], [size, -size])
        n = np.append(sums["size"], [size, size])
        mean = d.sum() / n.sum()
        _, seeds, _, _, df = spread(told, found, a, b)
        shared, shared_df = trained_for_all(told, found)
        seeds, df = seeds + shared, min(df, shared_df)
        images = ((d - mean * n) ** 2).sum() / n.sum() ** 2
        error = math.sqrt(images + seeds)
        room, freedom = (0.01 - abs(mean)) / error, len(sums) + 1

        def beyond(p, images=images, seeds=seeds, df=df, freedom=freedom, room=room):
            weighted = images * stats.t.isf(p, freedom) + (seeds * stats.t.isf(p, df) if seeds else 0)
            return weighted / (images + seeds) - room

        half = (beyond(0.05) + room) * error
        assert found["equivalence_interval"] == pytest.approx([mean - half, mean + half])
        counted = optimize.bisect(beyond, 1e-14, 1 - 1e-14, xtol=1e-14)
        assert found["equivalence_p"] == pytest.approx(counted, rel=1e-6, abs=1e-9)
        gains = (b.astype(float) - a).mean(0)
        squares = (gains**2).sum()
        effect = (sums["sum"] ** 2).sum() / squares if squares else 1.0
        images = len(gains) / effect if effect else len(gains)  # as many as independent ones
        discordant = squares / len(gains)

        def shortfall(x, images=images, discordant=discordant):
            share = max(discordant, x)
            needed = stats.norm.ppf(0.975) * math.sqrt(share) + stats.norm.ppf(0.8) * math.sqrt(share - x * x)
            return needed - x * math.sqrt(images)

        smallest = 1.0 if shortfall(1.0) >= 0 else optimize.bisect(shortfall, 1e-12, 1.0)
        _, own_seeds, _, _, k = variances(told, a, b)
        fewer = min(k - 1, shared_df)
        factor = stats.t.ppf(0.975, fewer) + stats.t.ppf(0.8, fewer)
        smallest = math.hypot(smallest + 1 / images, factor * math.sqrt(own_seeds / k + shared))
        assert found["smallest_detectable"] == pytest.approx(min(1.0, smallest), rel=1e-6)


def test_verdicts_follow_from_the_metrics(told):
    for found, _, _ in judged(told):
        low, high = found["interval"]
        if found["p_corrected"] < 0.05 and (low > 0 or high < 0):
            expected = "better" if low > 0 else "worse"
        elif found["equivalence_p_corrected"] < 0.05:
            expected = "equivalent"
        else:
            expected = "no difference shown"
        assert found["verdict"] == expected
    best = told.metrics["best_flat"]
    assert told.metrics["verdict"] == best["sentence"]
    assert best["sentence"].startswith(best["comparisons"][0]["sentence"])
    assert best["comparisons"][0]["b"] == "soft" and best["comparisons"][0]["a"] == best["name"]


def test_accuracy_intervals(told):
    rng = np.random.default_rng(79)
    for name, metrics, _ in each(told):
        right = told.correct(name).mean(0)
        sums = (
            pd.DataFrame({"p": told.products, "r": right}).groupby("p")["r"].agg(["sum", "size"]).to_numpy()
        )
        if len(sums) < 20:  # percentile intervals would be too short
            mean, g = right.mean(), len(sums)
            variance = ((sums[:, 0] - mean * sums[:, 1]) ** 2).sum() / len(right) ** 2 * g / (g - 1)
            half = stats.t.ppf(0.975, g - 1) * np.sqrt(variance)
            expected = [max(mean - half, 0.0), min(mean + half, 1.0)]
            assert metrics["accuracy_interval"] == pytest.approx(expected)
            continue
        drawn = sums[rng.integers(0, len(sums), (20_000, len(sums)))].sum(1)
        check_quantiles(metrics["accuracy_interval"], drawn[:, 0] / drawn[:, 1])


def test_climb(told):
    for name, said in told.metrics["climb"].items():
        rows = []
        for t in said["threshold"]:
            for seed, probs in enumerate(told.probs(name)):
                if name == "flat":
                    macro = np.stack(
                        [probs[:, told.macro_of == m].sum(1) for m in range(len(told.macros))], 1
                    )
                else:
                    macro = told.archives[name]["macro_probs"][seed].astype(float)
                counts = Counter()
                for p, m, y in zip(probs, macro, told.truth, strict=True):
                    own = told.macro_of[p.argmax()]
                    level = "class" if p.max() >= t else "macro" if m[own] >= t else "none"
                    right = p.argmax() == y if level == "class" else own == told.macro_of[y]
                    counts[level, bool(right)] += 1
                n_class, n_macro = (counts[k, True] + counts[k, False] for k in ("class", "macro"))
                given = n_class + n_macro
                right = counts["class", True] + counts["macro", True]
                n = len(told.truth)
                rows.append(
                    (t, n_class / n, n_macro / n, counts["class", True] / n_class if n_class else np.nan,
                     right / given if given else np.nan)
                )  # fmt: skip
        table = pd.DataFrame(rows, columns=["t", "class_share", "macro_share", "class_accuracy", "accuracy"])
        means = table.groupby("t", sort=False).agg(lambda column: column.mean(skipna=False))
        for key in means:
            expected = [None if np.isnan(v) else pytest.approx(v) for v in means[key]]
            assert said[key] == expected


def test_forecast_and_observed_outcome(told):
    said, archive = told.metrics["forecast"], told.archives["flat"]
    mass = np.zeros((8, 8))
    for probs in archive["val_probs"].astype(float):
        for p, y in zip(probs, archive["val_truth"], strict=True):
            mass[y] += p
    share = mass / mass.sum()
    same = told.macro_of[:, None] == told.macro_of
    used = said["used"]
    assert used["right"] == pytest.approx(np.trace(share))
    assert used["inside"] == pytest.approx(share[same].sum() - np.trace(share))
    assert used["between"] == pytest.approx(share[~same].sum())
    assert used["ceiling"] == pytest.approx(share[same].sum())
    sizes = np.bincount(told.macro_of)
    chance = (sizes * (sizes - 1)).sum() / 56
    assert used["inside_by_chance"] == pytest.approx(chance)
    assert used["excess"] == pytest.approx(used["inside"] / (used["inside"] + used["between"]) - chance)
    assert used["concentration"] == pytest.approx(
        used["inside"] / (used["inside"] + used["between"]) / chance
    )
    assert used["repair_per_router_point"] == pytest.approx(0.01 / used["inside"])
    best = max(c["excess"] for c in said["candidates"])
    assert said["recommended"]["excess"] == pytest.approx(best)
    flat, soft, routed = (
        told.answers("flat"),
        told.answers("soft"),
        told.archives["soft"]["macro_probs"].argmax(2),
    )
    test_mass = np.zeros((8, 8))
    for probs in archive["probs"].astype(float):
        for p, y in zip(probs, told.truth, strict=True):
            test_mass[y] += p
    test_mass /= test_mass.sum()
    assert said["observed"]["mass"] == {
        "right": pytest.approx(np.trace(test_mass)),
        "inside": pytest.approx(test_mass[same].sum() - np.trace(test_mass)),
        "between": pytest.approx(test_mass[~same].sum()),
        "ceiling": pytest.approx(test_mass[same].sum()),
    }
    right, inside = flat == told.truth, told.macro_of[flat] == told.macro_of[told.truth]
    observed = said["observed"]
    assert observed["right"] == pytest.approx(right.mean())
    assert observed["inside"] == pytest.approx((inside & ~right).mean())
    assert observed["between"] == pytest.approx((~inside).mean())
    assert observed["ceiling"] == pytest.approx(inside.mean())
    repaired = (soft == told.truth)[inside & ~right]
    assert observed["repaired"] == pytest.approx(repaired.mean() if repaired.size else 0)
    assert observed["broken"] == pytest.approx((soft != told.truth)[right].mean())
    astray = routed != told.macro_of[told.truth]
    assert observed["routing_lost"] == pytest.approx(astray[right].mean())
    assert observed["router_accuracy"] == pytest.approx(1 - astray.mean())
    assert observed["difference"] == pytest.approx((soft == told.truth).mean() - right.mean())


def test_the_hierarchy_itself(told):
    tree, said = json.loads((told.folder / "tree.json").read_text()), told.metrics["hierarchy"]
    distances = np.zeros((8, 8))
    distances[np.triu_indices(8, 1)] = tree["distances"]
    distances += distances.T
    assert said["silhouette"] == pytest.approx(
        silhouette_score(distances, told.macro_of, metric="precomputed")
    )
    assert said["sizes"] == [len(members) for members in told.metrics["macros"].values()]
    aisles = [told.aisle_of[c] for c in told.classes]
    assert said["agreement"]["column:aisle"] == pytest.approx(sk.adjusted_rand_score(aisles, told.macro_of))
    assert said["agreement"]["independent: aisle"] == said["agreement"]["column:aisle"]
    assert said["tree_agreement"] == 1
    scores = said["stability"]["scores"]
    assert len(scores) == 3 and said["stability"]["mean"] == pytest.approx(np.mean(scores))
    assert said["stability"]["sd"] == pytest.approx(np.std(scores, ddof=1))


def test_controls_are_summed_up(told):
    said = told.metrics["controls"]["random"]
    shares = [told.correct(name).mean() for name in said["partitions"]]
    assert said["accuracy_mean"] == pytest.approx(np.mean(shares))
    assert said["accuracy_sd"] == pytest.approx(np.std(shares, ddof=1))
    differences = told.correct("soft").mean() - shares
    assert said["difference_per_partition"] == pytest.approx(differences)
    assert said["difference_sd"] == pytest.approx(np.std(differences, ddof=1))


def test_own_hierarchies_have_their_own_r_and_s(told):
    for name, metrics, answers in each(told):
        if "own_hierarchy" not in metrics:
            continue
        archive, said = told.archives[name], metrics["own_hierarchy"]
        macro_of = archive["macro_of"]
        routed = archive["macro_probs"].argmax(2)
        assert said["router_accuracy"] == pytest.approx((routed == macro_of[told.truth]).mean(1))
        inside = macro_of[answers] == macro_of[told.truth]
        assert said["R"] == pytest.approx(inside.mean(1))
        assert np.multiply(said["R"], said["S"]) == pytest.approx(told.correct(name).mean(1))


def test_the_sweep_is_told_cut_by_cut(told):
    sweep = told.metrics["sweep"]
    assert [cut["macros"] for cut in sweep["cuts"]] == [2, 3, 4]
    own = next(cut for cut in sweep["cuts"] if cut["macros"] == 3)
    assert own["accuracy"] == told.metrics["methods"]["soft"]["accuracy"]
    assert own["router_accuracy"] == told.metrics["router"]["accuracy"]
    for cut in sweep["cuts"]:
        flat = told.metrics["methods"]["flat"]["accuracy_mean"]
        assert cut["comparison"]["difference"] == pytest.approx(np.mean(cut["accuracy"]) - flat)
        assert cut["accuracy_sd"] == pytest.approx(np.std(cut["accuracy"], ddof=1))
    for key, what in (("forecast_rank_correlation", "excess"), ("ceiling_rank_correlation", "ceiling")):
        pairs = [(cut["forecast"][what], cut["accuracy_mean"]) for cut in sweep["cuts"]]
        forecasts, accuracies = zip(*pairs, strict=True)
        constant = len(set(forecasts)) == 1 or len(set(accuracies)) == 1
        assert (sweep[key] is None) == constant
        if not constant:  # nested cuts are no independent draws: no p-value
            ranks = [stats.rankdata(column) for column in (forecasts, accuracies)]
            assert sweep[key] == {"rho": pytest.approx(np.corrcoef(ranks)[0, 1]), "n_cuts": 3}
    expected = multipletests([cut["comparison"]["p_value"] for cut in sweep["cuts"]], method="holm")[1]
    assert [cut["comparison"]["p_corrected"] for cut in sweep["cuts"]] == pytest.approx(expected)


def test_costs_count_what_is_in_the_folder(told):
    budgets = {
        path.parent.name: json.loads(path.read_text())
        for path in (told.folder / "models" / "seed-0").glob("*/budget.json")
    }
    flat, soft = (told.metrics["methods"][name]["cost"] for name in ("flat", "soft"))
    assert flat["head_parameters"] == budgets["flat"]["parameters"] == 6 * 256 + 256 + 256 * 8 + 8
    assert flat["heads"] == flat["head_passes"] == flat["backbone_passes"] == 1
    ensemble = told.metrics["methods"]["ensemble"]["cost"]
    assert (
        ensemble["heads"] == soft["heads"] == 1 + sum(size > 1 for size in told.metrics["hierarchy"]["sizes"])
    )
    seeds = [
        json.loads((told.folder / "models" / f"seed-{seed}" / "flat" / "budget.json").read_text())
        for seed in (0, 1)
    ]
    assert flat["epochs"] == np.mean([s["epochs"] + s["refit_epochs"] for s in seeds])
    assert flat["images"] == (pd.read_csv(told.folder / "manifest.csv")["split"] != "test").sum()


def test_measured_costs_count_what_is_no_head(told):
    measured = json.loads((told.folder / "costs.json").read_text())["methods"]
    assert all(value > 0 for value in measured["flat"].values())
    for name in ("discriminant", "flat-discriminant", "hiclass"):
        own = json.loads((told.folder / "models" / name / "budget.json").read_text())["seconds"]
        heads = 0 if name == "hiclass" else measured["flat"]["training_seconds"]
        assert measured[name]["training_seconds"] == pytest.approx(own + heads)
        assert measured[name]["bytes_on_disk"] is None and measured[name]["images_per_second"] is None


def test_calibrated_stages(told):
    said = told.metrics["calibrated_stages"]
    assert len(said["temperatures"]) == 2 and all(len(t["submodels"]) == 3 for t in said["temperatures"])
    archive = told.archives["soft"]
    for seed in (0, 1):
        macro = tempered(archive["macro_probs"][seed].astype(float), said["temperatures"][seed]["router"])
        soft = told.probs("soft")[seed]
        probs = np.zeros_like(soft)
        for m, temperature in enumerate(said["temperatures"][seed]["submodels"]):
            columns = np.flatnonzero(told.macro_of == m)
            within = soft[:, columns] / soft[:, columns].sum(1, keepdims=True)
            probs[:, columns] = macro[:, [m]] * (
                tempered(within, temperature) if len(columns) > 1 else within
            )
        assert said["accuracy"][seed] == pytest.approx((probs.argmax(1) == told.truth).mean())
        assert said["nll"][seed] == pytest.approx(loop_nll(probs, told.truth), rel=1e-4)
        assert said["ece"][seed] == pytest.approx(loop_ece(probs, told.truth), abs=1e-4)
