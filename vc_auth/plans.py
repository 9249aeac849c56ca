"""Plans: what a project may send. Source of the three: the published price list of the documented API."""

import re
from dataclasses import dataclass
from typing import Final

from vc_auth.rates import Rate


@dataclass(frozen=True, slots=True, init=False)
class Plan:
    """A name of ``[a-z0-9_-]{1,64}`` and a rate: ``Plan("free", rate="60/minute", burst=100)``.

    Raises ValueError if the name or the rate cannot be. See `vc_auth.rates.Rate` for what a rate may look like.
    """

    name: str
    rate: Rate

    def __init__(self, name: str, *, rate: str, burst: int) -> None:
        if not _is_name(name):
            raise ValueError(f"plan name {name!r} is not 1 to 64 of a-z, 0-9, '_' and '-'")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "rate", Rate(rate, burst))

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, rate={self.rate.limit!r}, burst={self.rate.burst})"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z0-9_-]{1,64}", name) is not None


FREE: Final = Plan("free", rate="60/minute", burst=100)
PRO: Final = Plan("pro", rate="600/minute", burst=1_000)
ENTERPRISE: Final = Plan("enterprise", rate="6000/minute", burst=10_000)
