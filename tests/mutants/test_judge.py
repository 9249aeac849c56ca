"""The judge of mutants, and its list of survivors."""

from pathlib import Path

import pytest
from mutants.judge import KNOWN, Mutant, change, listed, place, report

import vc_auth

SOURCE = Path(vc_auth.__file__).parent
DIFF = """\
# vc_auth.cache.xǁReadThroughCacheǁpeek__mutmut_7: survived
--- vc_auth/cache.py
+++ vc_auth/cache.py
@@ -1,3 +1,3 @@
 def peek(self, key: str) -> V | None:
-    if entry is None:
+    if entry is not None:
         return None
"""
PEEK = Mutant("vc_auth.cache.ReadThroughCache.peek", "if entry is None:", "if entry is not None:")


def test_a_mutant_is_known_by_its_place_and_its_lines() -> None:
    assert change("vc_auth.cache.xǁReadThroughCacheǁpeek__mutmut_7", DIFF) == PEEK
    assert place("vc_auth.rates.x_token_bucket__mutmut_12") == "vc_auth.rates.token_bucket"
    assert place("vc_auth.cache.xǁ_Flightǁ__init____mutmut_1") == "vc_auth.cache._Flight.__init__"


@pytest.mark.parametrize(
    ("killed", "survivors", "known", "good"),
    [
        (100, set(), set(), True),
        (95, {PEEK}, {PEEK}, True),
        (94, {PEEK}, {PEEK}, False),
        (95, {PEEK}, set(), False),
        (95, set(), {PEEK}, False),
    ],
)
def test_a_run_is_good_if_enough_were_killed_and_exactly_the_listed_ones_survived(
    killed: int, survivors: set[Mutant], known: set[Mutant], good: bool
) -> None:
    fates = {f"vc_auth.cache.x_f__mutmut_{number}": ("survived", "killed")[number < killed] for number in range(100)}
    lines, verdict = report(fates, survivors, known)
    assert verdict is good
    assert lines[0] == f"vc_auth.cache: 100 mutants, {killed} killed"
    assert sum("peek" in line for line in lines) == (survivors != known)


def test_one_that_was_not_tried_is_not_killed() -> None:
    assert not report({"vc_auth.cache.x_f__mutmut_1": "not checked"}, set(), set())[1]


def test_every_survivor_has_a_reason() -> None:
    with pytest.raises(ValueError, match="no reason is given"):
        list(listed('[[survivors]]\nwhy = " "\nmutants = []'))


def test_every_listed_survivor_is_a_change_of_lines_that_are_there() -> None:
    for mutant in listed(KNOWN.read_text()):
        module = SOURCE / f"{mutant.where.split('.')[1]}.py"
        lines = " ".join(line.strip() for line in module.read_text().splitlines())
        assert mutant.was in lines, f"{mutant} is out of date"
