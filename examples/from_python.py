"""Scale the example from Python: look at a curve, leave bad images out, scale again, compare, go on elsewhere.

Run it as ``python examples/from_python.py``; the files that it writes go to the folder that you are in.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

import braggscale as bs

EXAMPLE = Path(__file__).parent


def main() -> None:
    data = bs.read(EXAMPLE / "simulated.expt", EXAMPLE / "simulated.refl")
    print(data)

    # options have the names of the command
    first = bs.scale(data, d_min=1.6)
    print(first)

    # how the scale of each sweep changes along its images
    for component in first.components("scale"):
        curve = component.curve()
        print(f"data set {component.data_set}: scale {curve.value.min():.2f} to {curve.value.max():.2f}")

    # outliers by image: something went wrong at the end of the second sweep
    seen = first.observations
    late = (seen.data_set == "1") & (seen.image >= 205)
    print(f"outliers: {seen.outlier[late].mean():.1%} of the last images, {seen.outlier[~late].mean():.1%} elsewhere")

    # without these images, beginning where the first run ended
    second = bs.scale(data.without(images="1:205:240"), d_min=1.6, start=first)
    for name, run in (("all images", first), ("without the last 36", second)):
        overall = run.statistics.overall
        print(f"{name}: R_meas {overall.r_meas:.4f}, CC1/2 {overall.cc_half:.5f}")

    # merged intensities as arrays; how far do the two runs agree?
    before, after = first.merge(), second.merge()
    known = {tuple(hkl): value for hkl, value in zip(before.hkl.tolist(), before.intensity, strict=True)}
    pairs = np.array([(known[tuple(h)], i) for h, i in zip(after.hkl.tolist(), after.intensity, strict=True)])
    print(f"correlation of the merged intensities: {np.corrcoef(pairs.T)[0, 1]:.5f}")

    # files: for DIALS, for other programs, and a page to look at
    second.write("scaled.expt", "scaled.refl")
    second.export(merged_mtz="merged.mtz")
    second.report(compare=first).save("scale.html")

    # data frames, where pandas is installed
    if importlib.util.find_spec("pandas"):
        frame = seen.to_pandas()
        print(frame.groupby("data_set")[["scale", "outlier"]].mean())
    if importlib.util.find_spec("reciprocalspaceship"):
        import reciprocalspaceship

        print(reciprocalspaceship.DataSet.from_gemmi(second.merge(anomalous=True).to_gemmi()).head())


if __name__ == "__main__":
    main()
