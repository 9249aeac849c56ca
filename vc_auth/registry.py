"""Projects and keys, from creation to deletion. A few calls a day: every one checks its input and writes once."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from vc_auth.addresses import parse_network
from vc_auth.clock import Clock, utcnow
from vc_auth.errors import InvalidInput
from vc_auth.keys import KeyFormat, Secret
from vc_auth.plans import Plan
from vc_auth.records import KeyRecord, Network, Project, Scopes
from vc_auth.stores import KeyStore

LONGEST_NAME: Final = 100
PROJECT_ID_PREFIX: Final = "prj_"
KEY_ID_PREFIX: Final = "key_"
GRACE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. ``secret.reveal()`` is the plain key; it is stored nowhere, so now or never."""

    record: KeyRecord
    secret: Secret


class Registry:
    """The management of projects and keys. Arguments called ``project`` take a Project, its id or its name.

    Every method raises InvalidInput for what cannot be, NotFound, and Conflict; then nothing was written. BackendError
    (or what the store raises) leaves the outcome unknown; all methods but the creating ones can simply be called again.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        plans: Mapping[str, Plan],
        key_format: KeyFormat,
        known_scopes: Iterable[str],
        default_scopes: Iterable[str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._plans = plans
        self._key_format = key_format
        self._known_scopes = Scopes(known_scopes)
        self._default_scopes = Scopes(default_scopes)
        self._now = partial(utcnow, clock)

    # -- projects ------------------------------------------------------------------------------------------------------

    async def create_project(self, name: str, *, plan: str = "free") -> Project:
        """A new project. The name is 1 to 100 printable characters without quotes, and no other project's."""
        _check_name("project name", name)
        if name.startswith(PROJECT_ID_PREFIX):
            raise InvalidInput(f"project name {name!r} looks like an id; do not begin it with {PROJECT_ID_PREFIX!r}")
        self._check_plan(plan)
        project = Project(_new_id(PROJECT_ID_PREFIX), name, plan, created_at=self._now())
        await self._store.add_project(project)
        return project

    async def get_project(self, project: Project | str) -> Project:
        """The project as it is now."""
        return await self._store.get_project(project if isinstance(project, str) else project.id)

    async def list_projects(self) -> list[Project]:
        """All projects by their names."""
        return await self._store.list_projects()

    async def change_plan(self, project: Project | str, plan: str) -> Project:
        """Put the project on another plan. What its keys have spent stays spent, as far as the new burst holds it."""
        self._check_plan(plan)
        return await self._store.set_plan((await self.get_project(project)).id, plan)

    async def suspend_project(self, project: Project | str) -> Project:
        """Answer all of the project's keys 401 until it is resumed. Suspending twice changes nothing."""
        return await self._store.set_suspended((await self.get_project(project)).id, self._now())

    async def resume_project(self, project: Project | str) -> Project:
        """Let the keys of a suspended project work again."""
        return await self._store.set_suspended((await self.get_project(project)).id, None)

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def create_key(
        self,
        project: Project | str,
        name: str,
        *,
        scopes: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        allowed_networks: Iterable[str | Network] | None = None,
    ) -> NewKey:
        """A new key of the project.

        ``scopes``: None is the default of the settings, an empty set allows nothing. ``expires_in``: None is never.
        ``allowed_networks``: CIDR form, such as "10.0.0.0/8"; None is anywhere.
        """
        secret = self._key_format.generate()
        record = await self._record(project, name, secret.digest, secret.display, scopes, expires_in, allowed_networks)
        await self._store.add_key(record)
        return NewKey(record, secret)

    async def import_key(
        self,
        project: Project | str,
        name: str,
        *,
        digest: str,
        display: str = "",
        scopes: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        allowed_networks: Iterable[str | Network] | None = None,
    ) -> KeyRecord:
        """Take over a key that exists elsewhere, by its digest (see `vc_auth.keys.digest`); else like `create_key`."""
        if not (len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise InvalidInput(
                "the digest is not 64 lower-case hexadecimal characters; make it with vc_auth.keys.digest"
            )
        record = await self._record(project, name, digest, display, scopes, expires_in, allowed_networks)
        await self._store.add_key(record)
        return record

    async def get_key(self, key_id: str) -> KeyRecord:
        """The key as it is now, with its project."""
        return await self._store.get_key(key_id)

    async def list_keys(self, project: Project | str) -> list[KeyRecord]:
        """All keys of the project, the oldest first, also dead ones."""
        return await self._store.list_keys((await self.get_project(project)).id)

    async def revoke_key(self, key_id: str) -> KeyRecord:
        """Refuse the key from the next request on, for ever. Revoking twice changes nothing."""
        return await self._store.revoke_key(key_id, self._now())

    async def rotate_key(self, key_id: str, *, grace: timedelta = GRACE) -> NewKey:
        """A successor with the same name, project, scopes and networks; the old key dies after ``grace`` (0: at once).

        Both share a bucket. The successor lives as long as the old key was made to live, counted from now. Raises
        Conflict if the old key is revoked or expired, or was rotated already; the sentence names its successor.
        """
        if grace < timedelta(0):
            raise InvalidInput(f"a grace of {grace} lies in the past; give 0 or more")
        old, now, secret = await self._store.get_key(key_id), self._now(), self._key_format.generate()
        lifetime = old.expires_at - old.created_at if old.expires_at and old.created_at else None
        successor = replace(
            old,
            id=_new_id(KEY_ID_PREFIX),
            digest=secret.digest,
            display=secret.display,
            created_at=now,
            expires_at=_later("the successor's life", now, lifetime),
            replaces=old.id,
        )
        dies_at = _later("the grace", now, grace)
        await self._store.replace_key(key_id, successor, now, dies_at or now)
        return NewKey(successor, secret)

    async def delete_key(self, key_id: str) -> None:
        """Remove a revoked or expired key. Raises Conflict while it is active."""
        await self._store.delete_key(key_id, self._now())

    # -- what can be ---------------------------------------------------------------------------------------------------

    async def _record(
        self,
        project: Project | str,
        name: str,
        digest: str,
        display: str,
        scopes: Iterable[str] | None,
        expires_in: timedelta | None,
        allowed_networks: Iterable[str | Network] | None,
    ) -> KeyRecord:
        _check_name("key name", name)
        if expires_in is not None and expires_in <= timedelta(0):
            raise InvalidInput(f"a life of {expires_in} is over before it begins; give more than 0, or None for no end")
        granted = self._default_scopes if scopes is None else self._check_scopes(scopes)
        networks = None if allowed_networks is None else _check_networks(allowed_networks)
        now = self._now()
        return KeyRecord(
            id=_new_id(KEY_ID_PREFIX),
            digest=digest,
            project=await self.get_project(project),
            name=name,
            display=display,
            scopes=granted,
            allowed_networks=networks,
            created_at=now,
            expires_at=_later("the key's life", now, expires_in),
        )

    def _check_plan(self, plan: str) -> None:
        if plan not in self._plans:
            raise InvalidInput(f"no plan {plan!r}; the settings know {', '.join(sorted(self._plans))}")

    def _check_scopes(self, scopes: Iterable[str]) -> Scopes:
        if isinstance(scopes, str):
            raise InvalidInput(f"scopes={scopes!r} is one string; give a list of scopes, such as [{scopes!r}]")
        granted = Scopes(scopes)
        # Not `in`: a wildcard that is known does not make every scope below it known.
        if unknown := sorted(frozenset(granted) - frozenset(self._known_scopes)):
            known = ", ".join(sorted(self._known_scopes))
            raise InvalidInput(f"unknown scope {unknown[0]!r}; the settings know {known}")
        return granted


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(8)


def _later(what: str, now: datetime, span: timedelta | None) -> datetime | None:
    try:
        return None if span is None else now + span
    except OverflowError:
        raise InvalidInput(f"{what} of {span} ends after the year 9999; give a shorter one") from None


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(f"a {what} is a text of 1 to {LONGEST_NAME} characters")
    if not name.isprintable() or name != name.strip() or any(quote in name for quote in "\"'`\\"):
        raise InvalidInput(
            f"{what} {name!r} has a control character, a quote, a backslash, or a space at an end; use other characters"
        )


def _check_networks(networks: Iterable[str | Network]) -> tuple[Network, ...]:
    if isinstance(networks, str):
        raise InvalidInput(f"allowed_networks={networks!r} is one string; give a list, such as [{networks!r}]")
    try:
        checked = tuple(parse_network(str(network)) for network in networks)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    if not checked:
        raise InvalidInput("allowed_networks is empty, so the key could be used nowhere; give None for anywhere")
    return checked
