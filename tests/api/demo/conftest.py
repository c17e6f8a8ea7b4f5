"""A small run on drawn images, and the demonstration of its bundles."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

FAST = (
    "hierarchy.macros=3", "training.epochs=12", "training.learning_rate=0.01", "training.batch_size=16",
    "comparison.seeds=1", "comparison.random_partitions=1", "hierarchy.bootstraps=1",
)  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory, image_folder) -> Path:
    """Compare flat and two-stage on 72 images of six colors, with six filters for a backbone."""
    import keras

    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.settings.reading import read_settings
    from aisles.models.backbones.registry import wrap_backbone

    inputs = keras.Input((8, 8, 3))
    kernel = keras.initializers.GlorotUniform(0)
    maps = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel)(inputs)
    backbone = wrap_backbone(keras.Model(inputs, maps), "tiny", preprocessing="symmetric")
    folder = tmp_path_factory.mktemp("demo") / "run"
    settings = read_settings(None, list(FAST))
    run_benchmark(
        image_folder, folder, settings, cache=folder.parent / "cache" / "features", backbone=backbone, jobs=1
    )
    return folder


@pytest.fixture(scope="session")
def demo(run):
    """Open the demonstration of the run's bundles."""
    from aisles.demo.demo import open_demo

    bundles = run / "bundles"
    return open_demo(bundles / "two-stage", bundles / "flat", run, cache=run.parent / "cache")


@pytest.fixture(scope="session")
def address(demo):
    """Serve the demonstration on a free port of this machine, and return its address."""
    pytest.importorskip("gradio")
    import uvicorn

    from aisles.demo.server import make_app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers: list[uvicorn.Server] = []

    async def serve() -> None:  # Gradio binds itself to the loop that it finds
        servers.append(uvicorn.Server(uvicorn.Config(make_app(demo), "127.0.0.1", port, log_level="warning")))
        await servers[0].serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    began = time.monotonic()
    while not (servers and servers[0].started):
        assert thread.is_alive() and time.monotonic() - began < 120
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    servers[0].should_exit = True
    thread.join(30)
