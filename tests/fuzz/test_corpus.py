"""The fuzzers' targets over their corpus, so that both stay alive where no fuzzer is installed."""

from pathlib import Path

import pytest
from fuzz import reference
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SEEDS = sorted(CORPUS.glob("*/*"))


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("seed", SEEDS, ids=[f"{seed.parent.name}-{seed.name}" for seed in SEEDS])
def test_what_is_told_of_a_seed_is_what_the_reference_says(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_falls_when_the_reference_disagrees(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "credentials", lambda headers, prefixes: "another word")
    monkeypatch.setattr(reference, "is_public", lambda path, entries: len(entries) < 2)
    seed = {"header": b"authorization:Bearer x", "paths": b"/a\n\n/b"}[target]
    with pytest.raises(AssertionError):
        TARGETS[target](seed)
