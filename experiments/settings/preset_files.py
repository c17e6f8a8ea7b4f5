"""Settings that come with the package, by the command that they are for; nothing heavy is loaded to list them."""

from pathlib import Path


def preset_files(command: str) -> dict[str, Path]:
    """Return the packaged settings of a command (`benchmark` or `train`) by name, sorted."""
    folder = Path(__file__).parent / "presets" / command
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}
