import numpy as np

from aisles.experiments.report.changes import class_changes, image_changes, mean_confusion
from aisles.experiments.runs.reader import read_run


def test_every_metric_of_a_class_is_what_counting_by_hand_gives(make_run):
    changes = class_changes(read_run(make_run()), "soft")

    assert changes.support.tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(changes.recall_flat, [0.5, 1.0, 0.5, 0.5])
    np.testing.assert_allclose(changes.recall, [1.0, 0.75, 0.75, 0.75])
    np.testing.assert_allclose(changes.corrected, [1.0, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(changes.broken, [0.0, 0.5, 0.0, 0.5])
    np.testing.assert_allclose(changes.precision, [2 / 2.5, 1.0, 1.5 / 2, 1.5 / 2])
    assert changes.confused_with.tolist() == [-1, 0, 3, 2]
    assert changes.confused.tolist() == [0, 0.5, 0.5, 0.5]


def test_net_changes_sum_to_the_difference_in_accuracy(make_run):
    run = read_run(make_run())

    net = class_changes(run, "soft").net.sum()

    assert net / 8 == run.correct("soft").mean() - run.correct("flat").mean() == 0.1875


def test_images_that_change_hands_in_most_seeds_come_first(make_run):
    changes = image_changes(read_run(make_run()), "soft")

    assert changes.corrected_seeds.tolist() == [0, 2, 0, 0, 0, 1, 0, 2]
    assert changes.corrected(9) == [1, 7, 5]
    assert changes.corrected(2) == [1, 7]
    assert changes.broken(9) == [3, 6]


def test_the_mean_confusion_sums_to_the_images(make_run):
    confusion = mean_confusion(read_run(make_run()), "soft")

    np.testing.assert_allclose(
        confusion, [[2, 0, 0, 0], [0.5, 1.5, 0, 0], [0, 0, 1.5, 0.5], [0, 0, 0.5, 1.5]]
    )
    assert confusion.sum() == 8
