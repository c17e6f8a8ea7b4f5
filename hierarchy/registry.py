"""Registries: one table per kind of thing that can be added from outside.

A registry is a mapping from names to registrations. Ours are registered in the same way as anyone's: by a decorator in
Python, by an entry point of an installed package (group `aisles.<kinds>`), or by a file given to `--plugin`.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Generic, TypeVar

Registration = TypeVar("Registration")

__all__ = ["PluginError", "Registry", "load_plugins", "plugin_files"]

_plugins: dict[str, Path] = {}


class PluginError(ValueError):
    """A plugin file or an entry point that can't be used."""


class Registry(Mapping[str, Registration], Generic[Registration]):
    """Registrations of one kind, by name.

    Parameters
    ----------
    kind : str
        What one registration is called in messages: `routing rule`, `method`.
    kinds : str
        The same in the plural: `rules`, `methods`. Entry points stand in the group `aisles.<kinds>`.
    ours : callable, optional
        Imports the modules that register what comes with the package; called before the first look-up.
    """

    def __init__(self, kind: str, kinds: str, ours: Callable[[], object] | None = None):
        self.kind: str = kind
        self.kinds: str = kinds
        self._known: dict[str, Registration] = {}
        self._ours, self._filled = ours, False

    def add(self, name: str, registration: Registration) -> Registration:
        """Add a registration.

        Raises
        ------
        ValueError
            If the name is taken by something else, or is not a name (letters, digits, `_`, `.` and `-`).
        """
        if not name or not all(letter.isalnum() or letter in "_.-" for letter in name):
            raise ValueError(
                f"The name of a {self.kind} has letters, digits, `_`, `.` and `-`. Received: {name!r}."
            )
        if self._known.get(name, registration) is not registration:
            raise ValueError(f"There is a {self.kind} {name!r} already. Choose another name.")
        self._known[name] = registration
        return registration

    def __getitem__(self, name: str) -> Registration:
        """Return a registration.

        Raises
        ------
        UnknownNameError
            A ValueError and a KeyError, with the name that was probably meant and all that there are.
        """
        self._fill()
        if name not in self._known:
            raise UnknownNameError(self.unknown(name), f"{self.kind} {name!r}")
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(tuple(self._known))

    def __len__(self) -> int:
        self._fill()
        return len(self._known)

    def unknown(self, name: object, names: Iterable[str] | None = None) -> str:
        """Return the message about a name that isn't registered."""
        names = list(self if names is None else names)
        meant = get_close_matches(str(name), names, n=1)
        hint = f"Did you mean {meant[0]!r}? " if meant else ""
        return f"Unknown {self.kind} {name!r}. {hint}Choose one of: {', '.join(names)}."

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True
        if self._ours is not None:
            self._ours()
        for point in entry_points(group=f"aisles.{self.kinds}"):
            try:
                point.load()
            except Exception as error:
                raise PluginError(
                    f"The entry point {point.name} = {point.value} of the group aisles.{self.kinds} can't be "
                    f"loaded: {type(error).__name__}: {error}. Repair or uninstall that package."
                ) from error


class UnknownNameError(ValueError, KeyError):
    """A name that is not registered.

    Attributes
    ----------
    what : str
        The kind and the name, such as "method 'forest'".
    """

    def __init__(self, message: str, what: str):
        super().__init__(message)
        self.what: str = what

    def __str__(self) -> str:
        return str(self.args[0])


def load_plugins(files: Iterable[str | Path]) -> None:
    """Run Python files that register things of their own; a file that ran before is not run again.

    Worker processes run the same files (see `plugin_files`), so a file must be importable on its own.

    Raises
    ------
    PluginError
        If a file is missing or fails.
    """
    for file in files:
        path = Path(file).resolve()
        if not path.is_file():
            raise PluginError(f"There is no plugin file {file}. Check the path.")
        name = f"aisles_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if name in _plugins:
            continue
        spec = spec_from_loader(name, SourceFileLoader(name, str(path)))
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise PluginError(f"The plugin {file} fails: {type(error).__name__}: {error}.") from error
        _plugins[name] = path


def plugin_files() -> tuple[Path, ...]:
    """Return the plugin files that ran in this process, in order."""
    return tuple(_plugins.values())
