import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisles.experiments.label_audit.confident_learning import (
    OutOfFold,
    accuracy_without,
    confident_joint,
    out_of_fold_probs,
    suspect_labels,
)

WORKED = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.7, 0.2, 0.1],
        [0.2, 0.8, 0.0],  # labelled 0, looks like 1
        [0.1, 0.9, 0.0],
        [0.3, 0.5, 0.2],  # labelled 1, reaches no threshold
        [0.0, 0.1, 0.9],
        [0.0, 0.8, 0.2],  # labelled 2, looks like 1
    ]
)
LABELS = np.array([0, 0, 0, 1, 1, 2, 2])


def found(given_labels, probs, judged=None) -> OutOfFold:
    probs = np.asarray(probs)
    classes = tuple("abcdefgh"[: probs.shape[1]])
    judged = np.ones(len(probs), bool) if judged is None else np.asarray(judged)
    return OutOfFold(classes, np.asarray(given_labels), probs, judged, np.zeros(len(probs), int))


def blobs(n_per_class=40, n_classes=4, noise=0.6, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_classes), n_per_class)
    centers = 3 * np.eye(n_classes, 6)
    return centers[truth] + noise * rng.normal(size=(len(truth), 6)), truth


def test_the_confident_joint_is_what_counting_by_hand_gives():
    joint = confident_joint(LABELS, WORKED)

    np.testing.assert_allclose(joint.thresholds, [0.6, 0.7, 0.55])
    assert joint.likely.tolist() == [0, 0, 1, 1, -1, 2, 1]
    assert joint.counts.tolist() == [[2, 1, 0], [0, 1, 0], [0, 1, 1]]


def test_the_calibrated_joint_keeps_the_shares_of_the_labels():
    joint = confident_joint(LABELS, WORKED).calibrated(np.bincount(LABELS))

    np.testing.assert_allclose(joint.sum(axis=1), [3 / 7, 2 / 7, 2 / 7])
    np.testing.assert_allclose(joint[0], [2 / 7, 1 / 7, 0])


def test_suspects_are_those_off_the_diagonal_and_the_largest_margin_comes_first():
    suspects = suspect_labels(found(LABELS, WORKED))

    assert suspects.rows.tolist() == [2, 6] and suspects.suggested.tolist() == [1, 1]
    np.testing.assert_allclose(suspects.margin, [0.6, 0.6])


def test_an_image_that_nobody_could_judge_is_not_suspected():
    judged = [True, True, False, True, True, True, True]

    assert 2 not in suspect_labels(found(LABELS, WORKED, judged)).rows
    assert len(suspect_labels(found(LABELS, WORKED, [False] * 7))) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_thresholds_counts_and_suspects_agree_with_the_definition(seed, n_classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, 30)
    probs = rng.dirichlet(np.ones(n_classes), 30)

    joint, suspects = confident_joint(labels, probs), suspect_labels(found(labels, probs))

    for i in range(30):
        reached = {
            c: probs[i, c]
            for c in range(n_classes)
            if (labels == c).any() and probs[i, c] >= probs[labels == c, c].mean() - 1e-9
        }
        assert joint.likely[i] == (max(reached, key=reached.__getitem__) if reached else -1)
    assert joint.counts.sum() == (joint.likely >= 0).sum()
    off = (joint.likely >= 0) & (joint.likely != labels) & (probs.argmax(axis=1) != labels)
    assert sorted(suspects.rows) == np.flatnonzero(off).tolist()
    assert (np.diff(suspects.margin) <= 0).all()


@pytest.mark.filterwarnings("ignore")
def test_the_confident_joint_is_cleanlabs():
    count = pytest.importorskip("cleanlab.count")
    features, truth = blobs(noise=1.2)
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(len(truth)) < 0.15, rng.integers(0, 4, len(truth)), truth)
    out = out_of_fold_probs(features, labels.astype(str))
    theirs, doubted = count.compute_confident_joint(
        labels, out.probs, calibrate=False, return_indices_of_off_diagonals=True
    )
    ours = confident_joint(out.given, out.probs)
    np.testing.assert_array_equal(ours.counts, theirs)
    assert ours.counts.sum() - np.trace(ours.counts) > 5
    np.testing.assert_allclose(
        ours.calibrated(np.bincount(labels)), count.estimate_joint(labels, out.probs), atol=0.01
    )
    agreeing = set(np.flatnonzero(out.agrees).tolist())
    assert set(suspect_labels(out).rows.tolist()) == set(doubted) - agreeing


def test_planted_wrong_labels_are_found_and_few_others_are_doubted():
    features, truth = blobs()
    planted = np.array([3, 25, 50, 77, 90, 111, 130, 155])
    labels = truth.copy()
    labels[planted] = (truth[planted] + 1) % 4

    out = out_of_fold_probs(features, labels.astype(str))
    suspects = suspect_labels(out)

    doubted, wrong = set(suspects.rows.tolist()), set(planted.tolist())
    assert len(doubted & wrong) >= 7 and len(doubted - wrong) <= 2
    right = {
        int(row): int(suggested) for row, suggested in zip(suspects.rows, suspects.suggested, strict=True)
    }
    assert all(right[row] == truth[row] for row in doubted & wrong)


def test_right_labels_are_hardly_doubted():
    features, truth = blobs()

    assert len(suspect_labels(out_of_fold_probs(features, truth.astype(str)))) <= 1


def test_no_model_judges_a_product_that_it_saw():
    features, truth = blobs(n_per_class=12)
    products = np.repeat(np.arange(16), 3).astype(str)
    seen = []

    def remember(train, targets, judged):
        seen.append((set(map(bytes, train)), set(map(bytes, judged))))
        return np.full((len(judged), targets.max() + 1), 1 / (targets.max() + 1))

    out = out_of_fold_probs(features, truth.astype(str), products, fit_predict=remember, n_folds=3)

    assert all(not trained & judged for trained, judged in seen) and len(seen) == 3
    for product in np.unique(products):
        assert len(set(out.fold[products == product])) == 1
    np.testing.assert_allclose(out.probs.sum(axis=1), 1)


def test_a_class_of_one_product_can_not_be_judged():
    features, truth = blobs(n_per_class=12, n_classes=3)
    labels = np.where(np.arange(36) < 12, "lone", np.where(truth == 1, "b", "c"))
    products = np.where(labels == "lone", "P", np.arange(36).astype(str))

    out = out_of_fold_probs(features, labels, products)

    assert not out.judged[labels == "lone"].any() and out.judged[labels != "lone"].all()
    assert set(suspect_labels(out).rows.tolist()).isdisjoint(range(12))


def test_the_same_seed_gives_the_same_probabilities():
    features, truth = blobs(n_per_class=10)

    first, second, other = (out_of_fold_probs(features, truth.astype(str), seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.probs, second.probs)
    assert (first.fold != other.fold).any()


def test_accuracy_without_the_suspects_is_what_counting_gives():
    correct = np.array([[1, 1, 0, 0], [1, 0, 0, 1]], bool)

    result = accuracy_without(correct, [False, False, True, False])

    assert (result.all_images, result.n_suspected, result.suspected) == (0.5, 1, 0.0)
    assert result.without == pytest.approx(4 / 6)
    assert np.isnan(accuracy_without(correct, [True] * 4).without)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: out_of_fold_probs(np.ones((3, 2)), ["a", "b"]), "`features` must have shape"),
        (lambda: out_of_fold_probs(np.full((3, 2), np.nan), ["a", "b", "a"]), "all finite"),
        (lambda: out_of_fold_probs(np.ones((3, 2)), ["a", "b", "a"], n_folds=1), "at least 2 folds"),
        (lambda: out_of_fold_probs(np.ones((3, 2)), ["a", "a", "a"]), "2 classes"),
        (
            lambda: out_of_fold_probs(np.ones((2, 2)), ["a", "b"], ["p", "q"], n_folds=2),
            "of at least 2 classes. Fold 1 of 2 leaves 0",
        ),
        (lambda: confident_joint([0, 3], np.full((2, 2), 0.5)), "columns of `probs`"),
        (lambda: accuracy_without([[True]], [True, False]), "must fit"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("ignore")
def test_cleanlab_doubts_the_same_images():
    filters = pytest.importorskip("cleanlab.filter")
    features, truth = blobs(noise=1.2, seed=3)
    labels = truth.copy()
    labels[::15] = (truth[::15] + 1) % 4
    out = out_of_fold_probs(features, labels.astype(str))

    theirs = filters.find_label_issues(out.given, out.probs, filter_by="confident_learning", n_jobs=1)

    assert sorted(suspect_labels(out).rows.tolist()) == np.flatnonzero(theirs).tolist()
