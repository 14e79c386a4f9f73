"""The papers whose methods a run used, for the end of the log; CITATION.cff has them with their titles."""

from __future__ import annotations

from collections.abc import Collection

# By the name of a kind of model.
MODEL_PAPERS = {
    "physical": "Beilsten-Edmands et al. (2020) Acta Cryst. D76, 385",
    "KB": "Beilsten-Edmands et al. (2020) Acta Cryst. D76, 385",
    "dose_decay": "Beilsten-Edmands et al. (2020) Acta Cryst. D76, 385",
    "array": "Kabsch (2010) Acta Cryst. D66, 133",
}
LEAST_SQUARES = "Hamilton, Rollett & Sparks (1965) Acta Cryst. 18, 129"
STRENGTHS = "Wood & Fasiolo (2017) Biometrics 73, 1071"
ERROR_MODEL = "Evans & Murshudov (2013) Acta Cryst. D69, 1204"
CC_HALF = "Karplus & Diederichs (2012) Science 336, 1030"
R_MEAS = "Diederichs & Karplus (1997) Nat. Struct. Biol. 4, 269"


def papers(kinds: Collection[str], estimated: bool, has_error_model: bool) -> list[tuple[str, str]]:
    """The papers to cite, in the order of the run: (method, paper).

    ``kinds``: of models that data sets have.  ``estimated``: whether strengths of restraints were estimated.
    ``has_error_model``: whether an error model was fitted.
    """
    found = [("least squares", LEAST_SQUARES)]
    for paper in dict.fromkeys(MODEL_PAPERS[kind] for kind in sorted(kinds) if kind in MODEL_PAPERS):
        found.append((f"{' and '.join(k for k in sorted(kinds) if MODEL_PAPERS.get(k) == paper)} model", paper))
    if estimated:
        found.append(("estimated restraints", STRENGTHS))
    if has_error_model:
        found.append(("error model", ERROR_MODEL))
    return [*found, ("CC1/2", CC_HALF), ("R_meas", R_MEAS)]
