"""Small good files of other programs, and damage to them: their text by lines and words, MTZ by columns and headers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import gemmi
import numpy as np
import program_samples as samples

from . import mutations
from .mutations import REALS, TEXTS, WHOLES, Random, pick

N_IMAGES = 60
KNOWN = ("space_group=P222", "unit_cell=10,12,15,90,90,90")
ODD = ("", "*", "********", "NaN", "1e400", "-", ".", "1.5e", "1.2.3", "0x10", "1d5", "+-1", "%s", "\x1b[31m", "\x00")


@cache
def sample() -> dict[str, Any]:
    """Reflections of a sweep, and intensities that equivalent ones share, (n,)."""
    found = samples.reflections(N_IMAGES)
    rows = np.flatnonzero(np.abs(found["hkl"]) @ [7, 131, 1009] % 5 == 1)
    kept = {name: values[rows] for name, values in found.items() if name != "u"}
    rng = np.random.default_rng(3)
    true = 10 + 1000 * (np.abs(kept["hkl"]) @ [17, 311, 2017] % 97) / 97
    sigma = np.sqrt(true + 20)
    s1 = kept["s1"]
    return kept | {
        "u": found["u"],
        "i": true * (1 + 0.2 * np.sin(kept["phi"] / 20)) + rng.normal(size=len(true)) * sigma,
        "sigma": sigma,
        "x": s1[:, 1] / s1[:, 0] * 1000.0 + 1000.0,
        "y": s1[:, 2] / s1[:, 0] * 1000.0 + 1000.0,
    }


# MTZ --------------------------------------------------------------------------------------------------------


def mtz_columns(random: Random) -> dict[str, tuple[str, Any]]:
    """Columns of an unmerged file, sometimes with partials, profiles, flags or scales."""
    rows = sample()
    n = len(rows["phi"])
    batch = np.minimum(np.floor(rows["phi"]), N_IMAGES - 1) + 1
    fraction = np.ones(n)
    code = np.ones(n)
    take = np.arange(n)
    if random.random() < 0.4:
        parts = np.flatnonzero((np.arange(n) % 3 == 0) & (batch < N_IMAGES))
        take = np.concatenate([take, parts])
        batch = np.concatenate([batch, batch[parts] + 1])
        fraction = np.concatenate([fraction, np.full(len(parts), 0.4)])
        fraction[parts] = 0.6
        code = np.concatenate([code, np.full(len(parts), 257.0)])
        code[parts] = 257.0
    columns: dict[str, tuple[str, Any]] = {
        **{name: ("H", rows["hkl"][take, k]) for k, name in enumerate("HKL")},
        "M/ISYM": ("Y", code),
        "BATCH": ("B", batch),
        "I": ("J", rows["i"][take] * fraction),
        "SIGI": ("Q", rows["sigma"][take] * np.sqrt(fraction)),
        "FRACTIONCALC": ("R", fraction),
        "XDET": ("R", rows["x"][take]),
        "YDET": ("R", rows["y"][take]),
        "ROT": ("R", rows["phi"][take]),
        "LP": ("R", 0.1 + 0.4 * (np.arange(len(take)) % 7) / 7),
    }
    if random.random() < 0.3:
        columns |= {"IPR": ("J", columns["I"][1] * 1.01), "SIGIPR": ("Q", columns["SIGI"][1])}
    for name, kind, value in (
        ("FLAG", "I", pick(random, (0, 2, 19, 64))),
        ("SCALEUSED", "R", 1.1),
        ("QE", "R", 0.9),
        ("BGPKRATIOS", "R", 1.0),
    ):
        if random.random() < 0.15:
            columns[name] = kind, np.full(len(take), value, np.float64)
    return {name: (kind, np.asarray(values, np.float32)) for name, (kind, values) in columns.items()}


def damaged_unmerged(random: Random) -> bytes:
    """An unmerged MTZ file with odd values, columns, batch headers, header words or bytes."""
    columns = mtz_columns(random)
    how = random.integers(5)
    if how < 2:
        for _ in range(int(random.integers(1, 4))):
            name = pick(random, sorted(columns))
            damage: Callable[..., None] = pick(
                random,
                (mutations.odd_values, mutations.odd_values, mutations.scaled_values, mutations.without_column,
                 mutations.exchanged, mutations.other_rows, mutations.one_row_for_all),
            )  # fmt: skip
            with np.errstate(all="ignore"):
                damage(random, columns, name)
            if not columns or not all(len(values) for _, values in columns.values()):
                columns = mtz_columns(random)
    n = min((len(values) for _, values in columns.values()), default=0)
    columns = {name: (kind, values[:n]) for name, (kind, values) in columns.items()}
    headers = random.random() < 0.8
    data = samples.mtz(columns, u=sample()["u"] if headers else None, n_batches=N_IMAGES)
    if how == 2 and headers:
        return damaged_batches(random, data)
    if how == 3:
        return mutations.damaged_mtz(random, data)
    return mutations.damaged_bytes(random, data, head=400) if how == 4 else data


def damaged_batches(random: Random, data: bytes) -> bytes:
    """Other numbers in the headers of one or of all batches, or fewer of them."""
    with tempfile.NamedTemporaryFile(suffix=".mtz") as written:
        written.write(data)
        written.flush()
        file = gemmi.read_mtz_file(written.name)
    batches = list(file.batches)
    if random.random() < 0.15:
        del file.batches[int(random.integers(len(batches))) :]
        return bytes(file.write_to_bytes())
    for _ in range(int(random.integers(1, 4))):
        chosen = batches if random.integers(2) else [pick(random, batches)]
        what = random.integers(4)
        place = int(pick(random, (*range(6), *range(6, 15), 15, 36, 37, 38, 59, 61, 80, 83, 86, 111, 113, 114)))
        real = float(np.clip(pick(random, REALS), -3e38, 3e38)) if random.random() < 0.8 else float("nan")
        whole = int(np.clip(pick(random, WHOLES), -(2**31), 2**31 - 1))
        for batch in chosen:
            if what == 0:
                batch.number = min(abs(whole), 10**9)
            elif what == 1:
                batch.ints[int(random.integers(29))] = whole
            else:
                batch.floats[place] = real if what == 2 else batch.floats[place] * 2
    return bytes(file.write_to_bytes())


# Text -------------------------------------------------------------------------------------------------------


def integrate() -> str:
    """INTEGRATE.HKL."""
    rows = sample()
    lines = [
        f"{h:4d}{k:4d}{l:4d} {i:.3E} {s:.3E} {x:.1f} {y:.1f} {z:.1f} 0.94394 100 83 {int(abs(i)) + 50} "
        f"{x:.1f} {y:.1f} {z:.1f} -73.95 0.26 133.92 57.12 -84.37\n"
        for (h, k, l), i, s, x, y, z in zip(
            rows["hkl"].tolist(), rows["i"], rows["sigma"], rows["x"], rows["y"], rows["phi"], strict=True
        )
    ]
    return samples.INTEGRATE_HEADER + "".join(lines) + samples.END_OF_DATA


def ascii_rows(n_items: int) -> str:
    """Rows of XDS_ASCII.HKL, or of XSCALE with two sets."""
    rows = sample()
    text = ""
    for n, ((h, k, l), i, s, x, y, z) in enumerate(
        zip(rows["hkl"].tolist(), rows["i"], rows["sigma"], rows["x"], rows["y"], rows["phi"], strict=True)
    ):
        sign = -1 if n % 40 == 7 else 1
        text += f"{h:6d}{k:6d}{l:6d} {i:.3E} {sign * s:.3E} {x:8.1f}{y:8.1f}{z:8.1f}"
        text += "   0.90000 100  76   500    6.44\n" if n_items == 13 else f"    6.44 {1 + n % 2:3d}\n"
    return text


def damaged_xds(random: Random) -> bytes:
    """A file of INTEGRATE, CORRECT or XSCALE."""
    header = samples.XSCALE[: samples.XSCALE.index("!END_OF_HEADER\n")] + "!END_OF_HEADER\n"
    text = pick(
        random,
        (
            integrate(),
            samples.ASCII_HEADER + ascii_rows(13) + samples.END_OF_DATA,
            header + ascii_rows(10) + samples.END_OF_DATA,
        ),
    )
    return damaged_text(random, text, text.index("!END_OF_HEADER"))


def damaged_hklf4(random: Random) -> bytes:
    """HKLF 4, half of the time with direction cosines."""
    rows = sample()
    cosines = random.integers(2)
    text = ""
    for (h, k, l), i, s, phi, s1 in zip(
        rows["hkl"].tolist(), rows["i"], rows["sigma"], rows["phi"], rows["s1"], strict=True
    ):
        text += f"{h:4d}{k:4d}{l:4d}{i:8.2f}{s:8.2f}{1 + (phi > 30):4d}"
        if cosines:
            back = (samples.rotation([0, 0, 1], phi) @ rows["u"]).T
            p, u = back @ np.array([-1.0, 0, 0]), back @ (s1 * samples.WAVELENGTH)
            text += "".join(f"{a:8.5f}{b:8.5f}" for a, b in zip(p, u, strict=True))
        text += "\n"
    return damaged_text(random, text + "   0   0   0    0.00    0.00   0\n", 0)


def damaged_scalepack(random: Random) -> bytes:
    """SCALEPACK, unmerged."""
    rows = sample()
    operators = ("1 0 0 0 1 0 0 0 1", "1 0 0 0 -1 0 0 0 -1", "-1 0 0 0 1 0 0 0 -1", "-1 0 0 0 -1 0 0 0 1")
    text = "    4 p222\n"
    for line in operators:
        text += "".join(f"{int(word):3d}" for word in line.split()) + "\n  0  0  0\n"
    head = len(text)
    for (h, k, l), i, s, phi in zip(rows["hkl"].tolist(), rows["i"], rows["sigma"], rows["phi"], strict=True):
        unique = "".join(f"{abs(x):4d}" for x in (h, k, l))
        text += f"{h:4d}{k:4d}{l:4d}{unique}{int(phi) + 1:6d} 1 0  2{i:8.1f}{s:8.1f}\n"
    return damaged_text(random, text, head)


def damaged_stream(random: Random) -> bytes:
    """A stream of CrystFEL with six crystals."""
    rows = sample()
    geometry = (
        "CrystFEL stream format 2.3\n----- Begin geometry file -----\nres = 10000\nclen = 0.1\nmax_adu = 10000\n"
        "a/min_fs = 0\na/min_ss = 0\na/max_fs = 1999\na/max_ss = 1999\na/fs = x\na/ss = y\na/corner_x = -1000\n"
        "a/corner_y = -1000\n----- End geometry file -----\n"
    )
    text = geometry
    for n in range(6):
        turn = (samples.rotation([0, 0, 1], 10.0 * n + 5) @ rows["u"]).T * 10
        text += "----- Begin chunk -----\nImage filename: a.h5\nphoton_energy_eV = 13776.0\n"
        text += "average_camera_length = 0.1 m\n--- Begin crystal\n"
        for k, name in enumerate("abc"):
            star = turn[k] / samples.CELL[k]
            text += f"{name}star = {star[1]:+.7f} {star[2]:+.7f} {star[0]:+.7f} nm^-1\n"
        text += "lattice_type = orthorhombic\ncentering = P\nunique_axis = ?\nReflections measured after indexing\n"
        text += "   h    k    l          I   sigma(I)       peak background  fs/px  ss/px panel\n"
        for row in np.flatnonzero(np.abs(rows["phi"] - 10 * n - 5) < 5).tolist():
            h, k, l = rows["hkl"][row].tolist()
            text += f"{h:4d} {k:4d} {l:4d} {rows['i'][row]:10.2f} {rows['sigma'][row]:10.2f}     217.00      64.71"
            text += f" {rows['x'][row]:6.1f} {rows['y'][row]:6.1f} a\n"
        text += "End of reflections\n--- End crystal\n----- End chunk -----\n"
    return damaged_text(random, text, len(geometry) if random.integers(2) else 0)


def damaged_text(random: Random, text: str, head: int) -> bytes:
    """Words, columns, lines or bytes of a file that are others; half of the time before ``head``."""
    how = random.integers(10)
    if how == 0:
        return mutations.damaged_bytes(random, text.encode(), head=head)
    lines = text.splitlines(keepends=True)
    n_head = text.count("\n", 0, head)
    for _ in range(int(random.integers(1, 4))):
        n_head = min(n_head, len(lines))
        in_head = n_head and (n_head == len(lines) or random.integers(2))
        k = int(random.integers(n_head)) if in_head else int(random.integers(n_head, len(lines)))
        what = random.integers(8)
        if what < 4:
            lines[k] = _other_word(random, lines[k], k < n_head)
        elif what == 4:
            del lines[k]
        elif what == 5:
            lines[k:k] = lines[k : k + int(random.integers(1, 400))]
        elif what == 6 and random.integers(2):
            del lines[k + 1 :]
        else:
            _other_column(random, lines, max(n_head, 1), len(lines))
        if not lines:
            break
    return "".join(lines).encode("utf-8", "replace")


def _odd_word(random: Random, like: str) -> str:
    word = str(pick(random, (*REALS, *WHOLES, *ODD, *(t for t in TEXTS if len(t) < 99))))
    return word if random.random() < 0.3 else word[: len(like)].rjust(len(like))


def _other_word(random: Random, line: str, in_header: bool) -> str:
    """The line with another word, or with one less."""
    words = line.replace("=", "= ").split(" ") if in_header else line.split(" ")
    full = [k for k, word in enumerate(words) if word.strip()]
    if not full:
        return line
    k = pick(random, full)
    end = "\n" if words[k].endswith("\n") else ""
    if random.random() < 0.2:
        words[k] = end
    else:
        words[k] = _odd_word(random, words[k].rstrip("\n")) + end
    return " ".join(words)


def _other_column(random: Random, lines: list[str], first: int, last: int) -> None:
    """A number of characters of all rows that is the same everywhere."""
    width = len(lines[min(first, len(lines) - 1)]) if lines else 0
    if width < 12:
        return
    at = int(random.integers(width - 8))
    word = _odd_word(random, "12345678")[:8]
    some = random.integers(2)
    for k in range(min(first, len(lines)), min(last, len(lines))):
        if len(lines[k]) >= width - 2 and not (some and k % 3):
            lines[k] = lines[k][:at] + word + lines[k][at + len(word) :]
