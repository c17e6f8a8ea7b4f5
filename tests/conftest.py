"""What several tests share: where the optional real data is, and drawn images."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


MOST_PROCESSES = 4
"""For the whole suite: more would need more memory than a small machine has, about 1.5 GB each."""


def pytest_xdist_auto_num_workers(config):
    """Spread the whole suite over the processors; what is named on the command line runs in one process."""
    if config.args_source != config.ArgsSource.TESTPATHS or config.option.usepdb:
        return 0
    return min(os.cpu_count() or 1, MOST_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn skips for a missing extra into failures where all extras must be there."""
    report = yield
    return without_missing_extra(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Do the same for whole modules."""
    report = yield
    return without_missing_extra(report)


def without_missing_extra(report):
    """Return the report, failed if it was skipped because an import failed and AISLES_ALL_EXTRAS is set."""
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("AISLES_ALL_EXTRAS") and "could not import" in reason:
        report.outcome, report.longrepr = (
            "failed",
            f"AISLES_ALL_EXTRAS is set, but an extra is missing: {reason}",
        )
    return report


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep whatever tests cache in a folder of their own, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AISLES_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real photographs, or skip."""
    if not SHARED.is_dir():
        pytest.skip("the shared data folder is not here")
    return SHARED


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """Draw a folder of class folders: 6 classes of 12 small images, told apart by color."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    colors = {
        "apple": (200, 30, 30), "cherry": (160, 0, 60), "lime": (40, 200, 40),
        "moss": (20, 120, 30), "sea": (30, 60, 200), "sky": (90, 140, 250),
    }  # fmt: skip
    for name, color in colors.items():
        (root / name).mkdir()
        for i in range(12):
            noise = rng.normal(0, 12, (24, 24, 3)) + np.array(color)
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root
