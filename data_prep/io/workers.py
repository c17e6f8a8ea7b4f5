"""Where work is done: processes of this machine, or a Dask cluster that is there already. joblib does the rest.

Extraction, heads, fine-tuned networks and points of curves all go through `spread`.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any

import joblib

logger = logging.getLogger(__name__)
SECONDS = 30
_PLACES: ContextVar[int | None] = ContextVar("places", default=None)


@contextmanager
def engine(scheduler: str | None) -> Iterator[int | None]:
    """Make joblib work on a Dask cluster inside the `with` block; on this machine for None.

    Parameters
    ----------
    scheduler : str or None
        The address of a running scheduler, such as `tcp://10.0.0.5:8786`. Its workers need aisles, and the run folder
        at the same path.

    Yields
    ------
    int or None
        How many jobs the cluster takes at once; None on this machine.

    Raises
    ------
    ValueError
        If the extra `dask` is not installed, nobody answers at the address, or the cluster has no workers.
    """
    if scheduler is None:
        yield None
        return
    if find_spec("distributed") is None:
        raise ValueError("A Dask cluster needs the package distributed: python -m pip install '.[dask]'.")
    from distributed import Client  # pyright: ignore[reportMissingImports]

    try:
        client = Client(scheduler, timeout=SECONDS)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"No Dask scheduler answers at {scheduler}: {error}. Start one with `dask scheduler`, workers with "
            "`dask worker ADDRESS`, or leave --scheduler out."
        ) from error
    with client:
        cores: Any = client.ncores()
        jobs = sum(cores.values())
        if not jobs:
            raise ValueError(
                f"The Dask cluster at {scheduler} has no workers. Start some: `dask worker {scheduler}`."
            )
        logger.info("The work is spread over %d processes of the cluster at %s.", jobs, scheduler)
        token = _PLACES.set(jobs)
        try:
            with joblib.parallel_config("dask"):
                yield jobs
        finally:
            _PLACES.reset(token)


def places() -> int | None:
    """Return how many jobs the cluster takes at once, inside `engine`; None on this machine."""
    return _PLACES.get()


def spread(function: Callable[..., Any], calls: Iterable[tuple], jobs: int) -> Iterator[Any]:
    """Call a function many times, on the cluster inside `engine`, else by processes of this machine.

    Parameters
    ----------
    function : callable
        Of a module, so that other processes find it.
    calls : iterable of tuple
        The arguments of each call.
    jobs : int
        How many calls are made at once; 1 makes them in this process, -1 as many as there are processors.

    Yields
    ------
    object
        What the calls return, as they are done.
    """
    call: Any = joblib.delayed(function)
    parallel: Any = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(call(*arguments) for arguments in calls)
