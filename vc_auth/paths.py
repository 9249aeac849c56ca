"""Which paths are public."""

import re
from collections.abc import Iterable

# What a router, a proxy or a file system behind us might read as another path than the one that is compared here.
_ambiguous = re.compile(r"\.\.|//|[\\;%?#\x00]").search


class PublicPaths:
    """Paths that need no key, compared exactly, case and all; ``/docs/*`` is /docs and everything below it."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._exact = frozenset(entry for entry in entries if not entry.endswith("/*"))
        self._trees = tuple(entry.removesuffix("/*") for entry in entries if entry.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        return path in self._exact or (bool(self._trees) and self._is_in_a_tree(path))

    def _is_in_a_tree(self, path: str) -> bool:
        return any(path == tree or path.startswith(tree + "/") for tree in self._trees) and not _ambiguous(path)


def problem_with(entry: str) -> str | None:
    """What is wrong with an entry of ``public_paths``, or None."""
    tree = entry.removesuffix("/*")
    if not entry.startswith("/"):
        return f"{entry!r} does not start with '/'"
    if not tree:
        return f"{entry!r} would make every path public"
    if "*" in tree or (tree != entry and (tree.endswith("/") or _ambiguous(tree))):
        return f"{entry!r} can never match"
    return None
