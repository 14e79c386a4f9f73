"""Puts the integrated intensities of a diffraction experiment on one common scale.

>>> import braggscale as bs
>>> run = bs.scale(bs.read("integrated.expt", "integrated.refl"), d_min=1.2)
>>> run.write("scaled.expt", "scaled.refl")
"""

__version__ = "0.7.1"

_API = ("Component", "Curve", "Data", "MergedData", "ObservationTable", "Report", "Run", "read", "scale")
_ERRORS = ("CommandError", "DataError", "InputError", "OutputError", "UserError")

__all__ = ["__version__", *_API, *_ERRORS]


def __getattr__(name: str) -> object:
    """A public name of the package, imported when it is first used (PEP 562): numpy and numba take a second."""
    if name not in __all__:
        raise AttributeError(f"module 'braggscale' has no attribute {name!r}")
    import importlib

    module = importlib.import_module("braggscale.errors" if name in _ERRORS else "braggscale.api")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
