"""What is meant by what somebody typed: a project's name or id, a key's id, or the beginning of an id."""

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from vc_auth import VCAuth
from vc_auth.cli.key_views import KeyView
from vc_auth.clock import utcnow
from vc_auth.errors import InvalidInput, NotFound
from vc_auth.records import KeyRecord, KeyTotals, Project
from vc_auth.registry import KEY_ID_PREFIX, PROJECT_ID_PREFIX

T = TypeVar("T", KeyRecord, Project)

SHORTEST: Final = 4  # characters of an id, not counting its prefix
MOST_CANDIDATES: Final = 8


async def find_project(auth: VCAuth, ref: str) -> Project:
    """The project of this name or id, or the one whose id begins so.

    A shortened id needs its ``prj_``: the name of a project that is gone must not hit another's id. Raises
    InvalidInput for a whole key, NotFound if nothing or more than one thing is meant.
    """
    _refuse_whole_key(auth, ref)
    try:
        return await auth.registry.get_project(ref)
    except NotFound:
        if not ref.startswith(PROJECT_ID_PREFIX) or len(ref) < len(PROJECT_ID_PREFIX) + SHORTEST:
            raise
    found = [project for project in await auth.registry.list_projects() if project.id.startswith(ref)]
    return _the_only("project", ref, found)


async def find_key(auth: VCAuth, ref: str) -> KeyRecord:
    """The key of this id, or the one whose id begins so, with or without ``key_``.

    A whole id is one indexed read. A store has no verb for searching, so a shortened one reads all projects and all
    their keys: one query for each project. Raises InvalidInput for a whole key, which has no business in a shell's
    history, and for less than 4 characters; NotFound if nothing or more than one thing is meant.
    """
    _refuse_whole_key(auth, ref)
    try:
        return await auth.registry.get_key(ref)
    except NotFound:
        stem = ref.removeprefix(KEY_ID_PREFIX)
        if len(stem) < SHORTEST:
            raise InvalidInput(f"key id {ref!r} is too short; give at least {SHORTEST} characters of it") from None
    beginnings = (ref, KEY_ID_PREFIX + ref)
    records = [
        record
        for project in await auth.registry.list_projects()
        for record in await auth.registry.list_keys(project)
        if record.id.startswith(beginnings)
    ]
    return _the_only("key", ref, records)


async def view_key(auth: VCAuth, ref: str) -> KeyView:
    """The key that `find_key` finds, and what it was used for."""
    record = await find_key(auth, ref)
    totals = await auth.registry.key_totals(record.project, key_id=record.id)
    return KeyView(record, totals.get(record.id, KeyTotals()), utcnow(auth.clock))


async def view_keys(auth: VCAuth, projects: Sequence[Project]) -> list[KeyView]:
    """The keys of these projects, the oldest of each first, and what they were used for."""
    views: list[KeyView] = []
    for project in projects:
        records, totals = await auth.registry.list_keys(project), await auth.registry.key_totals(project)
        now = utcnow(auth.clock)
        views += [KeyView(record, totals.get(record.id, KeyTotals()), now) for record in records]
    return views


def _the_only(what: str, ref: str, found: Sequence[T]) -> T:
    if not found:
        raise NotFound(f"no {what} {ref!r}; `vc-auth {what}s list` shows their ids")
    if len(found) > 1:
        candidates = [_candidate(one) for one in found[:MOST_CANDIDATES]]
        if (more := len(found) - len(candidates)) > 0:
            candidates.append(f"and {more} more")
        raise NotFound(f"{ref!r} could be any of {len(found)} {what}s: {', '.join(candidates)}; give more of the id")
    return found[0]


def _candidate(one: KeyRecord | Project) -> str:
    return (
        f"{one.id} ({one.name!r})" if isinstance(one, Project) else f"{one.id} ({one.name!r} of {one.project.name!r})"
    )


def _refuse_whole_key(auth: VCAuth, ref: str) -> None:
    prefixes = "|".join(map(re.escape, auth.settings.key_prefixes))
    if re.fullmatch(rf"(?:{prefixes})[0-9a-f]{{32}}", ref.strip(), re.IGNORECASE):
        raise InvalidInput(
            "this is a whole key, and now it may stand in your shell's history; give the key's id instead,"
            " which `vc-auth keys list` shows"
        )
