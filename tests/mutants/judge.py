"""Judge a run of mutmut: the share that the tests killed, and whether every survivor is known, with a reason.

::

    mutmut run
    python tests/mutants/judge.py

Run it where `mutmut run` left its folder `mutants`. It fails below 95 %, on a survivor that is not in survivors.toml,
and on an entry of that file that did not survive.
"""

import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ENOUGH: Final = 0.95
KNOWN: Final = Path(__file__).with_name("survivors.toml")
KILLED: Final = frozenset(("killed", "timeout"))  # one that hangs was noticed

_fates = re.compile(r"^\s+(\S+): (.+)$", re.MULTILINE).findall
_changed = re.compile(r"^([-+])(?![-+]{2} )\s*(.*)$", re.MULTILINE).findall
_mangled = re.compile(r"x_|xǁ|__mutmut_\d+$").sub


class Mutant(NamedTuple):
    """The change of one function: the lines that were, and the lines that are, without their indentation."""

    where: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.where}\n    was = {self.was!r}\n    now = {self.now!r}"


def place(name: str) -> str:
    """Where mutmut's mutant of this name is: ``vc_auth.cache.ReadThroughCache.peek``."""
    return _mangled("", name).replace("ǁ", ".")


def change(name: str, diff: str) -> Mutant:
    """What mutmut's diff of the mutant of this name says."""
    lines = _changed(diff)
    was, now = (" ".join(line for sign, line in lines if sign == side) for side in "-+")
    return Mutant(place(name), was, now)


def listed(text: str) -> Iterator[Mutant]:
    """The mutants in the text of survivors.toml. Raises ValueError for a group without a reason."""
    for group in tomllib.loads(text)["survivors"]:
        if not group["why"].strip():
            raise ValueError(f"no reason is given for {group['mutants']}")
        for mutant in group["mutants"]:
            yield Mutant(**mutant)


def report(fates: Mapping[str, str], survivors: set[Mutant], known: set[Mutant]) -> tuple[list[str], bool]:
    """What is to be said of a run, line by line, and whether it is good."""
    modules = {name: ".".join(name.split(".")[:2]) for name in fates}
    total, killed = Counter(modules.values()), Counter(modules[name] for name in fates if fates[name] in KILLED)
    lines = [f"{module}: {total[module]} mutants, {killed[module]} killed" for module in sorted(total)]
    lines += [f"survived, and nobody knows why: {mutant}" for mutant in sorted(survivors - known)]
    lines += [f"listed, but killed or gone: {mutant}" for mutant in sorted(known - survivors)]
    share = killed.total() / total.total()
    lines.append(f"{killed.total()} of {total.total()} killed: {share:.1%}; {ENOUGH:.0%} is enough")
    return lines, share >= ENOUGH and survivors == known


def main() -> int:
    fates = dict(_fates(_mutmut("results", "--all", "true")))
    survivors = {change(name, _mutmut("show", name)) for name, fate in fates.items() if fate not in KILLED}
    lines, good = report(fates, survivors, set(listed(KNOWN.read_text())))
    print(*lines, sep="\n")  # noqa: T201  # a command line's output
    return 0 if good else 1


def _mutmut(*arguments: str) -> str:
    run = subprocess.run([sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True, check=True)
    return run.stdout


if __name__ == "__main__":
    sys.exit(main())
