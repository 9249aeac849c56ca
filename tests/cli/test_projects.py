"""``vc-auth projects``."""

import re

import pytest
from shell import Shell


def test_a_new_projects_id_stands_alone_on_stdout(shell: Shell) -> None:
    result = shell("projects", "create", "Müller & Söhne")
    assert result.exit_code == 0
    assert re.fullmatch(r"prj_[0-9a-f]{16}\n", result.stdout)
    assert result.stderr == "Project 'Müller & Söhne' is there, on plan free.\n"


def test_projects_are_listed_by_their_names(shell: Shell) -> None:
    ids = [shell.done("projects", "create", name) for name in ("zebra", "acme")]
    shell.done("projects", "suspend", "zebra")
    assert shell.done("projects", "list").splitlines() == [
        "name   id                    plan  status     created (UTC)",
        f"acme   {ids[1]}  free  active     2026-01-01 00:00",
        f"zebra  {ids[0]}  free  suspended  2026-01-01 00:00",
    ]


def test_without_projects_the_list_says_how_to_make_one(acme: Shell) -> None:
    acme.by_hand("DELETE FROM projects")
    result = acme("projects", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "There are no projects yet. `vc-auth projects create NAME` makes one.\n"
    assert acme.json("projects", "list") == []


def test_programs_get_the_whole_project(shell: Shell) -> None:
    made = shell.json("projects", "create", "acme", "--plan", "pro")
    assert made == {
        "id": made["id"],
        "name": "acme",
        "plan": "pro",
        "status": "active",
        "created_at": "2026-01-01T00:00:00Z",
        "suspended_at": None,
    }
    assert shell.json("projects", "list") == [made]
    shell.clock.advance(us=1_500_000)
    suspended = shell.json("projects", "suspend", "acme")
    assert suspended == {**made, "status": "suspended", "suspended_at": "2026-01-01T00:00:01.500000Z"}
    assert shell.json("projects", "resume", "acme") == made
    assert shell.json("projects", "plan", "acme", "free") == {**made, "plan": "free"}


def test_what_was_done_is_said_on_stderr(acme: Shell) -> None:
    (project,) = acme.json("projects", "list")
    said = f"Project 'acme' ({project['id']})"
    for arguments, news in (
        (("suspend", "acme"), "has been suspended since 2026-01-01 00:00:00 UTC: its keys are answered 401"),
        (("resume", "acme"), "is not suspended: its keys work"),
        (("plan", "acme", "enterprise"), "is on plan enterprise"),
    ):
        result = acme("projects", *arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{said} {news}.\n")


def test_a_project_suspended_twice_stays_suspended_since_the_first_time(acme: Shell) -> None:
    first = acme.json("projects", "suspend", "acme")
    acme.clock.advance(seconds=60)
    assert acme.json("projects", "suspend", "acme") == first


def test_a_project_may_be_meant_by_its_id_and_by_the_beginning_of_it(acme: Shell) -> None:
    (project,) = acme.json("projects", "list")
    for ref in (project["id"], project["id"][:8], project["id"][:-1]):
        assert acme.json("projects", "resume", ref) == project


@pytest.mark.parametrize("size", [3, 20])
def test_the_beginning_of_a_projects_id_needs_its_prefix_and_4_characters(acme: Shell, size: int) -> None:
    """The name of a project that is gone must not hit another one, whose id begins so."""
    (project,) = acme.json("projects", "list")
    ref = project["id"][:7] if size == 3 else project["id"].removeprefix("prj_")
    assert acme.refused("projects", "suspend", ref, code=1) == f"no project {ref!r}"
    assert acme.json("projects", "list") == [project]


def test_an_ambiguous_id_lists_the_projects_that_it_could_be(acme: Shell) -> None:
    acme.by_hand("UPDATE projects SET id = 'prj_abcd000000000001'")
    acme.by_hand("INSERT INTO projects (id, name, plan) VALUES ('prj_abcd000000000002', 'other', 'free')")
    assert acme.refused("projects", "suspend", "prj_abcd", code=1) == (
        "'prj_abcd' could be any of 2 projects: prj_abcd000000000001 ('acme'), prj_abcd000000000002 ('other');"
        " give more of the id"
    )
    assert acme.refused("projects", "suspend", "prj_abce", code=1) == (
        "no project 'prj_abce'; `vc-auth projects list` shows their ids"
    )
    assert all(project["status"] == "active" for project in acme.json("projects", "list"))


def test_a_project_made_by_hand_may_lack_its_time(acme: Shell) -> None:
    acme.by_hand("UPDATE projects SET created_at = NULL")
    assert acme.done("projects", "list").endswith("  pro   active  -")
    assert acme.json("projects", "list")[0]["created_at"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("create", "acme"), 1, r"a project called 'acme' exists already \(prj_[0-9a-f]{16}\)"),
        (("create", ""), 2, "a project name is a text of 1 to 100 characters"),
        (("create", "a\x1b[31mb"), 2, r"project name 'a\\x1b\[31mb' has a control character, .*"),
        (("create", "a\nb"), 2, r"project name 'a\\nb' has a control character, .*"),
        (("create", "prj_1"), 2, "project name 'prj_1' looks like an id; do not begin it with 'prj_'"),
        (("create", "other", "--plan", "gold"), 2, "no plan 'gold'; the settings know enterprise, free, pro"),
        (("plan", "acme", "gold"), 2, "no plan 'gold'; the settings know enterprise, free, pro"),
        (("plan", "nope", "pro"), 1, "no project 'nope'"),
        (("suspend", "nope"), 1, "no project 'nope'"),
        (("suspend", "a\x1b[31mb"), 1, r"no project 'a\\x1b\[31mb'"),
        (("resume", ""), 1, "no project ''"),
        (("suspend", "vc_" + 32 * "5"), 2, "this is a whole key, .*"),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(
    acme: Shell, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    before = acme.json("projects", "list")
    for more in ((), ("--json",)):
        assert re.fullmatch(sentence, acme.refused("projects", *arguments, *more, code=code))
    assert acme.json("projects", "list") == before


def test_plans_of_the_environment_apply(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_PLANS", "hobby=10/minute:20")
    assert shell.json("projects", "create", "acme", "--plan", "hobby")["plan"] == "hobby"
    assert shell.refused("projects", "create", "other", code=2) == "no plan 'free'; the settings know hobby"


@pytest.mark.parametrize("arguments", [("create",), ("plan", "acme"), ("list", "acme"), ("rename",), ("list", "--yes")])
def test_bad_usage_is_refused_with_code_2(acme: Shell, arguments: tuple[str, ...]) -> None:
    result = acme("projects", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")


def test_help_names_the_commands_in_the_order_of_a_projects_life(shell: Shell) -> None:
    out = shell.done("projects", "--help")
    commands = re.findall(r"^  ([a-z]+)  ", out.partition("Commands:")[2], re.MULTILINE)
    assert commands == ["create", "list", "suspend", "resume", "plan"]
