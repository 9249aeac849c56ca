"""``vc-auth keys``."""

import re
from typing import Any

import pytest
from shell import Shell

from vc_auth.cli import asking
from vc_auth.keys import digest
from vc_auth.testing import some_count

DAY = 86_400
WHOLE_KEY = (
    "this is a whole key, and now it may stand in your shell's history; give the key's id instead, which"
    " `vc-auth keys list` shows"
)


def make(shell: Shell, *arguments: str) -> dict[str, Any]:
    """A new key of acme as programs see it afterwards, so without the key."""
    key = dict(shell.json("keys", "create", "acme", *arguments))
    del key["key"]
    return key


@pytest.fixture
def ci(acme: Shell) -> dict[str, Any]:
    return make(acme, "ci")


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at stdin, so questions can be answered."""
    monkeypatch.setattr(asking, "is_answered", lambda: True)


# -- making ------------------------------------------------------------------------------------------------------------


def test_a_new_key_stands_alone_on_stdout(acme: Shell) -> None:
    result = acme("keys", "create", "acme", "ci")
    assert result.exit_code == 0
    assert re.fullmatch(r"vc_[0-9a-f]{32}\n", result.stdout)
    (key,) = acme.json("keys", "list")
    assert result.stderr == (
        f"Made {key['id']} ({result.stdout[:7]}..., 'ci') of project 'acme'; it never expires."
        " It is shown this once: only its SHA-256 digest is kept.\n"
    )


def test_programs_get_the_new_key_as_a_member_and_nothing_else(acme: Shell) -> None:
    new = acme.json("keys", "create", "acme", "ci", "--expires-in", "30d", "--network", "10.0.0.0/8")
    plain = new["key"]
    (project,) = acme.json("projects", "list")
    assert re.fullmatch(r"vc_[0-9a-f]{32}", plain)
    assert re.fullmatch(r"key_[0-9a-f]{16}", new["id"])
    assert new == {
        "key": plain,
        "id": new["id"],
        "display": plain[:7] + "...",
        "name": "ci",
        "project": {"id": project["id"], "name": "acme", "plan": "pro"},
        "status": "active",
        "scopes": ["analytics:read", "cache:*"],
        "allowed_networks": ["10.0.0.0/8"],
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-31T00:00:00Z",
        "revoked_at": None,
        "last_used_at": None,
        "requests": 0,
        "replaces": None,
        "family": new["id"],
    }
    del new["key"]
    assert acme.json("keys", "list") == [new]
    assert acme.json("keys", "show", new["id"]) == new


def test_a_key_gets_the_scopes_and_networks_that_are_given(acme: Shell) -> None:
    assert make(acme, "a", "--scope", "keys:manage", "--scope", "cache:read")["scopes"] == ["cache:read", "keys:manage"]
    assert make(acme, "b", "--no-scopes")["scopes"] == []
    networks = make(acme, "c", "--network", "10.0.0.0/8", "--network", "2001:db8::/32")["allowed_networks"]
    assert networks == ["10.0.0.0/8", "2001:db8::/32"]


def test_settings_of_the_environment_apply(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_KEY_PREFIXES", "sk-")
    monkeypatch.setenv("VC_AUTH_KNOWN_SCOPES", "read,write")
    monkeypatch.setenv("VC_AUTH_DEFAULT_SCOPES", "read")
    key = acme.done("keys", "create", "acme", "ci")
    assert re.fullmatch(r"sk-[0-9a-f]{32}", key)
    assert acme.json("keys", "list")[0]["scopes"] == ["read"]
    assert acme.refused("keys", "show", key, code=2).startswith("this is a whole key")
    assert acme.refused("keys", "create", "acme", "ci", "--scope", "cache:*", code=2) == (
        "unknown scope 'cache:*'; the settings know read, write"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90m", 5_400), ("12h", 43_200), ("30d", 30 * DAY), ("2w", 14 * DAY)]
)
def test_a_duration_is_a_number_and_a_unit(acme: Shell, text: str, seconds: int) -> None:
    make(acme, "ci", "--expires-in", text)
    acme.clock.advance(seconds=seconds, us=-1)
    assert acme.json("keys", "list")[0]["status"] == "active"
    acme.clock.advance(us=1)
    assert acme.json("keys", "list")[0]["status"] == "expired"


@pytest.mark.parametrize(
    "text", ["", "30", "d", "1.5d", "30 d", "-1d", "+1d", "1d12h", "30D", "1y", "\u0663d", "1d\n", "00", "a\x1b[31mb"]
)
def test_what_is_no_duration_is_refused(acme: Shell, text: str) -> None:
    result = acme("keys", "create", "acme", "ci", "--expires-in", text)
    assert (result.exit_code, result.stdout) == (2, "")
    sentence = f"{text!r} is no duration; write a number and a unit, as in 90m, 12h, 30d or 2w."
    assert result.stderr.endswith(f"Error: Invalid value for '--expires-in': {sentence}\n")


@pytest.mark.parametrize("text", ["999999999999d", "9" * 5_000 + "w"])
def test_a_duration_beyond_any_calendar_is_refused(acme: Shell, text: str) -> None:
    result = acme("keys", "create", "acme", "ci", "--expires-in", text)
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "Error: Invalid value for '--expires-in': that is longer than any calendar; write a shorter duration.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nope", "ci"), 1, "no project 'nope'"),
        (("acme", ""), 2, "a key name is a text of 1 to 100 characters"),
        (("acme", "a\x1b[31mb"), 2, r"key name 'a\\x1b\[31mb' has a control character, .*"),
        (("acme", "ci", "--scope", "cache:delete"), 2, "unknown scope 'cache:delete'; the settings know .*"),
        (("acme", "ci", "--scope", ""), 2, "unknown scope ''; .*"),
        (("acme", "ci", "--network", "10.0.0.1/8"), 2, "10.0.0.1/8 has host bits set; write it like .*"),
        (("acme", "ci", "--network", "home"), 2, "'home' does not appear to be .*; write it like .*"),
        (("acme", "ci", "--expires-in", "0"), 2, "a life of 0:00:00 is over before it begins; .*"),
        (("acme", "ci", "--expires-in", "9999w"), 0, ""),
        (("acme", "ci", "--expires-in", "999999w"), 2, "the key's life of .* ends after the year 9999; .*"),
        (("vc_" + 32 * "5", "ci"), 2, "this is a whole key, .*"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_one_sentence(
    acme: Shell, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    if code == 0:
        make(acme, *arguments[1:])
        return
    for more in ((), ("--json",)):
        assert re.fullmatch(sentence, acme.refused("keys", "create", *arguments, *more, code=code))
    assert acme.json("keys", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "acme"),
        ("create", "acme", "ci", "more"),
        ("create", "acme", "ci", "--scope", "cache:*", "--no-scopes"),
        ("show",),
        ("revoke",),
        ("rotate", "key_1234", "--grace"),
        ("rotate", "key_1234", "--yes"),
        ("delete", "key_1234", "--force"),
        ("make",),
    ],
)
def test_bad_usage_is_refused_with_code_2(acme: Shell, arguments: tuple[str, ...]) -> None:
    result = acme("keys", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert acme.json("keys", "list") == []


# -- looking -----------------------------------------------------------------------------------------------------------


def test_the_list_has_a_row_for_each_key_the_oldest_first(acme: Shell) -> None:
    acme.done("projects", "create", "abc")
    first, second = make(acme, "ci", "--expires-in", "1d"), make(acme, "laptop", "--no-scopes")
    other = acme.json("keys", "create", "abc", "phone", "--scope", "cache:read")
    acme.done("projects", "suspend", "abc")
    acme.done("keys", "revoke", second["id"], "--yes")
    acme.clock.advance(seconds=DAY)
    used, scopes = "last used (UTC)  requests  status     scopes", "analytics:read, cache:*"
    born, idle = "2026-01-01 00:00", "never                   0"
    rows = [
        f"key         name    id                    project  created (UTC)     expires (UTC)     {used}",
        f"{other['display']}  phone   {other['id']}  abc      {born}  never             {idle}  suspended  cache:read",
        f"{first['display']}  ci      {first['id']}  acme     {born}  2026-01-02 00:00  {idle}  expired    {scopes}",
        f"{second['display']}  laptop  {second['id']}  acme     {born}  never             {idle}  revoked    none",
    ]
    assert acme.done("keys", "list").splitlines() == rows
    of_acme = [line.split() for line in acme.done("keys", "list", "acme").splitlines()]
    assert of_acme == [row.split() for row in rows if row != rows[1]]
    statuses = {key["name"]: key["status"] for key in acme.json("keys", "list")}
    assert statuses == {"phone": "suspended", "ci": "expired", "laptop": "revoked"}


def test_without_keys_the_list_says_how_to_make_one(acme: Shell) -> None:
    for arguments in ((), ("acme",)):
        result = acme("keys", "list", *arguments)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "There are no keys yet. `vc-auth keys create PROJECT NAME` makes one.\n"
        assert acme.json("keys", "list", *arguments) == []


def test_all_that_is_known_of_a_key_is_shown(acme: Shell, ci: dict[str, Any]) -> None:
    assert acme.done("keys", "show", ci["id"]).splitlines() == [
        f"key        {ci['display']}",
        "name       ci",
        f"id         {ci['id']}",
        f"project    acme ({ci['project']['id']}), plan pro",
        "status     active",
        "scopes     analytics:read, cache:*",
        "networks   anywhere",
        "created    2026-01-01 00:00:00 UTC",
        "expires    never",
        "revoked    -",
        "last used  never",
        "requests   0",
        "replaces   -",
        f"family     {ci['id']}",
    ]
    brief = make(acme, "brief", "--expires-in", "1h", "--no-scopes", "--network", "10.0.0.0/8", "--network", "::1")
    acme.done("keys", "revoke", brief["id"], "--yes")
    lines = acme.done("keys", "show", brief["id"]).splitlines()
    for line in (
        "status     revoked",
        "scopes     none",
        "networks   10.0.0.0/8, ::1/128",
        "expires    2026-01-01 01:00:00 UTC",
        "revoked    2026-01-01 00:00:00 UTC",
    ):
        assert line in lines


def test_a_key_made_by_hand_may_lack_its_name_display_and_time(acme: Shell, ci: dict[str, Any]) -> None:
    acme.by_hand("UPDATE keys SET name = '', display = '', created_at = NULL")
    assert acme.done("keys", "list").splitlines()[1].split() == [
        *("-", "-", ci["id"], "acme", "-", "never", "never", "0", "active", "analytics:read,", "cache:*")
    ]
    assert "created    -" in acme.done("keys", "show", ci["id"])


def test_a_key_that_was_used_says_when_and_how_often(acme: Shell) -> None:
    used, unused = acme.json("keys", "create", "acme", "used"), make(acme, "unused")
    acme.send(used.pop("key"), 12)
    acme.clock.advance(seconds=DAY)
    told = {**used, "last_used_at": "2026-01-01T00:00:00Z", "requests": 12}
    assert acme.json("keys", "list") == acme.json("keys", "list", "acme") == [told, unused]
    assert acme.json("keys", "show", used["id"]) == told
    _, *rows = acme.done("keys", "list").splitlines()
    assert [re.split("  +", row)[6:8] for row in rows] == [["2026-01-01 00:00", "12"], ["never", "0"]]
    assert {"last used  2026-01-01 00:00:00 UTC", "requests   12"} <= set(
        acme.done("keys", "show", used["id"]).splitlines()
    )


def test_requests_that_were_refused_are_uses_of_their_key(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_PLANS", "pro=1/minute:2")
    key = acme.json("keys", "create", "acme", "ci", "--network", "10.0.0.0/8")
    acme.send(key["key"], 5, address="10.0.0.1")
    acme.clock.advance(seconds=1)
    acme.send(key["key"], address="192.0.2.1")
    shown = acme.json("keys", "show", key["id"])
    assert (shown["requests"], shown["last_used_at"]) == (6, "2026-01-01T00:00:01Z")
    acme.done("keys", "revoke", key["id"], "--yes")
    acme.send(key["key"])
    assert acme.json("keys", "show", key["id"])["requests"] == 6, "a dead key is not used"


def test_neither_a_key_nor_a_digest_is_ever_shown_again(acme: Shell) -> None:
    plain = acme.done("keys", "create", "acme", "ci")
    (key,) = acme.json("keys", "list")
    said = [acme("keys", *rest).output for rest in (("list",), ("list", "--json"), ("show", key["id"]))]
    said += [acme("keys", *rest, "--json").output for rest in (("show", key["id"]), ("revoke", key["id"], "--yes"))]
    said.append(acme("keys", "delete", key["id"], "--yes").output)
    for text in said:
        assert plain[7:] not in text
        assert digest(plain) not in text


# -- meaning one -------------------------------------------------------------------------------------------------------


def test_an_id_may_be_shortened_while_it_means_one_key(acme: Shell, ci: dict[str, Any]) -> None:
    acme.by_hand("UPDATE keys SET id = 'key_abcd100000000000', family = 'key_abcd100000000000'")
    make(acme, "other")
    for ref in ("key_abcd100000000000", "abcd100000000000", "key_abcd", "abcd", "abcd1"):
        assert acme.json("keys", "show", ref)["name"] == "ci"


def test_an_ambiguous_id_lists_the_keys_that_it_could_be(acme: Shell, ci: dict[str, Any]) -> None:
    acme.by_hand("UPDATE keys SET id = 'key_abcd100000000000'")
    make(acme, "other")
    acme.by_hand("UPDATE keys SET id = 'key_abcd200000000000' WHERE name = 'other'")
    for ref in ("abcd", "key_abcd"):
        assert acme.refused("keys", "revoke", ref, "--yes", code=1) == (
            f"'{ref}' could be any of 2 keys: key_abcd100000000000 ('ci' of 'acme'),"
            " key_abcd200000000000 ('other' of 'acme'); give more of the id"
        )
    assert {key["status"] for key in acme.json("keys", "list")} == {"active"}


def test_of_many_candidates_some_are_listed(acme: Shell) -> None:
    for number in range(11):
        make(acme, f"k{number:02}")
        acme.by_hand(
            "UPDATE keys SET id = ?, family = ? WHERE name = ?", *2 * (f"key_abcd{number:012}",), f"k{number:02}"
        )
    sentence = acme.refused("keys", "show", "abcd", code=1)
    assert sentence.startswith("'abcd' could be any of 11 keys: key_abcd000000000000 ('k00' of 'acme'), ")
    assert sentence.endswith("key_abcd000000000007 ('k07' of 'acme'), and 3 more; give more of the id")


@pytest.mark.parametrize("verb", ["show", "revoke", "rotate", "delete"])
@pytest.mark.parametrize(
    ("ref", "code", "sentence"),
    [
        ("zzzz", 1, "no key 'zzzz'; `vc-auth keys list` shows their ids"),
        ("key_0000000000000000", 1, "no key 'key_0000000000000000'; `vc-auth keys list` shows their ids"),
        ("a\x1b[31mb", 1, r"no key 'a\x1b[31mb'; `vc-auth keys list` shows their ids"),
        ("key_abc", 2, "key id 'key_abc' is too short; give at least 4 characters of it"),
        ("key_", 2, "key id 'key_' is too short; give at least 4 characters of it"),
        ("abc", 2, "key id 'abc' is too short; give at least 4 characters of it"),
        ("", 2, "key id '' is too short; give at least 4 characters of it"),
        (
            "VC_" + 32 * "A",
            2,
            WHOLE_KEY,
        ),
    ],
)
def test_an_id_that_means_no_key_is_refused(
    acme: Shell, ci: dict[str, Any], verb: str, ref: str, code: int, sentence: str
) -> None:
    assert acme.refused("keys", verb, ref, code=code) == sentence
    assert acme.refused("keys", verb, ref, "--json", code=code) == sentence
    assert acme.json("keys", "list") == [ci]


# -- revoking and deleting ---------------------------------------------------------------------------------------------


def test_revoking_asks_and_says_that_it_is_for_ever(acme: Shell, ci: dict[str, Any], somebody: None) -> None:
    named = f"{ci['id']} ({ci['display']}, 'ci') of project 'acme'"
    for answer in ("n\n", "\n"):
        result = acme("keys", "revoke", ci["id"], answer=answer)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"It was never used. Revoke {named}, for ever? [y/N]: ")
        assert result.stderr.endswith("Error: nothing was changed\n")
        assert acme.json("keys", "list") == [ci]
    result = acme("keys", "revoke", ci["id"], answer="y\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith(f"Revoked since 2026-01-01 00:00:00 UTC, and for ever: {named}. It was never used.\n")
    assert acme.json("keys", "list") == [{**ci, "status": "revoked", "revoked_at": "2026-01-01T00:00:00Z"}]


def test_an_answer_that_never_comes_changes_nothing(acme: Shell, ci: dict[str, Any], somebody: None) -> None:
    result = acme("keys", "revoke", ci["id"], answer="")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Aborted!\n")
    assert acme.json("keys", "list") == [ci]


@pytest.mark.parametrize("flag", ["--yes", "-y"])
def test_with_yes_nothing_is_asked(acme: Shell, ci: dict[str, Any], flag: str) -> None:
    assert acme("keys", "revoke", ci["id"], flag).stderr.startswith("Revoked since ")
    result = acme("keys", "delete", ci["id"], flag)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Deleted {ci['id']} ({ci['display']}, 'ci') of project 'acme'. It was never used.\n"
    assert acme.json("keys", "list") == []


def test_where_nobody_can_be_asked_yes_is_needed(acme: Shell, ci: dict[str, Any]) -> None:
    named = f"{ci['id']} ({ci['display']}, 'ci') of project 'acme'"
    why = "stdin is no terminal, so nobody can be asked; add --yes. The question is: "
    assert acme.refused("keys", "revoke", ci["id"], code=2) == f"{why}It was never used. Revoke {named}, for ever?"
    assert acme.json("keys", "list") == [ci]
    acme.done("keys", "revoke", ci["id"], "--yes")
    assert (
        acme.refused("keys", "delete", ci["id"], code=2) == f"{why}It was never used. Delete {named}, which is revoked?"
    )
    assert len(acme.json("keys", "list")) == 1


def test_revoking_twice_changes_nothing_and_asks_nothing(acme: Shell, ci: dict[str, Any]) -> None:
    first = acme.json("keys", "revoke", ci["id"], "--yes")
    acme.clock.advance(seconds=60)
    assert acme.json("keys", "revoke", ci["id"]) == first


def test_a_living_key_is_not_deleted_and_nobody_is_asked(acme: Shell, ci: dict[str, Any], somebody: None) -> None:
    acme.done("projects", "suspend", "acme")
    for more in ((), ("--yes",), ("--json",)):
        sentence = acme.refused("keys", "delete", ci["id"], *more, code=1)
        assert sentence == f"key {ci['id']} is active; revoke it first"
    assert len(acme.json("keys", "list")) == 1


def test_deleting_an_expired_key_asks(acme: Shell, somebody: None) -> None:
    brief = make(acme, "brief", "--expires-in", "1h")
    acme.clock.advance(seconds=3_600)
    result = acme("keys", "delete", brief["id"], answer="n\n")
    assert result.exit_code == 1
    named = f"{brief['id']} ({brief['display']}, 'brief') of project 'acme'"
    assert result.stderr.startswith(f"It was never used. Delete {named}, which is expired? [y/N]: ")
    assert len(acme.json("keys", "list")) == 1
    assert acme("keys", "delete", brief["id"], answer="y\n").exit_code == 0
    assert acme.json("keys", "list") == []


def test_who_ends_a_key_that_is_in_use_is_told_so_before(acme: Shell, somebody: None) -> None:
    key = acme.json("keys", "create", "acme", "ci")
    named = f"{key['id']} ({key['display']}, 'ci') of project 'acme'"
    last_use = "It was last used 2026-01-01 00:00:00 UTC; requests so far: 2."
    acme.send(key["key"], 2)
    acme.clock.advance(seconds=60)
    result = acme("keys", "revoke", key["id"], answer="y\n")
    assert result.stderr.startswith(f"{last_use} Revoke {named}, for ever? [y/N]: ")
    assert result.stderr.endswith(f"Revoked since 2026-01-01 00:01:00 UTC, and for ever: {named}. {last_use}\n")
    result = acme("keys", "delete", key["id"], answer="y\n")
    assert result.stderr.startswith(f"{last_use} Delete {named}, which is revoked? [y/N]: ")
    assert result.stderr.endswith(f"Deleted {named}. {last_use}\n")


def test_programs_get_the_key_that_was_deleted(acme: Shell, ci: dict[str, Any]) -> None:
    acme.count([some_count(ci["id"], ci["project"]["id"], admitted=7)])
    revoked = acme.json("keys", "revoke", ci["id"], "--yes")
    assert (revoked["requests"], revoked["last_used_at"]) == (7, "2026-03-01T12:00:00Z")
    assert acme.json("keys", "delete", ci["id"], "--yes") == {**revoked, "status": "deleted"}


# -- rotating ----------------------------------------------------------------------------------------------------------


def test_a_successor_stands_alone_on_stdout(acme: Shell, ci: dict[str, Any]) -> None:
    result = acme("keys", "rotate", ci["id"])
    assert result.exit_code == 0
    assert re.fullmatch(r"vc_[0-9a-f]{32}\n", result.stdout)
    old, new = acme.json("keys", "list")
    assert (old["id"], old["expires_at"]) == (ci["id"], "2026-01-02T00:00:00Z")
    assert (new["replaces"], new["family"], new["display"]) == (ci["id"], ci["id"], result.stdout[:7] + "...")
    assert result.stderr == (
        f"Made {new['id']} ({new['display']}, 'ci') of project 'acme'; it never expires."
        " It is shown this once: only its SHA-256 digest is kept.\n"
        f"It replaces {ci['id']} ({ci['display']}), which works until 2026-01-02 00:00:00 UTC.\n"
    )


@pytest.mark.parametrize(
    ("grace", "until"),
    [
        ("90m", "works until 2026-01-01 01:30:00 UTC"),
        ("0", "works no more"),
        ("0d", "works no more"),
        ("52w", "works until 2026-01-31 00:00:00 UTC"),  # when it would die anyway
    ],
)
def test_the_old_key_works_until_the_end_of_its_grace(acme: Shell, grace: str, until: str) -> None:
    old = make(acme, "ci", "--expires-in", "30d")
    result = acme("keys", "rotate", old["id"], "--grace", grace)
    assert result.exit_code == 0
    assert "it expires 2026-01-31 00:00:00 UTC. It is shown this once" in result.stderr
    assert result.stderr.endswith(f"It replaces {old['id']} ({old['display']}), which {until}.\n")


def test_programs_get_the_successor_with_its_key(acme: Shell, ci: dict[str, Any]) -> None:
    new = acme.json("keys", "rotate", ci["id"], "--grace", "1h")
    assert re.fullmatch(r"vc_[0-9a-f]{32}", new.pop("key"))
    assert acme.json("keys", "list") == [{**ci, "expires_at": "2026-01-01T01:00:00Z"}, new]
    assert new["replaces"] == ci["id"]


def test_a_successor_begins_to_be_used_anew(acme: Shell) -> None:
    old = acme.json("keys", "create", "acme", "ci")
    acme.send(old["key"], 3)
    new = acme.json("keys", "rotate", old["id"])
    acme.send(new["key"])
    assert [key["requests"] for key in acme.json("keys", "list")] == [3, 1]


def test_a_second_rotation_fails_and_names_the_successor(acme: Shell, ci: dict[str, Any]) -> None:
    new = acme.json("keys", "rotate", ci["id"])
    assert acme.refused("keys", "rotate", ci["id"], code=1) == (
        f"key {ci['id']} was rotated already; its successor is {new['id']}"
    )
    acme.done("keys", "revoke", new["id"], "--yes")
    assert acme.refused("keys", "rotate", new["id"], code=1) == f"key {new['id']} is revoked and cannot be rotated"
    assert acme.refused("keys", "rotate", ci["id"], "--grace", "999999w", code=2).startswith("the grace of ")
    assert len(acme.json("keys", "list")) == 2


def test_help_names_the_commands_in_the_order_of_a_keys_life(shell: Shell) -> None:
    out = shell.done("keys", "--help")
    commands = re.findall(r"^  ([a-z]+)  ", out.partition("Commands:")[2], re.MULTILINE)
    assert commands == ["create", "list", "show", "rotate", "revoke", "delete"]
    assert "\n  KEY=$(vc-auth keys create acme ci)   make a key" in out
    for command in commands:
        text = shell.done("keys", command, "-h")
        assert "--json" in text
        assert "[env var: VC_AUTH_STORE]" in " ".join(text.split())
