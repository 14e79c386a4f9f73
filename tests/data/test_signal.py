"""Images and data sets without a signal, and measurements that are there twice."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_preparation import SWEEP, columns, prepared

from braggscale.data.flags import Fate
from braggscale.data.repeated import repeats, row_keys, shared_rows
from braggscale.data.signal import blank_images, is_blank


def rows(intensity, sigma, image=None):
    n = len(intensity)
    z = np.zeros(n) if image is None else image + 0.5
    return SimpleNamespace(
        i_sum=intensity, v_sum=sigma**2, i_prf=intensity, v_prf=sigma**2, has_prf=np.ones(n, bool),
        xyz=np.column_stack([np.zeros((n, 2)), z]), __len__=None,
    )  # fmt: skip


class Few(SimpleNamespace):
    """Enough of Observations."""

    def __len__(self):
        return len(self.i_sum)


def made(rng, n, mean, image=None, sigma=10.0):
    found = rows(mean * rng.exponential(size=n) + sigma * rng.normal(size=n), np.full(n, sigma), image)
    return Few(**{k: v for k, v in vars(found).items() if k != "__len__"})


@pytest.mark.parametrize("seed", range(20))
def test_blank_data_sets(seed):
    rng = np.random.default_rng(seed)
    assert not is_blank(made(rng, 170, 10.0)), "mean I/sigma 1"
    assert not is_blank(made(rng, 170, 5.0)), "mean I/sigma 0.5"
    assert not is_blank(made(rng, 15, 0.0)), "too few to tell"
    strong = made(rng, 170, 0.0)
    strong.i_prf[:5] = 300.0
    assert not is_blank(strong), "five reflections that stand out"


def test_blank_data_sets_are_found():
    rng = np.random.default_rng(5)
    assert sum(is_blank(made(rng, 170, 0.0)) for _ in range(200)) > 180


def test_blank_images_of_a_sweep():
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(100), 30)
    sweep = made(rng, 3000, 50.0, image)
    assert not blank_images(sweep)[0].any()
    off = (image >= 40) & (image < 45)
    sweep.i_prf[off] = 10.0 * rng.normal(size=off.sum())
    found, images = blank_images(sweep)
    assert set(images.tolist()) <= set(range(41, 46)) and len(images) >= 4
    assert not (found & ~off).any()


def test_a_blank_image_has_a_fate():
    rng = np.random.default_rng(4)
    data = columns(1200)
    data["xyzobs.px.value"][:, 2] = np.repeat(np.arange(60), 20) + 0.5
    for kind in ("sum", "prf"):
        data[f"intensity.{kind}.variance"][:] = 100.0
        data[f"intensity.{kind}.value"][400:420] = rng.normal(size=20) - 0.5
    fate = prepared(data).fate
    assert (fate[400:420] == Fate.NO_SIGNAL).all() and (np.delete(fate, np.s_[400:420]) == Fate.SCALED).all()


def test_rows_that_are_there_twice_count_once(caplog):
    data = columns(50)
    twice = {name: np.concatenate([values, values[:20]]) for name, values in data.items()}
    fate = prepared(twice).fate
    assert (fate == Fate.REPEATED).sum() == 20 and (fate[:50] == Fate.SCALED).all()
    assert "20 of 70 rows repeat others and count once" in caplog.text
    one, other = prepared(data).observations, prepared(columns(50, seed=2)).observations
    assert shared_rows(row_keys(one), row_keys(one)) == 50
    assert shared_rows(row_keys(one), row_keys(other)) == 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_repeats_keep_the_first_of_each(numbers, seed):
    data = columns(7, seed)
    picked = {name: values[numbers] for name, values in data.items()}
    from test_preparation import table

    from braggscale.data.preparation import Cuts, prepare

    fate = prepare(table(picked), SWEEP, 0, cuts=Cuts(partiality_cutoff=0.0, min_isigi=None)).fate
    expected = [number in numbers[:k] for k, number in enumerate(numbers)]
    assert (fate == Fate.REPEATED).tolist() == expected


def test_keys_do_not_collide():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, 1000).astype(np.uint64)
    assert not repeats(keys).any()
    assert repeats(np.concatenate([keys, keys[::-1]])).tolist() == [False] * 1000 + [True] * 1000
