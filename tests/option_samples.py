"""Options as a user types them."""

from braggscale.models.choice import ModelRequest
from braggscale.models.settings import SweepFacts
from braggscale.options.assignments import Settings, settle
from braggscale.options.phil import read_argument
from braggscale.options.schema import Options
from braggscale.scaling.plan import model_request

SWEEP = SweepFacts("0", False, 180.0, 40.0)


def read(*arguments: str) -> tuple[Settings, list[str]]:
    return settle([(read_argument(argument), True) for argument in arguments])


def request(*arguments: str) -> ModelRequest:
    """What these arguments say about models."""
    return model_request(options(*arguments))


def options(*arguments: str) -> Options:
    found, problems = read(*arguments)
    assert problems == []
    return found.options
