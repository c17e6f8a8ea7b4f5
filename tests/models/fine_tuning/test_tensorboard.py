"""Event files: read back, they say what the curves say, once an epoch, also after an interruption."""

import pytest
import tensorflow as tf

from aisles.models.fine_tuning import two_phase as fine_tuning
from aisles.models.fine_tuning.curves import Epoch
from aisles.models.fine_tuning.loop import LabeledImages
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.fine_tuning.tensorboard import EventLog, write_event_log
from aisles.models.fine_tuning.two_phase import train_on_images

pytestmark = pytest.mark.keras
EPOCHS = (Epoch("frozen", 2.0, 0.25, 1.5, 0.5), Epoch("tuned", 1.0, 0.75, 0.5, 1.0))


def read_back(folder) -> list[tuple[int, str, float]]:
    """Return (step, tag, value) of every scalar in a folder of event files."""
    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found.append((event.step, value.tag, float(tf.make_ndarray(value.tensor))))
    return found


def test_an_event_file_holds_the_scalars_of_each_epoch_and_phase(tmp_path):
    write_event_log(tmp_path, EPOCHS)
    assert read_back(tmp_path / "training") == [
        (1, "frozen/loss", 2.0), (1, "frozen/accuracy", 0.25), (2, "tuned/loss", 1.0), (2, "tuned/accuracy", 0.75),
    ]  # fmt: skip
    assert read_back(tmp_path / "validation") == [
        (1, "frozen/loss", 1.5), (1, "frozen/accuracy", 0.5), (2, "tuned/loss", 0.5), (2, "tuned/accuracy", 1.0),
    ]  # fmt: skip


def test_an_epoch_can_be_read_while_training_goes_on_and_is_there_once_after_an_interruption(tmp_path):
    running = EventLog(tmp_path)
    running.add(EPOCHS[0])
    assert len(read_back(tmp_path / "training")) == 2
    running.add(EPOCHS[1])  # killed before the checkpoint knew of it
    again = EventLog(tmp_path, EPOCHS[:1])
    again.add(EPOCHS[1])
    again.close()
    assert [step for step, *_ in read_back(tmp_path / "training")] == [1, 1, 2, 2]


@pytest.fixture
def images(image_folder) -> LabeledImages:
    paths = sorted(image_folder.glob("[am]*/*.png"))
    return LabeledImages(paths, tf.range(24).numpy() // 12, [str(path) for path in paths])


def test_training_writes_both_phases_and_the_setting_changes_no_model(
    images, make_backbone, tmp_path, monkeypatch
):
    training = FineTuningSettings(frozen_epochs=2, tuned_epochs=1, precision="float32", tensorboard=True)

    def run(training):
        backbone, folder = make_backbone(), tmp_path / "model"
        return train_on_images(backbone, images, images, ("a", "m"), training, folder, cache=tmp_path)

    trained = run(training)
    events = tmp_path / "model/tensorboard"
    losses = {(step, tag): value for step, tag, value in read_back(events / "validation") if "loss" in tag}
    assert list(losses) == [(1, "frozen/loss"), (2, "frozen/loss"), (3, "tuned/loss")]
    assert list(losses.values()) == pytest.approx([epoch.val_loss for epoch in trained.epochs])

    monkeypatch.setattr(fine_tuning._Run, "train_both_phases", lambda self: pytest.fail("trained again"))
    for file in sorted(events.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    events.rmdir()
    run(training.changed(tensorboard=False))
    assert not events.exists()
    run(training)  # wanted afterwards, the files are made of the curves that were kept
    assert len(read_back(events / "training")) == 6
