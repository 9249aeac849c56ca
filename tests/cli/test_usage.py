"""``vc-auth usage``."""

import re
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from click.testing import CliRunner
from shell import Shell

from vc_auth.cli.commands import cli
from vc_auth.cli.usage import WIDTH
from vc_auth.keys import digest
from vc_auth.testing import some_count

HOUR = timedelta(hours=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
IDLE = {"requests": 0, "admitted": 0, "limited": 0, "forbidden": 0}
HINT = "write 2026-11-22, 2026-11-22T14:00, or how long ago, as in 36h, 30d or 8w."


@pytest.fixture
def project(acme: Shell) -> str:
    """The id of acme."""
    return str(acme.json("projects", "list")[0]["id"])


def count(shell: Shell, project: str, *hours: tuple[datetime, int, int, int], key: str = "key_1") -> None:
    """Let a server have counted so many that were admitted, limited and forbidden in each hour."""
    shell.count(
        some_count(key, project, hour=hour, admitted=admitted, limited=limited, forbidden=forbidden)
        for hour, admitted, limited, forbidden in hours
    )


def told(shell: Shell, *arguments: str) -> dict[str, tuple[int, int, int]]:
    """What was counted in each period that was not idle, by its start."""
    return {
        one["start"]: (one["admitted"], one["limited"], one["forbidden"])
        for one in shell.json("usage", *arguments)["usage"]
        if one["requests"]
    }


def starts(shell: Shell, *arguments: str) -> list[str]:
    return [one["start"].removesuffix(":00:00Z") for one in shell.json("usage", "acme", *arguments)["usage"]]


# -- the table ---------------------------------------------------------------------------------------------------------


def test_what_a_real_server_decided_is_told(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_PLANS", "pro=1/minute:2")
    key = acme.done("keys", "create", "acme", "ci", "--network", "10.0.0.0/8")
    acme.send(key, 5, address="10.0.0.1")
    acme.send(key, address="192.0.2.1")
    acme.clock.advance(seconds=3_600)
    acme.send(key, project="another")
    acme.send("vc_" + 32 * "0", 9)
    assert told(acme, "acme", "--by", "hour") == {"2026-01-01T00:00:00Z": (2, 3, 1), "2026-01-01T01:00:00Z": (0, 0, 1)}


def test_the_table_has_a_line_for_each_period_idle_ones_too_and_one_for_all(acme: Shell, project: str) -> None:
    count(acme, project, (NEW_YEAR - 48 * HOUR, 30, 0, 0), (NEW_YEAR - 47 * HOUR, 1_000, 250, 4), (NEW_YEAR, 7, 0, 0))
    result = acme("usage", "acme", "--since", "2025-12-29")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.rstrip("█ ") for line in result.stdout.splitlines()] == [
        "day (UTC)   requests  admitted  limited  forbidden",
        "2025-12-29         0         0        0          0",
        "2025-12-30      1284      1030      250          4",
        "2025-12-31         0         0        0          0",
        "2026-01-01         7         7        0          0",
        "all             1291      1037      250          4",
    ]


@pytest.mark.parametrize(
    ("period", "heading", "first", "last", "lines"),
    [
        ("hour", "hour (UTC)", "2025-12-31 15:00", "2026-01-01 14:00", 24),
        ("day", "day (UTC)", "2025-12-03", "2026-01-01", 30),
        ("month", "month (UTC)", "2025-02", "2026-01", 12),
    ],
)
def test_without_times_it_tells_the_last_24_hours_30_days_or_12_months(
    acme: Shell, project: str, period: str, heading: str, first: str, last: str, lines: int
) -> None:
    acme.clock.advance(seconds=14.5 * 3_600)
    count(acme, project, (NEW_YEAR + 14 * HOUR, 1, 0, 0))
    head, *rows, total = acme.done("usage", "acme", "--by", period).splitlines()
    assert head.startswith(heading + "  ")
    assert (rows[0].split("  ")[0], rows[-1].split("  ")[0], len(rows)) == (first, last, lines)
    assert total.split() == ["all", "1", "1", "0", "0"]


def test_days_are_what_it_tells_by(acme: Shell) -> None:
    assert acme.done("usage", "acme") == acme.done("usage", "acme", "--by", "day")


def test_one_projects_requests_are_no_others(acme: Shell, project: str) -> None:
    other = acme.done("projects", "create", "other")
    count(acme, project, (NEW_YEAR, 1, 2, 3))
    count(acme, other, (NEW_YEAR, 10, 20, 30))
    for name, ref, counts in (("acme", project, (1, 2, 3)), ("other", other, (10, 20, 30))):
        for meant in (name, ref, ref[:-1]):
            assert told(acme, meant) == {"2026-01-01T00:00:00Z": counts}


def test_programs_get_the_same_as_a_document(acme: Shell, project: str) -> None:
    count(acme, project, (NEW_YEAR, 2, 1, 0))
    asked = ("usage", "acme", "--since", "2025-12-31T23:00", "--by", "hour")
    document: dict[str, Any] = {
        "project": {"id": project, "name": "acme"},
        "key": None,
        "by": "hour",
        "usage": [
            {"start": "2025-12-31T23:00:00Z", **IDLE},
            {"start": "2026-01-01T00:00:00Z", "requests": 3, "admitted": 2, "limited": 1, "forbidden": 0},
        ],
    }
    assert acme.json(*asked) == document
    key = acme.json("keys", "create", "acme", "ci")
    idle = [{"start": one["start"], **IDLE} for one in document["usage"]]
    assert acme.json(*asked, "--key", key["id"]) == {**document, "key": key["id"], "usage": idle}


def test_an_idle_project_is_a_table_of_zeros_and_a_sentence(acme: Shell) -> None:
    result = acme("usage", "acme", "--since", "0")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "2026-01-01         0         0        0          0",
        "all                0         0        0          0",
    ]
    assert result.stderr == "No requests of project 'acme' in this time.\n"
    key = acme.json("keys", "create", "acme", "ci")
    assert acme("usage", "--key", key["id"]).stderr == f"No requests of {key['id']} in this time.\n"


def test_names_are_shown_escaped(acme: Shell) -> None:
    acme.by_hand("UPDATE projects SET name = ?", "a\x1b[2J\u202eb")
    assert acme("usage", "a\x1b[2J\u202eb").stderr == "No requests of project 'a\\x1b[2J\\u202eb' in this time.\n"
    assert "\x1b" not in acme("usage", "a\x1b[2J\u202eb", "--json").stdout
    acme.done("projects", "create", "other")
    acme.by_hand("UPDATE projects SET id = 'key_\x1b[2J' WHERE name = 'other'")
    key = acme.json("keys", "create", "other", "ci")
    assert acme.refused("usage", "a\x1b[2J\u202eb", "--key", key["id"], code=2) == (
        rf"key {key['id']} is of project 'other', not of 'a\x1b[2J\u202eb'"
    )


# -- the chart ---------------------------------------------------------------------------------------------------------


def bars(shell: Shell, project: str, *counts: tuple[int, int, int]) -> list[str]:
    """The chart of hours with these counts, bar by bar."""
    hours = [NEW_YEAR - number * HOUR for number in reversed(range(len(counts)))]
    count(shell, project, *((hour, *of_hour) for hour, of_hour in zip(hours, counts, strict=True)))
    _, *rows, _ = shell.done("usage", "acme", "--by", "hour", "--since", f"{hours[0]:%Y-%m-%dT%H:%M}").splitlines()
    return [re.split(" {2,}", row)[5] if len(re.split(" {2,}", row)) > 5 else "" for row in rows]


def test_the_busiest_period_has_the_longest_bar_and_the_others_are_in_proportion(acme: Shell, project: str) -> None:
    half, third, sixth = 100 * WIDTH // 2, 100 * WIDTH // 3, 100 * WIDTH // 6
    rows = bars(acme, project, (half, third, sixth), (half, 0, 0), (0, third, 0), (0, 0, sixth), (0, 0, 0))
    assert rows == ["█" * (WIDTH // part) if part else "" for part in (1, 2, 3, 6, 0)]


def test_whatever_is_not_nothing_has_a_block_at_least(acme: Shell, project: str) -> None:
    lengths = [len(bar) for bar in bars(acme, project, (1_000_000, 0, 0), (1, 0, 0), (1, 1, 1), (999_998, 1, 1))]
    assert lengths == [WIDTH, 1, 3, WIDTH + 2]


def test_a_bar_has_a_colour_for_each_of_the_three(acme: Shell, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    count(acme, project, (NEW_YEAR, 3, 2, 1))
    row = acme.done("usage", "acme", "--since", "0").splitlines()[1]
    assert re.findall(r"\x1b\[(\d+)m(█+)\x1b\[0m", row) == [
        (colour, WIDTH // part * "█") for colour, part in (("32", 2), ("33", 3), ("31", 6))
    ]


@pytest.mark.parametrize(("charset", "block"), [("utf-8", "█"), ("iso-8859-1", "#"), ("ascii", "#"), ("cp437", "█")])
def test_where_a_block_cannot_be_written_there_is_a_hash(acme: Shell, project: str, charset: str, block: str) -> None:
    count(acme, project, (NEW_YEAR, 3, 2, 1))
    result = CliRunner(charset=charset).invoke(cli, ["usage", "acme", "--since", "0"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == f"2026-01-01         6         3        2          1  {WIDTH * block}"


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "first"),
    [
        ("2025-12-31", "2025-12-31T00"),
        ("2026-01-01T10:15", "2026-01-01T10"),
        ("2026-01-01 10:15:59", "2026-01-01T10"),
        ("2026-01-01T10:15Z", "2026-01-01T10"),
        ("2026-01-01T10:15+02:00", "2026-01-01T08"),
        ("2025-12-31 20:15-05:30", "2026-01-01T01"),
        ("0", "2026-01-01T14"),
        ("30m", "2026-01-01T14"),
        ("31m", "2026-01-01T13"),
        ("36h", "2025-12-31T02"),
        ("7d", "2025-12-25T14"),
        ("2w", "2025-12-18T14"),
    ],
)
def test_since_is_a_date_a_time_or_how_long_ago(acme: Shell, since: str, first: str) -> None:
    acme.clock.advance(seconds=14.5 * 3_600)
    found = starts(acme, "--by", "hour", "--since", since)
    assert (found[0], found[-1]) == (first, "2026-01-01T14")


def test_a_time_without_a_zone_is_utc_wherever_the_shell_is(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert starts(acme, "--by", "hour", "--since", "2025-12-31T23:30") == ["2025-12-31T23", "2026-01-01T00"]
        assert (
            acme.done("usage", "acme", "--by", "hour", "--since", "0").splitlines()[1].startswith("2026-01-01 00:00 ")
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("2026-01-01", "2025-12-31T23"),
        ("2026-01-01T12:00", "2026-01-01T11"),
        ("2026-01-01T12:00:01", "2026-01-01T12"),
        ("2026-01-01T12:00+01:00", "2026-01-01T10"),
        ("1h", "2026-01-01T13"),
        ("1d", "2025-12-31T14"),
        ("2026-01-01T18:00", "2026-01-01T17"),
    ],
)
def test_until_is_a_time_that_is_not_in_it_any_more(acme: Shell, until: str, last: str) -> None:
    acme.clock.advance(seconds=14.5 * 3_600)
    found = starts(acme, "--by", "hour", "--until", until)
    assert (found[-1], len(found)) == (last, 24)


def test_since_and_until_cut_whole_periods(acme: Shell, project: str) -> None:
    count(acme, project, *((NEW_YEAR - hours * HOUR, 1, 0, 0) for hours in range(72)))
    assert told(acme, "acme", "--since", "2025-12-30T23:59", "--until", "2025-12-31T12:00") == {
        "2025-12-30T00:00:00Z": (24, 0, 0),
        "2025-12-31T00:00:00Z": (12, 0, 0),
    }


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "7", "-1d", "1.5d", "2026", "2026-13-01", "2026-11-22T25:00", "a\x1b[31mb", "9" * 50 + "w"],
)
@pytest.mark.parametrize("option", ["--since", "--until"])
def test_what_is_no_time_is_refused(acme: Shell, option: str, text: str) -> None:
    result = acme("usage", "acme", option, text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: Invalid value for '{option}': {text!r} is no time; {HINT}\n")


@pytest.mark.parametrize(
    ("options", "since", "until"),
    [
        (("--since", "2026-01-02"), "2026-01-02", "2026-01-02"),
        (("--since", "2027-01-01"), "2027-01-01", "2026-01-02"),
        (("--since", "7d", "--until", "8d"), "2025-12-25", "2025-12-24"),
    ],
)
def test_a_span_without_time_in_it_is_one_sentence(
    acme: Shell, options: tuple[str, ...], since: str, until: str
) -> None:
    for more in ((), ("--json",)):
        assert acme.refused("usage", "acme", *options, *more, code=2) == (
            f"there is no time from {since} 00:00:00+00:00 (since) to {until} 00:00:00+00:00 (until);"
            " give an earlier since"
        )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--since", "2014-01-01", "--by", "hour"),
            "these are more than 100,000 hours; ask for longer periods, or for less",
        ),
        (("--since", "999999999d"), "999999999 days, 0:00:00 ago is in no calendar; give a shorter time"),
        (("--until", "999999w"), "6999993 days, 0:00:00 ago is in no calendar; give a shorter time"),
        (("--since", "0001-01-01T00:00+01:00"), "these times are in no calendar; give others"),
    ],
)
def test_a_span_that_cannot_be_is_one_sentence(acme: Shell, options: tuple[str, ...], sentence: str) -> None:
    for more in ((), ("--json",)):
        assert acme.refused("usage", "acme", *options, *more, code=2) == sentence


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Name a project, or a key with --key ID."),
        (("--since", "7d"), "Name a project, or a key with --key ID."),
        (("acme", "other"), "Got unexpected extra argument (other)"),
        (("acme", "--by", "week"), "Invalid value for '--by': 'week' is not one of 'hour', 'day', 'month'."),
        (("acme", "--key"), "Option '--key' requires an argument."),
    ],
)
def test_bad_usage_is_refused_with_code_2(acme: Shell, arguments: tuple[str, ...], problem: str) -> None:
    result = acme("usage", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: {problem}\n")


# -- one key -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(acme: Shell) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two keys of acme, of which the first was used three times and the second once."""
    first, second = (acme.json("keys", "create", "acme", name) for name in ("ci", "laptop"))
    acme.send(first["key"], 3)
    acme.send(second["key"])
    return first, second


def test_of_a_project_it_tells_all_keys_and_of_a_key_that_one(
    acme: Shell, two: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    now = "2026-01-01T00:00:00Z"
    assert told(acme, "acme") == {now: (4, 0, 0)}
    for key, requests in zip(two, (3, 1), strict=True):
        for ref in (key["id"], key["id"][:-1], key["id"].removeprefix("key_")[:-1]):
            assert told(acme, "--key", ref) == told(acme, "acme", "--key", ref) == {now: (requests, 0, 0)}
            document = acme.json("usage", "--key", ref)
            assert (document["key"], document["project"]["name"]) == (key["id"], "acme")


def test_a_key_of_another_project_is_a_mistake(acme: Shell, two: tuple[dict[str, Any], dict[str, Any]]) -> None:
    acme.done("projects", "create", "other")
    sentence = f"key {two[0]['id']} is of project 'acme', not of 'other'"
    for ref in (two[0]["id"], two[0]["id"][:-1]):
        assert acme.refused("usage", "other", "--key", ref, code=2) == sentence


def test_the_usage_of_a_deleted_key_is_told_by_its_whole_id_and_its_project(
    acme: Shell, two: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    gone, left = two[0]["id"], two[1]["id"]
    acme.done("projects", "create", "other")
    acme.done("keys", "revoke", gone, "--yes")
    acme.done("keys", "delete", gone, "--yes")
    now = "2026-01-01T00:00:00Z"
    assert told(acme, "acme", "--key", gone) == {now: (3, 0, 0)}
    assert told(acme, "acme", "--key", left) == {now: (1, 0, 0)}
    assert told(acme, "acme") == {now: (4, 0, 0)}
    for arguments in (("--key", gone), ("other", "--key", gone), ("acme", "--key", gone[:-1])):
        assert acme.refused("usage", *arguments, code=1) == (
            f"no key {arguments[-1]!r}; `vc-auth keys list` shows their ids"
        )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nope",), 1, "no project 'nope'"),
        (("nope", "--key", "key_1234"), 1, "no project 'nope'"),
        (("--key", "zzzz"), 1, "no key 'zzzz'; `vc-auth keys list` shows their ids"),
        (("acme", "--key", "zzzz"), 1, "no key 'zzzz'; `vc-auth keys list` shows their ids"),
        (("--key", "abc"), 2, "key id 'abc' is too short; give at least 4 characters of it"),
        (("--key", ""), 2, "key id '' is too short; give at least 4 characters of it"),
        (("--key", "a\x1b[31mb"), 1, r"no key 'a\x1b[31mb'; `vc-auth keys list` shows their ids"),
    ],
)
def test_what_is_not_there_is_refused_with_one_sentence(
    acme: Shell, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    for more in ((), ("--json",)):
        assert acme.refused("usage", *arguments, *more, code=code) == sentence


def test_a_whole_key_is_refused_and_not_repeated(acme: Shell) -> None:
    key = acme.done("keys", "create", "acme", "ci")
    for arguments in ((key,), ("--key", key), ("acme", "--key", key)):
        sentence = acme.refused("usage", *arguments, code=2)
        assert sentence.startswith("this is a whole key, ")
        assert key not in sentence


# -- a project with many keys, and a year ------------------------------------------------------------------------------

KEYS = 5_000
HOURS = 365 * 24


@pytest.fixture
def crowd(acme: Shell, project: str) -> Shell:
    """The file of acme with thousands of keys that were all used, and every hour of a year for it and some of them."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    acme.by_hand(
        f"{numbers.format(KEYS)} INSERT INTO keys (id, digest, project_id, name, display, scopes, family)"
        " SELECT printf('key_%016d', i), i, ?, 'k' || i, 'vc_1234...', '[]', printf('key_%016d', i) FROM n",
        project,
    )
    acme.by_hand(
        "INSERT INTO key_totals (project_id, key_id, requests, last_used_at)"
        " SELECT project_id, id, number, 1767225599000000 FROM keys"
    )
    for table, ids, values in (
        ("project_hours", "project_id", "?"),
        ("key_hours", "project_id, key_id", "?, 'key_0000000000000001'"),
        ("key_hours", "project_id, key_id", "?, 'key_0000000000000002'"),
    ):
        acme.by_hand(
            f"{numbers.format(HOURS)} INSERT INTO {table} ({ids}, hour, admitted, limited, forbidden)"
            f" SELECT {values}, 1767225600000000 - 3600000000 * i, 2, 1, 0 FROM n",
            project,
        )
    return acme


def reads(statements: list[str]) -> list[str]:
    """Those of our tables."""
    return [statement for statement in statements if re.search("FROM (projects|keys|key_|project_)", statement)]


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "list"),
        ("keys", "list", "acme"),
        ("keys", "show", "key_{:016}"),
        ("keys", "show", "{:016}"),
        ("usage", "acme"),
        ("usage", "acme", "--by", "month"),
        ("usage", "--key", "key_{:016}"),
        ("check",),
    ],
    ids=" ".join,
)
def test_what_is_read_does_not_grow_with_the_number_of_keys(
    crowd: Shell, statements: list[str], command: tuple[str, ...]
) -> None:
    key = "vc_" + 32 * "0"
    crowd.by_hand("UPDATE keys SET digest = ? WHERE number = 1", digest(key))
    command = tuple(word.format(1) for word in command)
    statements.clear()
    of_many = crowd.done(*command, answer=key)
    asked = reads(statements)
    crowd.by_hand("DELETE FROM keys WHERE number > 1")
    statements.clear()
    of_one = crowd.done(*command, answer=key)
    assert len(asked) == len(reads(statements)) <= 8
    if command[0] == "keys":
        assert len(of_many.splitlines()) - len(of_one.splitlines()) == (KEYS - 1 if command[1] == "list" else 0)
    with closing(sqlite3.connect(crowd.file)) as connection:
        plans = [row[3] for statement in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert plans != []
    assert [plan for plan in plans if plan.startswith("SCAN") and plan != "SCAN projects"] == []


def test_a_year_of_a_project_is_read_from_its_own_sums(crowd: Shell, statements: list[str]) -> None:
    year = ("--since", "2025-01-01", "--until", "2026-01-01", "--by")
    assert len(crowd.json("usage", "acme", *year, "hour")["usage"]) == HOURS
    assert not any("key_hours" in statement for statement in statements)
    statements.clear()
    rows = crowd.done("usage", "--key", "key_0000000000000001", *year, "month").splitlines()
    assert rows[-1].split() == ["all", str(3 * HOURS), str(2 * HOURS), str(HOURS), "0"]
    assert len(rows) == 12 + 2
    assert not any("project_hours" in statement for statement in statements)


def test_a_list_of_all_keys_reads_no_hours(crowd: Shell, statements: list[str]) -> None:
    lines = crowd.done("keys", "list").splitlines()
    assert len(lines) == KEYS + 1
    assert len({line.index("vc_1234...  ") for line in lines[1:]}) == len({*map(len, lines[1:])}) == 1
    assert not any("_hours" in statement for statement in statements)
    assert all(int(one.split()[8]) < int(two.split()[8]) for one, two in pairwise(lines[1:]))
