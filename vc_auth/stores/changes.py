"""What a store tells of its changes, so that other processes forget what they remember."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """The key of this digest was added, changed or deleted."""

    digest: str


@dataclass(frozen=True, slots=True)
class ProjectChanged:
    """The project was added, changed or deleted: its plan, its suspension. It concerns all of its keys."""

    id: str


@dataclass(frozen=True, slots=True)
class Everything:
    """Changes were missed, so anything may have changed."""


Change = KeyChanged | ProjectChanged | Everything
