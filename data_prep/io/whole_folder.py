"""Folders that appear, and are replaced, whole or not at all.

Where the system can exchange two folders in one step (Linux, macOS) a reader finds the old folder or the new one at
every moment. Elsewhere the old one is moved aside first; if the process is killed between the two steps, the next
one that writes or reads the folder moves it back.
"""

import ctypes
import errno
import glob
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths as they are
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_lock = threading.Lock()
_written_here: set[Path] = set()  # by this process: another thread's are not left over
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM}  # Windows says the last two
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place if the block ends without an error.

    What killed processes of this machine have left of earlier attempts is removed first.

    Parameters
    ----------
    folder : path
        A folder that is there is replaced, whatever it holds.

    Yields
    ------
    Path
        The folder to write.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock:
        put_back(folder)
        _remove_left_over(folder)
        part = Path(tempfile.mkdtemp(prefix=f"{_start('part', folder)}{os.getpid()}-", dir=folder.parent))
        _written_here.add(part)
    part.chmod(0o755)
    try:
        yield part
        replace_folder(part, folder)
    finally:
        _written_here.discard(part)
        shutil.rmtree(part, ignore_errors=True)


def replace_folder(part: Path, folder: Path) -> None:
    """Move a finished folder to its place; what was there is deleted once the new one stands."""
    for _ in range(100):  # another process may put its own there, or take it away, in between
        try:
            os.replace(part, folder)
            return
        except OSError as error:
            if not folder.is_dir() or error.errno not in _TAKEN:
                raise
        try:
            if exchange(part, folder):
                shutil.rmtree(part, ignore_errors=True)
            else:
                _replace_in_two_steps(part, folder)
            return
        except FileNotFoundError:
            if not part.exists():
                raise
    raise OSError(f"{folder} is replaced by other processes all the time. Wait for them, and run this again.")


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return False, and do nothing, where the system can't."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    paths = os.fsencode(one), os.fsencode(other)
    if libc is not None and sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE)
    elif libc is not None and sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*paths, _EXCHANGE)
    else:
        return False
    if failed and ctypes.get_errno() in _UNKNOWN:
        return False
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one), None, str(other))
    return True


def put_back(folder: Path) -> bool:
    """Move back what a killed process has moved aside; return whether there was something."""
    if folder.exists():
        return False
    for old in sorted(folder.parent.glob(f"{glob.escape(_start('old', folder))}*")):
        if _is_left_over(old, _start("old", folder)) and (old / "folder").is_dir():
            os.replace(old / "folder", folder)
            old.rmdir()
            return True
    return False


def _replace_in_two_steps(part: Path, folder: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f"{_start('old', folder)}{os.getpid()}-", dir=folder.parent))
    try:
        os.replace(folder, old / "folder")
        try:
            os.replace(part, folder)
        except BaseException:
            os.replace(old / "folder", folder)
            raise
    finally:
        if folder.exists():  # else the only copy lies in `old`
            shutil.rmtree(old, ignore_errors=True)


def _start(kind: str, folder: Path) -> str:
    """Begin the name of a folder beside `folder`; machine and number of the process follow."""
    return f".{kind}-{folder.name}-{platform.node()}-"


def _remove_left_over(folder: Path) -> None:
    """Remove what killed processes of this machine left; what another process is writing stays."""
    for kind in ("part", "old"):
        start = _start(kind, folder)
        for left in folder.parent.glob(f"{glob.escape(start)}*"):
            if _is_left_over(left, start):
                shutil.rmtree(left, ignore_errors=True)


def _is_left_over(path: Path, start: str) -> bool:
    if path in _written_here:
        return False
    number = path.name.removeprefix(start).partition("-")[0]
    return not (number.isdigit() and runs_elsewhere(int(number)))


def runs_elsewhere(number: int) -> bool:
    """Return whether a process other than this one has the number; where that can't be asked safely, yes."""
    if number == os.getpid():
        return False
    if os.name == "nt":  # there, signal 0 would end it
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
