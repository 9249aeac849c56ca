"""What the long runs have to say, for people to read: printed, and kept where `tox -e soak` asks for it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = os.environ.get("VC_AUTH_TEST_REPORTS")


@pytest.fixture(scope="session", autouse=True)
def suite_watch() -> None:
    """No watch over secrets here: its own time and memory would be what is measured."""


@pytest.fixture(autouse=True)
def watch() -> None:
    """See above."""


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Say a line. All of them become a file named like the test's module, in VC_AUTH_TEST_REPORTS."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)  # noqa: T201  # people look on for ten minutes

    yield say
    if FOLDER is not None:
        folder = Path(FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{request.path.stem.removeprefix('test_')}.txt").write_text("\n".join(lines) + "\n")
