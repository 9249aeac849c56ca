"""What the guard and the registry need of a store. `vc_auth.testing.KeyStoreContract` is the same in tests."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol, runtime_checkable

from vc_auth.records import KeyRecord, KeyTotals, Project, Usage, UsageBatch
from vc_auth.stores.changes import Change


class KeyFinder(Protocol):
    """All that the guard needs: your own table is a store with this one method."""

    async def find(self, digest: str) -> KeyRecord | None:
        """The record of this digest, alive or not, with its project as it is now; None if there is none.

        Whatever it raises is answered 503, so raise when you cannot know.
        """


@runtime_checkable
class KeyStore(KeyFinder, Protocol):
    """What management needs besides. Every verb happens wholly or not at all, also with others at work.

    Verbs that change something return only when the change lasts. They raise NotFound and Conflict as they say, and
    BackendError (or anything else) when the outcome is unknown.
    """

    async def add_project(self, project: Project) -> None:
        """Raises Conflict if the id or the name is taken."""

    async def get_project(self, ref: str) -> Project:
        """The project of this id or name. Raises NotFound."""

    async def list_projects(self) -> list[Project]:
        """All projects by their names."""

    async def set_plan(self, project_id: str, plan: str) -> Project:
        """Change the project's plan, and nothing else of it. Raises NotFound."""

    async def set_suspended(self, project_id: str, at: datetime | None) -> Project:
        """Suspend the project's keys; None resumes them. Suspended twice, the first time stays. Raises NotFound."""

    async def add_key(self, record: KeyRecord) -> None:
        """Raises NotFound if there is no such project, Conflict if the id or digest is taken."""

    async def get_key(self, key_id: str) -> KeyRecord:
        """Raises NotFound."""

    async def list_keys(self, project_id: str) -> list[KeyRecord]:
        """All keys of a project, the oldest first. Raises NotFound if there is no such project."""

    async def revoke_key(self, key_id: str, at: datetime) -> KeyRecord:
        """Revoke for ever. Revoked twice, the first time stays. Raises NotFound."""

    async def replace_key(self, key_id: str, successor: KeyRecord, at: datetime, dies_at: datetime) -> None:
        """Add the successor and let the old key expire at ``dies_at``, or when it would anyway if that is sooner.

        Raises NotFound, or Conflict if the old key is not active at ``at``, or has a successor already (names it).
        """

    async def delete_key(self, key_id: str, at: datetime) -> None:
        """Raises NotFound, or Conflict if the key is still active at ``at``."""


@runtime_checkable
class UsageStore(Protocol):
    """A store that keeps usage, too. `vc_auth.testing.UsageStoreContract` is the same in tests.

    Nothing here can change a record: a worker that has slept for a week may add what it counted, and that is all.
    """

    async def add_usage(self, batch: UsageBatch) -> None:
        """Add the batch to each key, hour and project, wholly and once.

        A batch whose ``seq`` is not above that of its worker's last one was added already, and changes nothing; what it
        was is remembered for a month of the worker's silence at least. Keys that are deleted, or were never there,
        count for their project all the same. Raises BackendError (or anything else) when the outcome is unknown.
        """

    async def usage_by_hour(self, project_id: str, key_id: str | None, since: datetime, until: datetime) -> list[Usage]:
        """The hours that begin at ``since`` or later and before ``until``, in their order; idle ones are left out.

        Of one key of the project, also of a deleted one; None is all of them together. Nothing for what is not there.
        """

    async def key_totals(self, project_id: str, key_id: str | None = None) -> dict[str, KeyTotals]:
        """What the project's keys (None), or one of them, were used for, by their ids; unused ones are left out."""


@runtime_checkable
class TellsChanges(Protocol):
    """A store that others change as well, and that tells what they changed."""

    def changes(self) -> AsyncGenerator[list[Change], None]:
        """What changes from now on, in batches, for as long as it is iterated; close it with ``aclose()``.

        The first batch is empty: what is committed after it is told, what was committed before it is not. So whoever
        comes back after a break distrusts all that he remembers from before the first batch. Batches come at least
        every 250 ms while the store answers; an empty one is a heartbeat: nothing changed. A change is told after it
        lasts, at least once. Raises BackendError when the store does not answer; then call `changes` again.
        """


@runtime_checkable
class HasLifetime(Protocol):
    """A store or limiter with connections. It opens itself when used; opening it before shows early what is wrong."""

    async def open(self) -> None:
        """Raises StoreError or LimiterError for what somebody has to mend, any other BackendError for what may pass."""

    async def aclose(self) -> None:
        """Close all connections. The next use opens anew."""
