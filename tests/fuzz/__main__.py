"""Fuzz one target for a while, from its corpus on.

::

    python -m fuzz header /tmp/found      a minute, or VC_AUTH_FUZZ_SECONDS; in the folder `tests`

What is found goes to the folder that is given: inputs that reach new code, and the one that ends the run.
"""

import os
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import atheris  # type: ignore[import-untyped]  # it has no types

with atheris.instrument_imports(include=["fuzz.reference", "vc_auth.keys", "vc_auth.paths"]):
    from fuzz.targets import TARGETS

SIGNS: Final = (string.punctuation + string.whitespace).encode()


def main(target: str, found: str) -> None:
    """Never returns: libFuzzer ends the process, with 0 if nothing fell."""
    Path(found).mkdir(parents=True, exist_ok=True)
    corpus = Path(__file__).parent / "corpus" / target
    seeds = [seed.read_bytes() for seed in sorted(corpus.iterdir())]

    def mutate(data: bytes, size: int, number: int) -> bytes:
        # libFuzzer's changes add up, and soon nothing is left that is almost right: so every other input is.
        return atheris.Mutate(data, size) if number % 2 else one_byte_off(seeds, Random(number))

    seconds = os.environ.get("VC_AUTH_FUZZ_SECONDS", "60")
    limits = [f"-max_total_time={seconds}", "-max_len=8192", f"-artifact_prefix={found}/"]
    arguments = [sys.argv[0], *limits, "-print_final_stats=1", found, str(corpus)]
    atheris.Setup(arguments, TARGETS[target], custom_mutator=mutate)
    atheris.Fuzz()


def one_byte_off(seeds: Sequence[bytes], random: Random) -> bytes:
    """One of the seeds, with one byte put in, taken out or exchanged; half of them by a sign that means something."""
    seed = random.choice(seeds)
    at = random.randrange(len(seed) + 1)
    byte = bytes([random.choice((random.choice(SIGNS), random.randrange(256)))])
    return seed[:at] + byte * random.randrange(2) + seed[at + random.randrange(2) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
