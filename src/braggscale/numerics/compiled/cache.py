"""The folder in which compiled kernels are kept, and the decorator that stores them there.

The machine code of the kernels is written to disk by numba and loaded by later runs. These files are pickles:
whoever can write them can run code. So a folder is used only if nobody else can write to it. The first suitable
folder of this list is used:

    1. NUMBA_CACHE_DIR, if it is set
    2. ``__pycache__`` of the package, if it can be written to; it is as trustworthy as the code beside it
    3. XDG_CACHE_HOME/braggscale, or ~/.cache/braggscale
    4. braggscale-UID in the folder for temporary files, 0700

If there is none, kernels are compiled in every run. Numba cannot read a cache in a folder to which it cannot write;
so a complete cache in such a folder, made at installation, is copied once to the first folder that can be written to.

Each combination of processor, Python, numba, its options that change code, and sources of all kernels has its own
folder. Numba itself distinguishes less: it does not notice a change of a function that a kernel in another file calls,
and its index is damaged if two kinds of processor that share a home directory write it at the same time.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import braggscale

F = TypeVar("F", bound=Callable[..., Any])

# All modules with compiled functions; a test checks that these are all modules of this package.
_HERE = Path(__file__).resolve().parent
KERNELS = tuple(f"{__package__}.{m.name}" for m in pkgutil.iter_modules([str(_HERE)]) if m.name != "cache")
# Those of a run of sweeps or of a few crystals. A first run waits for these alone; others are compiled when they are
# needed for the first time.
USUAL = tuple(
    f"{__package__}.{name}"
    for name in ("agreement", "basis", "normal_equations", "outliers", "scale_factor", "triangle", "variance")
)
PACKAGE = Path(braggscale.__file__).resolve().parent
# Options of numba that change the machine code; the number of threads, for one, does not.
_CODE = ("CPU_NAME", "CPU_FEATURES", "OPT", "ENABLE_AVX", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO")
# Files in the folder: all kernels are there, or the usual ones.
_COMPLETE, _USUAL = "complete", "usual"

_compiled: list[Any] = []
_broken: list[Exception] = []


@dataclass(frozen=True, slots=True)
class Warmth:
    """Result of ``warm_up``.  ``folder``: None if kernels cannot be kept.  ``compiled``: number compiled now."""

    folder: Path | None
    kernels: int
    compiled: int


def njit(*signature: Any, **options: Any) -> Callable[[F], Any]:
    """numba.njit with its cache in a safe folder; a cache that cannot be read or written does not stop a run."""
    import numba

    def decorate(function: F) -> Any:
        """Compile without BLAS."""
        with _without_blas():
            return compiled(function)

    def compiled(function: F) -> Any:
        """The compiled function; without a cache if there is no folder for it or the cache is damaged."""
        place = None if _broken else folder()
        if place is not None and options.get("cache"):
            before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(place)
            try:
                made = numba.njit(*signature, **options)(function)
                _compiled.append(made)
                return made
            except Exception as error:  # for damaged files, a full disk and so on numba raises various exceptions
                _broken.append(error)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                numba.config.CACHE_DIR = before
        made = numba.njit(*signature, **(options | {"cache": False}))(function)
        _compiled.append(made)
        return made

    return decorate


@contextmanager
def _without_blas() -> Iterator[None]:
    """Prevents numba from importing scipy.linalg before its first function, which takes 0.2 s; no kernel needs BLAS."""
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast(ModuleType, None)  # None makes its import fail at once
    try:
        yield
    finally:
        del sys.modules[name]


def warm(names: Sequence[str] = KERNELS) -> bool:
    """Whether no kernel of these modules has to be compiled: they are loaded already, or all are in the folder.

    ``names``: KERNELS or USUAL.
    """
    place = folder()
    if all(name in sys.modules for name in names) or (place is not None and _is_complete(place)):
        return True
    return place is not None and names == USUAL and os.path.isfile(place / _USUAL)


def warm_up(processes: int = 1, names: Sequence[str] = KERNELS) -> Warmth:
    """Load the kernels of these modules; those that are not in the folder are compiled and put there.

    ``processes``: how many may compile side by side; numba compiles in one thread of a process at a time.
    ``names``: KERNELS or USUAL.
    """
    beside = _compile_beside(processes, names) if processes > 1 and not warm(names) else 0
    for name in names:
        import_module(name)
    place = None if _broken else folder()
    if place is not None:
        try:
            if not _is_complete(place):
                (place / (_COMPLETE if names == KERNELS else _USUAL)).touch()
                _remove_older(place)
        except OSError:
            place = None
    # functions without a signature are compiled into those that call them
    kernels = [kernel for kernel in _compiled if getattr(kernel, "signatures", ())]
    misses = sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels)
    misses = min(beside + misses, len(kernels))  # two processes may have compiled what both of them import
    return Warmth(place, len(kernels), misses if place is not None else len(kernels))


def _compile_beside(processes: int, names: Sequence[str]) -> int:
    """Compile in other processes, each a share of the modules ``names``; how many kernels they put into the folder.

    Modules that they fail to compile for any reason are left to the caller.
    """
    if folder() is None or not sys.executable or getattr(sys, "frozen", False):
        return 0
    running: list[subprocess.Popen[str]] = []
    try:
        for share in shares(processes, names):
            command = [sys.executable, "-I", "-c", _WORKER, os.pathsep.join(sys.path), *share]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        counts = [worker.communicate()[0].strip() for worker in running]
    except OSError:
        return 0
    finally:  # where the caller is stopped
        for worker in running:
            worker.kill()
            worker.wait()
    return sum(int(count) for count in counts if count.isdigit())


# It looks for modules where the caller does, and nowhere else.
_WORKER = """
import os, sys
sys.path[:] = sys.argv[1].split(os.pathsep)
from importlib import import_module
from braggscale.numerics.compiled import cache
for name in sys.argv[2:]:
    import_module(name)
print(sum(sum(k.stats.cache_misses.values()) for k in cache._compiled if getattr(k, "signatures", ())))
"""


def shares(n: int, names: Sequence[str] = KERNELS) -> list[list[str]]:
    """The modules ``names``, dealt to ``n`` processes so that all have about the same work; none gets nothing."""
    loads: list[tuple[float, list[str]]] = [(0.0, []) for _ in range(n)]
    for name in sorted(names, key=lambda name: -_cost(name)):
        least = min(range(n), key=lambda k: loads[k][0])
        loads[least] = loads[least][0] + _cost(name), [*loads[least][1], name]
    return [names for _, names in loads if names]


def _cost(name: str) -> float:
    """Seconds that a module takes to compile, with those that it imports and that are not dealt before it."""
    return _SECONDS.get(name.rpartition(".")[2], 1.0)


_SECONDS = {
    "crystal_passes": 5.5, "normal_equations": 5.4, "outliers": 4.9, "jacobian_products": 4.4, "data_set_pairs": 2.6,
    "agreement": 1.5, "text_numbers": 1.5, "basis": 1.0, "beams": 0.6, "triangle": 0.1, "scale_factor": 0.1,
    "variance": 0.1,
}  # fmt: skip


@cache
def folder() -> Path | None:
    """The folder for the kernels of this package on this machine, made if need be; None if there is no safe one."""
    name = _name()
    places = [base / name for base in _places()]
    for place in places:
        ready = _prepare(place)
        if ready is None:
            continue
        if not _is_complete(ready):
            finished = (other.resolve() for other in places if _is_complete(other))
            source = next((other for other in finished if is_safe(other)), None)
            if source is not None:
                _copy(source, ready)
        return ready
    return None


def is_safe(path: Path) -> bool:
    """Whether nobody but this user, the administrator and those who can change the package can write to ``path``.

    ``path``: a folder without symbolic links, because a link could be changed after the check. Folders above it to
    which others can write are accepted if, as in /tmp, only owners may rename their files.
    """
    if not hasattr(os, "getuid"):  # Windows: other users have no access to a user's folders
        return True
    try:
        return _only_us(path.lstat(), PACKAGE in path.parents) and _is_safe_above(path.parent)
    except OSError:
        return False


def _is_safe_above(path: Path) -> bool:
    """Whether others can neither replace ``path`` nor a folder above it."""
    if not hasattr(os, "getuid"):
        return True
    for here in (path, *path.parents):
        if here == PACKAGE:
            return True  # whoever can replace it can also change the code
        status = here.lstat()
        sticky = status.st_mode & stat.S_ISVTX and status.st_uid in (0, os.getuid())
        if not sticky and not _only_us(status, PACKAGE in here.parents):
            return False
    return True


def _only_us(status: os.stat_result, within_package: bool) -> bool:
    owners, others = {0, os.getuid()}, stat.S_IWGRP | stat.S_IWOTH
    if status.st_gid == os.getuid() == os.getgid():
        others = stat.S_IWOTH  # a user's private group
    if within_package:
        package = PACKAGE.stat()
        owners.add(package.st_uid)
        if status.st_gid == package.st_gid:
            others &= ~package.st_mode
    return stat.S_ISDIR(status.st_mode) and status.st_uid in owners and not status.st_mode & others


def _places() -> Iterator[Path]:
    """Folders to try, in order."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen).absolute() / "braggscale"
    yield PACKAGE / "__pycache__" / "kernels"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):  # a user who is not known
        if os.path.isabs(caches):
            yield Path(caches) / "braggscale"
        elif os.path.isdir(Path.home()):
            yield Path.home() / ".cache" / "braggscale"
    with suppress(FileNotFoundError):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        yield Path(tempfile.gettempdir()) / f"braggscale-{user}"


def _prepare(place: Path) -> Path | None:
    """Make the folder; its resolved path if it is safe and can be written to, otherwise None."""
    # a folder beside the package may be read by all users of the package, other folders only by this user
    mode = 0o777 if PACKAGE in place.parents else 0o700
    missing = [path for path in (place, *place.parents) if not os.path.exists(path)]
    try:
        if missing and not _is_safe_above(missing[-1].parent.resolve()):
            return None
        for path in reversed(missing):
            path.mkdir(mode, exist_ok=True)
        place = place.resolve()
        if not is_safe(place):
            return None
        tempfile.TemporaryFile(dir=place).close()
    except OSError:
        return None
    return place


def _is_complete(place: Path) -> bool:
    return os.path.isfile(place / _COMPLETE)


def _copy(source: Path, target: Path) -> None:
    """Copy a complete cache: each file under a temporary name, then renamed; the mark of completeness last."""
    with suppress(OSError):
        for path in (found for found in source.rglob("*") if found.is_file() and found != source / _COMPLETE):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            aside = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copyfile(path, aside)
            os.replace(aside, copy)
        (target / _COMPLETE).touch()


def _name() -> str:
    """Name of the folder: from everything on which the machine code depends, then from the sources."""
    import llvmlite.binding as llvm
    import numba

    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # not known for every processor
        features = ""
    settings = [os.environ.get(f"NUMBA_{option}", "") for option in _CODE]
    machine = (
        str(PACKAGE), platform.python_implementation(), platform.python_version(), numba.__version__,
        llvm.get_process_triple(), llvm.get_host_cpu_name(), features, *settings,
    )  # fmt: skip
    sources = [pkgutil.get_data(__package__, name.rpartition(".")[2] + ".py") or b"" for name in KERNELS]
    return f"{_digest(*(text.encode() for text in machine))}-{_digest(braggscale.__version__.encode(), *sources)}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def _remove_older(place: Path) -> None:
    """Remove kernels of earlier sources; a run that is loading them at this moment compiles them again."""
    for other in place.parent.glob(place.name.partition("-")[0] + "-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
