"""`aisles reproduce abo65` on a synthetic catalogue of ABO's size, over broken connections, killed five times.

    nice python -m experiments.lab.reproduce_full --work FOLDER --output experiments/lab/results/reproduce-full.json

Writes a catalogue of 147,702 listings in ABO's formats (of every type the images of the first products are drawn; all
others are listed and have no file), serves it on this machine, cutting every connection after a while, and runs the
study by its own recipe (at most 50 images a class) with a small backbone without weights and few epochs: once to the
end, and once killed (SIGKILL) in the download, in curation, in the run's heads, in a fine-tuned network's training and
in the report, side by side. What both leave must be the same. Time per step, disk and kills go into the output.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aisles.data_prep.abo.recipe import RECIPES
from aisles.data_prep.io.files import write_whole
from aisles.data_prep.synthetic.catalogue import write_sample

LISTINGS, PER_TYPE, DRAWN = 147_702, 4_050, 60
CAP = 50
CHANGES = (
    "hierarchy.macros=2", "backbone.input_size=[32,32]", "training.epochs=2", "hierarchy.bootstraps=2",
    "fine_tuning.frozen_epochs=1", "fine_tuning.tuned_epochs=1",
    'comparison.methods=["flat","flat-lda","soft","hard","soft:lda","flat-fine-tuned","separate"]',
)  # fmt: skip
SAME = (
    "data/metadata.csv", "run/metrics.json", "run/predictions.csv", "run/hierarchy.json", "per_class.csv",
    "reproduction.json", "reproduction.md",
)  # fmt: skip
"""Files that tell nothing of time or place."""


class BreakingServer(ThreadingHTTPServer):
    """Serve a folder's files on this machine, and cut every connection after some bytes."""

    def __init__(self, folder: Path, cut: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.cut, self.requests, self.cuts = folder, cut, 0, 0

    @property
    def address(self) -> str:
        """Where the archives are."""
        return f"http://127.0.0.1:{self.server_address[1]}/archives/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.requests += 1
        file = server.folder / self.path.rsplit("/", 1)[-1]
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(size - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        with file.open("rb") as content:
            content.seek(start)
            self.wfile.write(content.read(server.cut))
        self.wfile.flush()
        if start + server.cut < size:
            server.cuts += 1
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Trace:
    """When a process said what.

    Attributes
    ----------
    began : dict of str to float
        Seconds from the start to each numbered step's first line.
    """

    began: dict[str, float] = field(default_factory=dict)

    def follow(self, process: subprocess.Popen, log: Path) -> None:
        """Copy what the process says into a log, noting when steps begin."""
        start = time.perf_counter()
        with log.open("a", encoding="utf-8") as file:
            for line in process.stderr or ():
                file.write(line)
                file.flush()
                if found := re.search(r"\b([123])\. (\w+)", line):
                    self.began.setdefault(found[2].lower(), round(time.perf_counter() - start, 1))


def small_recipe(path: Path) -> Path:
    """Write the study's recipe with at most `CAP` images a class."""
    text = (RECIPES / "abo65.toml").read_text(encoding="utf-8")
    return write_whole(path, text.replace("cap = 400", f"cap = {CAP}"))


def start(server: BreakingServer, output: Path, log: Path, changes: tuple[str, ...]) -> tuple[Any, Trace]:
    """Start the study in a process of its own."""
    recipe = small_recipe(output.with_name("recipe.toml"))
    command = [
        sys.executable, "-c", "from aisles.cli.main import main; main()", "reproduce", "abo65", "--output", str(output),
        "--any-size", "--base-url", server.address, "--backbone", "efficientnet_lite0", "--weights", "none",
        "--recipe", str(recipe), *(f"--set={change}" for change in changes),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    trace = Trace()
    threading.Thread(target=trace.follow, args=(process, log), daemon=True).start()
    return process, trace


def finish(process: Any, log: Path) -> None:
    """Wait for the end.

    Raises
    ------
    RuntimeError
        If it failed.
    """
    if process.wait():
        raise RuntimeError(f"The study failed with status {process.returncode}; see {log}.")


def kill_when(process: Any, there: Callable[[], bool], log: Path) -> None:
    """Kill a process once something is there.

    Raises
    ------
    RuntimeError
        If it ended before.
    """
    while not there():
        if process.poll() is not None:
            raise RuntimeError(
                f"The study ended before it could be killed ({process.returncode}); see {log}."
            )
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def places_to_kill(output: Path) -> dict[str, Callable[[], bool]]:
    """Return by name what tells that a process is in the middle of something."""

    def some(pattern: str) -> Callable[[], bool]:
        return lambda: next(output.glob(pattern), None) is not None

    return {
        "download": some("archives/*.part"),
        "curation: images are compared": some("data/steps/select/step.json"),
        "heads": some("run/models/seed-0/*/head.keras"),
        "a network is fine-tuned": some("run/models/networks/seed-0/flat/*"),
        "report": some("run/probabilities/*.npz"),
    }


def digests(output: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that must be the same; the folder's own path in it doesn't count."""
    found = {}
    for name in SAME:
        content = (output / name).read_bytes().replace(str(output).encode(), b"OUTPUT")
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def size_of(folder: Path) -> float:
    """Return gigabytes on disk."""
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e9, 3)


def processor_seconds() -> float:
    """Return the processor time of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: list[str] | None = None) -> None:
    """Run the study twice, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("experiments/lab/results/reproduce-full.json"))
    parser.add_argument("--listings", type=int, default=LISTINGS)
    parser.add_argument("--per-type", type=int, default=PER_TYPE, help="Products of a type.")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="Products of a type whose images are drawn.")
    parser.add_argument("--cut", type=int, default=4_000_000, help="Bytes after which a connection breaks.")
    given = parser.parse_args(arguments)
    work = given.work.absolute()
    catalogue, mark = work / "catalogue", work / "catalogue.json"
    if not mark.is_file():
        sample = write_sample(
            catalogue, products_per_type=given.per_type, n_listings=given.listings, drawn_products=given.drawn
        )
        write_whole(mark, json.dumps({"listings": sample.n_listings, "images": sample.n_images}))
    server = BreakingServer(catalogue, given.cut)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    facts: dict[str, Any] = {
        "command": "python -m experiments.lab.reproduce_full --work FOLDER"
        + ("" if given.listings == LISTINGS else f" --listings {given.listings} --per-type {given.per_type}")
        + ("" if given.drawn == DRAWN else f" --drawn {given.drawn}"),
        "date": date.today().isoformat(),
        "processors": os.cpu_count(),
        "settings": list(CHANGES),
        "catalogue": json.loads(mark.read_text(encoding="utf-8"))
        | {"listings_with_images_listed": given.listings, "gigabytes": size_of(catalogue)},
    }
    runs = {"uninterrupted": uninterrupted, "killed": killed}
    before = processor_seconds()
    with ThreadPoolExecutor(len(runs)) as pool:
        going = {
            name: pool.submit(run, server, work / name, work / f"{name}.log") for name, run in runs.items()
        }
    facts |= {name: one.result() for name, one in going.items()}
    facts["processor_seconds"] = round(processor_seconds() - before, 1)
    whole, broken = digests(work / "uninterrupted"), digests(work / "killed")
    facts["same"] = {name: whole[name] == broken[name] for name in SAME}
    facts["connections"] = {"opened": server.requests, "cut": server.cuts}
    facts["load"] = [round(x, 1) for x in os.getloadavg()]
    facts["reproduction"] = json.loads((work / "killed" / "reproduction.json").read_text(encoding="utf-8"))
    server.shutdown()
    write_whole(given.output, json.dumps(facts, indent=1) + "\n")


def uninterrupted(server: BreakingServer, output: Path, log: Path) -> dict[str, Any]:
    """Run the study to its end; return seconds by step and gigabytes."""
    began = time.perf_counter()
    process, trace = start(server, output, log, CHANGES)
    finish(process, log)
    total = round(time.perf_counter() - began, 1)
    steps = [*trace.began.items(), ("end", total)]
    seconds = {name: round(after - at, 1) for (name, at), (_, after) in zip(steps, steps[1:], strict=False)}
    return {
        "seconds": total,
        "seconds_by_step": seconds,
        "gigabytes": size_of(output),
    }


def killed(server: BreakingServer, output: Path, log: Path) -> dict[str, Any]:
    """Run the study, kill it wherever `places_to_kill` says, start it again each time, and let it end."""
    began, kills = time.perf_counter(), {}
    for name, there in places_to_kill(output).items():
        at = time.perf_counter()
        kill_when(start(server, output, log, CHANGES)[0], there, log)
        kills[name] = round(time.perf_counter() - at, 1)
    at = time.perf_counter()
    finish(start(server, output, log, CHANGES)[0], log)
    return {
        "kills": len(kills),
        "seconds_until_each_kill": kills,
        "seconds_of_the_last_start": round(time.perf_counter() - at, 1),
        "seconds": round(time.perf_counter() - began, 1),
        "gigabytes": size_of(output),
    }


if __name__ == "__main__":
    main()
