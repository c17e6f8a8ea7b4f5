"""What the page of `aisles demo` holds: its first answer, its slider, and many visitors at once.

    python -m experiments.lab.demo_load RUN IMAGES --output demo-load.json

starts the page of RUN's bundles in a process of its own, asks it for images of the folder IMAGES, and writes what it
measured: the first answer after the networks are loaded, answers to several clients at once by HTTP and by the page's
own upload, the slider in Chromium from key to answer (if Playwright and a Chromium are here), and the server's memory.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

SLIDER = """async () => {
  const slider = document.querySelector("input[type=range]"), part = document.querySelector("#answer");
  const write = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set, found = [];
  for (const percent of [60, 70, 80, 90, 99, 50, 55, 95, 85, 75, 65, 92, 97, 52, 88, 77, 66, 94, 58, 83]) {
    const began = performance.now();
    const shown = new Promise((resolve) => new MutationObserver((_, observer) => {
      if (!part.innerText.includes(percent + " %")) return;
      observer.disconnect();
      resolve(performance.now() - began);
    }).observe(part, { childList: true, subtree: true, characterData: true }));
    write.call(slider, percent);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    found.push(await shown);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return found;
}"""


@contextmanager
def served(run: Path):
    """Serve the bundles of a run; gives the address, the process's number and the seconds that starting took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bundles = run / "bundles"
    command = [
        Path(sys.prefix) / "bin" / "aisles",
        "demo",
        bundles / "two-stage",
        "--run",
        run,
        "--port",
        port,
    ]
    command += ["--flat", bundles / "flat"] if (bundles / "flat").is_dir() else []
    began, address = time.perf_counter(), f"http://127.0.0.1:{port}"
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"{address}/api/info")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
            if process.poll() is not None:
                raise click.ClickException(f"The page did not start. Try it: {' '.join(map(str, command))}")
        yield address, process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def megabytes(number: int) -> float:
    """Return how much memory a process holds."""
    pages = int(Path(f"/proc/{number}/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def summary(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum in milliseconds."""
    found = sorted(1000 * value for value in seconds)
    high = found[min(len(found) - 1, round(0.95 * len(found)))]
    return {
        "median_ms": round(statistics.median(found), 1),
        "p95_ms": round(high, 1),
        "max_ms": round(found[-1], 1),
    }


def loaded(ask: Callable[[int], Any], requests: int, clients: int, number: int) -> dict[str, Any]:
    """Ask from several clients at once; the memory is looked at after every quarter."""

    def timed(index: int) -> tuple[float, str]:
        began = time.perf_counter()
        try:
            ask(index)
            return time.perf_counter() - began, ""
        except Exception as error:  # every error counts, whatever it is
            return time.perf_counter() - began, repr(error)

    memory, found, began = [megabytes(number)], [], time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        quarter = max(1, requests // 4)
        for start in range(0, requests, quarter):
            found += list(pool.map(timed, range(start, min(start + quarter, requests))))
            memory.append(megabytes(number))
    wall = time.perf_counter() - began
    errors = [error for _, error in found if error]
    return {
        "requests": requests, "clients": clients, "errors": len(errors), "first_errors": errors[:3],
        "per_second": round(requests / wall, 1), **summary([took for took, _ in found]), "memory_mb": memory,
    }  # fmt: skip


def page_visits(address: str, images: list[Path]) -> Callable[[int], None]:
    """Return what a visitor does: open a visit, upload an image, and wait for its answer."""
    config = httpx.get(f"{address}/config").json()
    number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "_uploaded")

    def visit(index: int) -> None:
        path, session = images[index % len(images)], f"visit{index}"
        with httpx.Client(base_url=f"{address}/gradio_api", timeout=120) as client:
            kept = client.post("/upload", files={"files": (path.name, path.read_bytes())}).json()[0]
            file = {"path": kept, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
            asked = {"fn_index": number, "data": [file, None, 95, "soft", []], "session_hash": session}
            client.post("/queue/join", json=asked).raise_for_status()
            with client.stream("GET", "/queue/data", params={"session_hash": session}) as lines:
                for line in lines.iter_lines():
                    told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                    if told.get("msg") == "process_completed":
                        if not told["success"] or path.name not in told["output"]["data"][1]:
                            raise RuntimeError(str(told)[:300])
                        return
        raise RuntimeError("The event did not end.")

    return visit


def slider_milliseconds(address: str) -> dict[str, float] | None:
    """Move the slider in Chromium; None without Playwright or Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    if program is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector("#examples button")
        page.locator("#examples button").first.click()
        page.wait_for_selector("#answer .answer")
        page.wait_for_selector("#why figure")
        page.evaluate(SLIDER)  # the first time every level's guarantee is looked for
        found = page.evaluate(SLIDER)
        browser.close()
    return summary([value / 1000 for value in found])


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("images", type=click.Path(path_type=Path, exists=True))
@click.option("--requests", default=200, show_default=True)
@click.option("--clients", default=8, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="A JSON file; the screen unless given.")
def main(run: Path, images: Path, requests: int, clients: int, output: Path | None) -> None:
    """Measure the page of RUN's bundles with photographs of the folder IMAGES."""
    photos = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in (".jpg", ".png", ".webp")]
    photos = photos[:: max(1, len(photos) // requests)][:requests]
    load = os.getloadavg()[0]
    with served(run) as (address, number, started):

        def ask(index: int) -> None:
            answer = httpx.post(
                f"{address}/api/classify", content=photos[index % len(photos)].read_bytes(), timeout=120
            )
            answer.raise_for_status()

        began = time.perf_counter()
        ask(0)
        first = time.perf_counter() - began
        alone = loaded(ask, 40, 1, number)
        found = {
            "cores": os.cpu_count(),
            "load_before": load,
            "start_s": round(started, 1),
            "first_answer_ms": round(1000 * first, 1),
            "one_client": alone,
            "http": [loaded(ask, requests, clients, number) for _ in range(3)],
            "page": [loaded(page_visits(address, photos), requests, clients, number) for _ in range(2)],
            "slider": slider_milliseconds(address),
            "memory_after_mb": megabytes(number),
        }
    text = json.dumps(found, indent=1) + "\n"
    if output is None:
        click.echo(text)
    else:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
