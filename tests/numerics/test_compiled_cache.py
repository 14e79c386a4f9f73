"""The folder of compiled kernels: read-only installations, other users, unsafe folders, two first runs at once."""

import ast
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import braggscale
from braggscale.numerics.compiled import cache

ROOT = Path(braggscale.__file__).parent
NOBODY = 65534
AS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
# loads all kernels and says how many it had to compile, and where they are
PROGRAM = (
    "from braggscale.numerics.compiled.cache import warm_up; w = warm_up(); print(w.kernels, w.compiled, w.folder)"
)


@pytest.fixture
def place():
    """A folder that others may read, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


ONE_KERNEL = """
from braggscale.numerics.compiled.cache import njit

@njit("float64(float64)", nogil=True, cache=True)
def twice(x):
    return 2.0 * x

def __getattr__(name):  # for the modules that import the package's own kernels
    if name.startswith("__"):
        raise AttributeError(name)
    return twice
"""


def install(place):
    """The package as an administrator installs it, with kernels that are compiled quickly in the place of its own."""
    tree = place / "software"
    shutil.copytree(ROOT, tree / "braggscale", ignore=shutil.ignore_patterns("__pycache__"))
    for name in cache.KERNELS:
        path = tree.joinpath(*name.split(".")).with_suffix(".py")
        path.chmod(0o644)
        path.write_text(ONE_KERNEL)
    return tree


def close(tree):
    """Nobody can write to the tree except root, for whom permissions do not apply."""
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


# Root gives up CAP_DAC_OVERRIDE, _READ_SEARCH and FOWNER (1 to 3) by PR_CAPBSET_DROP (24) and is bound by permissions.
AS_ANYBODY = """
import ctypes, os, sys
if os.getuid() == 0:
    for capability in (1, 2, 3):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(tree, *, code=PROGRAM, arguments=(), administrator=False, cwd="/", **environment):
    """A run with the package in ``tree``, which permissions bind unless it is the administrator's."""
    names = ("PATH", "LANG", "LD_LIBRARY_PATH")
    base = {name: os.environ[name] for name in names if name in os.environ}
    base |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *(["-c", code] if code else ["-m", "braggscale"]), *arguments]
    if not administrator:
        command = [sys.executable, "-c", AS_ANYBODY, *command]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=base | environment
    )


def result(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def run(tree, **options):
    """Number of kernels, of those that were compiled, and their folder."""
    kernels, compiled, folder = result(start(tree, **options)).split()
    return int(kernels), int(compiled), Path(folder)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def permissions_bind(tmp_path_factory):
    """Skips if permissions cannot be enforced for a process of root."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o555)
    process = start(closed, code=f"open({str(closed / 'file')!r}, 'w')")
    if "PermissionError" not in process.communicate(timeout=600)[1]:
        pytest.skip("this process cannot give up the right to write everywhere")


def private(folder):
    folder.mkdir(mode=0o700)
    return folder


def test_read_only_installation_compiles_once_and_says_so(place):
    """The whole command: the first run compiles into the user's cache, the second writes nothing there.

    The runs end at their input, before they would need the package's own kernels, which take long to compile.
    """
    tree = install(place)
    close(tree)
    home, folder = private(place / "home"), private(place / "work")
    (folder / "notes.txt").write_text("nothing that was measured")

    def scale():
        process = start(tree, code="", arguments=["notes.txt"], cwd=folder, HOME=str(home))
        out, err = process.communicate(timeout=600)
        assert process.returncode == 1 and "notes.txt: unknown kind of file" in err, err
        return out

    assert scale().count("scale --warm-up does this at installation") == 1
    assert not list(tree.rglob("*.nb?"))
    caches = home / ".cache" / "braggscale"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (caches.parent, caches)] == [0o700, 0o700]
    before = files(home)
    assert len(before) > 2 * len(cache.USUAL)
    assert "compiling" not in scale()
    assert files(home) == before
    # the others when all are asked for
    assert run(tree, HOME=str(home))[1] == len(cache.KERNELS) - len(cache.USUAL)
    assert run(tree, HOME=str(home))[1] == 0


def test_warmed_up_read_only_installation_never_compiles(place):
    """What an administrator compiles serves other users, who have no home and cannot write to it."""
    tree = install(place)
    kernels, compiled, folder = run(tree, administrator=True)
    assert compiled == kernels
    assert folder.is_relative_to(tree)
    close(tree)
    before = files(folder)
    temporary = private(place / "temporary")
    for _ in range(2):
        found = run(tree, HOME="/nonexistent", TMPDIR=str(temporary))
        assert found[:2] == (kernels, 0)
        assert found[2].is_relative_to(temporary)
    assert files(folder) == before
    assert stat.S_IMODE(found[2].parent.stat().st_mode) == 0o700


def test_nothing_safe_is_no_obstacle(place):
    """Compiled in every run, nothing kept, and the command says so."""
    tree = install(place)
    close(tree)
    nowhere = place / "nowhere"
    nowhere.mkdir(mode=0o777)
    nowhere.chmod(0o777)  # anybody could put files there
    nothing = {"HOME": "/nonexistent", "TMPDIR": str(nowhere), "NUMBA_CACHE_DIR": str(nowhere)}
    kernels, compiled, folder = result(start(tree, **nothing)).split()
    assert (compiled, folder) == (kernels, "None")
    assert not list(nowhere.rglob("*"))
    process = start(tree, code="", arguments=["--warm-up"], **nothing)
    assert "name it in NUMBA_CACHE_DIR" in process.communicate(timeout=600)[1]
    assert process.returncode == 1


def test_chosen_folder_and_two_first_runs_at_once(place):
    tree = install(place)
    close(tree)
    chosen = private(place / "chosen")
    options = {"HOME": "/nonexistent", "NUMBA_CACHE_DIR": str(chosen)}
    both = [start(tree, **options) for _ in range(2)]
    found = [result(process).split() for process in both]
    assert found[0][2] == found[1][2]
    assert Path(found[0][2]).is_relative_to(chosen)
    assert run(tree, **options)[1] == 0
    assert not [path for path in files(chosen) if ".tmp." in path.name]


def test_damaged_cache_is_made_anew(place):
    tree = install(place)
    close(tree)
    home = private(place / "home")
    kernels, _, folder = run(tree, HOME=str(home))
    for path in folder.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    out = result(start(tree, HOME=str(home))).split()
    assert out == [str(kernels), str(kernels), "None"]
    assert run(tree, HOME=str(home))[1:] == (kernels, folder)
    assert run(tree, HOME=str(home))[1:] == (0, folder)


def test_kernels_of_earlier_sources_are_removed(place):
    tree = install(place)
    home = private(place / "home")
    first = run(tree, administrator=True, HOME=str(home))[2]
    kernels = tree.joinpath(*cache.KERNELS[-1].split(".")).with_suffix(".py")
    kernels.write_text(kernels.read_text() + "\n# changed\n")
    _, compiled, second = run(tree, administrator=True, HOME=str(home))
    assert compiled > 0
    assert second != first
    assert [path.name for path in second.parent.iterdir()] == [second.name]


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
def test_folders_that_others_can_write_to_are_refused(tmp_path, mode):
    folder = tmp_path.resolve() / "cache"
    folder.mkdir()
    inner = folder / "kernels"
    inner.mkdir(0o700)
    assert cache.is_safe(inner)
    if AS_ROOT:
        os.chown(folder, 0, 4711)  # a group of others
    elif mode == 0o775:
        pytest.skip("needs a group that is not this user's own")
    folder.chmod(mode)
    assert not cache.is_safe(folder)
    assert not cache.is_safe(inner)  # it could be replaced
    folder.chmod(mode | stat.S_ISVTX)  # now it cannot
    assert cache.is_safe(inner)
    assert not cache.is_safe(folder)


@pytest.mark.skipif(not AS_ROOT, reason="needs to give a folder to somebody else")
def test_folders_of_others_are_refused(tmp_path):
    folder = tmp_path.resolve() / "cache"
    inner = folder / "kernels"
    inner.mkdir(0o700, parents=True)
    os.chown(inner, NOBODY, NOBODY)
    assert not cache.is_safe(inner)
    os.chown(inner, 0, 0)
    os.chown(folder, NOBODY, NOBODY)
    assert not cache.is_safe(inner)


def test_links_are_refused(tmp_path):
    (tmp_path / "there").mkdir(0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "there")
    assert cache.is_safe(tmp_path.resolve() / "there")
    assert not cache.is_safe(tmp_path.resolve() / "cache")


def test_compiled_functions_stand_in_the_package_compiled():
    """--warm-up finds kernels by their names; others would be compiled in the first run without a message."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            if "njit" in imported or module == "numba" or (isinstance(node, ast.Import) and "numba" in imported):
                found.add(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
    assert found - {"braggscale.numerics.compiled.cache"} == set(cache.KERNELS)


def test_kernels_have_signatures_and_are_kept():
    """Compiled at import, so that loading the modules is all that --warm-up has to do."""
    cache.warm_up()
    assert cache.warm()
    for kernel in cache._compiled:
        assert kernel.signatures or kernel.targetoptions.get("inline") == "always", kernel
        assert kernel.targetoptions.get("nogil"), kernel


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_shares_hold_every_module_once(n):
    dealt = cache.shares(n)
    assert sorted(name for names in dealt for name in names) == sorted(cache.KERNELS)
    assert all(dealt) and len(dealt) == min(n, len(cache.KERNELS))


def test_processes_side_by_side_leave_a_complete_folder(place):
    """What two processes compiled is loaded, not compiled again, and counted."""
    tree = install(place)
    program = PROGRAM.replace("warm_up()", "warm_up(2)")
    kernels, compiled, folder = run(tree, code=program)
    assert compiled == kernels > 0
    before = files(folder)
    assert run(tree)[1] == 0
    assert files(folder) == before


def test_without_other_processes_kernels_are_compiled_here(place):
    tree = install(place)
    program = "import sys; sys.executable = '/nowhere/python'; " + PROGRAM.replace("warm_up()", "warm_up(2)")
    kernels, compiled, _ = run(tree, code=program)
    assert compiled == kernels > 0
