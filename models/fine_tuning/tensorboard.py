"""Training curves for TensorBoard: event files with one step an epoch.

TensorFlow alone can write them (`tf.summary.scalar` can't, `tf.summary.write` can); the package tensorboard is needed
only to look at them.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from .curves import Epoch

RUNS = {"training": "", "validation": "val_"}


class EventLog:
    """Event files of one model: the runs `training` and `validation`, each with the scalars `PHASE/loss` and so on.

    Parameters
    ----------
    folder : Path
        Where they lie. What is there already is replaced, so that a training that goes on after an interruption
        leaves every epoch once.
    epochs : iterable of Epoch
        What was trained before.
    """

    def __init__(self, folder: Path, epochs: Iterable[Epoch] = ()):
        shutil.rmtree(folder, ignore_errors=True)
        self._writers = {run: tf.summary.create_file_writer(str(folder / run)) for run in RUNS}
        self._step = 0
        for epoch in epochs:
            self.add(epoch)

    def add(self, epoch: Epoch) -> None:
        """Write the next epoch; steps count from 1 over both phases, as in `curves.csv`."""
        self._step += 1
        for run, prefix in RUNS.items():
            with self._writers[run].as_default(step=self._step):
                for name in ("loss", "accuracy"):
                    value = tf.constant(getattr(epoch, prefix + name), tf.float32)
                    tf.summary.write(f"{epoch.phase}/{name}", value, metadata=_scalar())
            self._writers[run].flush()

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()


def _scalar() -> Any:
    """Return in words that a value is for TensorBoard's plugin for scalars."""
    messages: Any = tf.compat.v1
    metadata = messages.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = 1  # DATA_CLASS_SCALAR of TensorFlow's summary.proto
    return metadata


def write_event_log(folder: Path, epochs: Iterable[Epoch]) -> None:
    """Write the event files of a model that is finished."""
    EventLog(folder, epochs).close()
