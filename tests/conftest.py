"""Fixtures that several test files share."""

import os

# Before numpy is loaded: without a run around them, small matrices would be given to as many threads as there are
# processors, which takes several times as long where other tests run beside these.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import settings

from braggscale.cli import main
from braggscale.numerics.compiled.cache import warm, warm_up

# The same examples in every run: a test that fails has a reason, not bad luck. To look further than these examples:
# pytest --hypothesis-profile=explore
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("same")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compiles the kernels once, before pytest-xdist starts processes that would all compile them."""
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly and not warm():
        warm_up(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data that is not part of the repository; tests that need it skip without it."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("BRAGGSCALE_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set BRAGGSCALE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def example_run(tmp_path_factory) -> Path:
    """Folder with the outputs of scaling the example that ships with the program."""
    folder = tmp_path_factory.mktemp("example")
    files = [str(Path(__file__).parents[1] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
    with chdir(folder):
        assert main(["-q", *files]) == 0
    return folder
