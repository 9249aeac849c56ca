"""``vc-auth projects``."""

from typing import Any

import click

from vc_auth import VCAuth
from vc_auth.cli.console import minute, moment, put, put_json, put_table, say, timestamp
from vc_auth.cli.groups import InOrder
from vc_auth.cli.lookup import find_project
from vc_auth.cli.session import Session, on_a_store
from vc_auth.records import Project

COLUMNS = ("name", "id", "plan", "status", "created (UTC)")


@click.group(cls=InOrder)
def projects() -> None:
    """Who keys belong to, and on which plan they are.

    PROJECT is a project's name, its id, or the beginning of its id (prj_ and at least 4 characters).
    """


@projects.command()
@click.argument("name")
@click.option("--plan", default="free", show_default=True, metavar="PLAN", help="The plan of all its keys.")
@on_a_store
def create(session: Session, name: str, plan: str) -> None:
    """Create a project; its id alone goes to stdout."""
    project = session.run(lambda auth: auth.registry.create_project(name, plan=plan), may_create=True)
    if session.as_json:
        put_json(project_as_json(project))
        return
    put(project.id)
    say(f"Project {project.name!r} is there, on plan {project.plan}.")


@projects.command("list")
@on_a_store
def list_(session: Session) -> None:
    """List all projects by their names."""
    found = session.run(lambda auth: auth.registry.list_projects())
    if session.as_json:
        put_json([project_as_json(project) for project in found])
    elif found:
        put_table(COLUMNS, [_row(project) for project in found])
    else:
        say("There are no projects yet. `vc-auth projects create NAME` makes one.")


@projects.command()
@click.argument("project")
@on_a_store
def suspend(session: Session, project: str) -> None:
    """Answer all keys of a project 401 until it is resumed."""

    async def work(auth: VCAuth) -> Project:
        return await auth.registry.suspend_project(await find_project(auth, project))

    changed = session.run(work)
    _tell(session, changed, f"has been suspended since {moment(changed.suspended_at)}: its keys are answered 401")


@projects.command()
@click.argument("project")
@on_a_store
def resume(session: Session, project: str) -> None:
    """Let the keys of a suspended project work again."""

    async def work(auth: VCAuth) -> Project:
        return await auth.registry.resume_project(await find_project(auth, project))

    _tell(session, session.run(work), "is not suspended: its keys work")


@projects.command()
@click.argument("project")
@click.argument("plan")
@on_a_store
def plan(session: Session, project: str, plan: str) -> None:
    """Put a project on another plan. What its keys have spent stays spent."""

    async def work(auth: VCAuth) -> Project:
        return await auth.registry.change_plan(await find_project(auth, project), plan)

    changed = session.run(work)
    _tell(session, changed, f"is on plan {changed.plan}")


def project_as_json(project: Project) -> dict[str, Any]:
    """A project for programs. ``status`` is active or suspended."""
    return {
        "id": project.id,
        "name": project.name,
        "plan": project.plan,
        "status": _status(project),
        "created_at": timestamp(project.created_at),
        "suspended_at": timestamp(project.suspended_at),
    }


def _tell(session: Session, project: Project, news: str) -> None:
    if session.as_json:
        put_json(project_as_json(project))
    else:
        say(f"Project {project.name!r} ({project.id}) {news}.")


def _row(project: Project) -> tuple[str, ...]:
    return project.name, project.id, project.plan, _status(project), minute(project.created_at)


def _status(project: Project) -> str:
    return "active" if project.suspended_at is None else "suspended"
