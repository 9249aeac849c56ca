"""``vc-auth check``."""

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from shell import Answer, Sh, Shell
from watch import Watch

from vc_auth import PRO, VCAuth
from vc_auth.cli import check, session
from vc_auth.cli.commands import cli
from vc_auth.cli.session import Refused
from vc_auth.clock import utcnow
from vc_auth.errors import BackendError
from vc_auth.limiters import Limiter, MemoryLimiter
from vc_auth.rates import Decision, Rate
from vc_auth.records import KeyRecord
from vc_auth.stores.sql import SQLKeyStore

UNKNOWN = "vc_" + 32 * "0"
STDIN = "Give the key on stdin, as in `printenv KEY | vc-auth check`; an argument may stay in the shell's history."
FORM = "this has not the form of a key: one of the prefixes in the settings, and 32 of 0-9 and a-f"


class Buckets:
    """A limiter that keeps its buckets where every process finds them, and remembers what it was asked."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.hits: list[str] = []
        self.peeks: list[str] = []

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        self.hits.append(bucket)
        return await self._limiter.hit(bucket, rate, cost)

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        self.peeks.append(bucket)
        return await self._limiter.peek(bucket, rate, cost)

    def spend(self, bucket: str, cost: int, rate: Rate = PRO.rate) -> None:
        """What servers let through."""
        asyncio.run(self._limiter.hit(bucket, rate, cost))


@pytest.fixture
def buckets(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    """The buckets that commands ask about."""
    buckets = Buckets(MemoryLimiter(acme.clock))
    monkeypatch.setattr(session, "VCAuth", partial(VCAuth, clock=acme.clock, limiter=buckets))
    return buckets


@pytest.fixture
def key(new: dict[str, Any]) -> str:
    """The same key alone."""
    return str(new["key"])


def facts(result: Result) -> dict[str, str]:
    """The names and values on stdout."""
    pairs = (line.split("  ", 1) for line in result.stdout.splitlines())
    return {name: value.strip() for name, value in pairs}


def refusal(shell: Shell, key: str, *arguments: str) -> str:
    """The answer to a key that is there and would be refused."""
    result = shell("check", *arguments, answer=key)
    assert (result.exit_code, result.stderr) == (1, "")
    return facts(result)["answer"]


# -- whose it is, and whether it would be admitted ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nand more\n"])
def test_a_key_that_works_is_shown_with_its_answer(acme: Shell, new: dict[str, Any], end: str) -> None:
    shown = acme.done("keys", "show", new["id"])
    result = acme("check", answer=new["key"] + end)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        *shown.splitlines(),
        "bucket     kept in the memory of each server, so not known here",
        "answer     admitted",
    ]


def test_programs_get_the_verdict_and_the_key_without_itself(acme: Shell, new: dict[str, Any]) -> None:
    plain = new.pop("key")
    bucket = "kept in the memory of each server, so not known here"
    works = {"admitted": True, "status": None, "error": None, "why": None, "bucket": bucket, "key": new}
    assert acme.json("check", answer=plain) == works
    acme.done("keys", "revoke", new["id"], "--yes")
    assert acme.json("check", answer=plain, code=1) == {
        **works,
        "admitted": False,
        "status": 401,
        "error": "Invalid API key",
        "why": "the key is revoked",
        "key": acme.json("keys", "show", new["id"]),
    }
    assert acme.json("check", answer=UNKNOWN, code=1) == {
        **works,
        "admitted": False,
        "status": 401,
        "error": "Invalid API key",
        "why": "there is no such key",
        "key": None,
    }


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (UNKNOWN, "401 Invalid API key: there is no such key"),
        ("", "401 Invalid authorization format: this is not one word, or too long"),
        ("two words", "401 Invalid authorization format: this is not one word, or too long"),
        (f"Bearer {UNKNOWN}", "401 Invalid authorization format: this is not one word, or too long"),
        (f"{UNKNOWN} ", "401 Invalid authorization format: this is not one word, or too long"),
        (f"'{UNKNOWN}'", "401 Invalid authorization format: this is not one word, or too long"),
        (f"{UNKNOWN}\0", "401 Invalid authorization format: this is not one word, or too long"),
        (UNKNOWN + "é", "401 Invalid authorization format: this is not one word, or too long"),
        (UNKNOWN.encode() + b"\xff\xfe", "401 Invalid authorization format: this is not one word, or too long"),
        ("\x1b[2J", "401 Invalid authorization format: this is not one word, or too long"),
        ("a" * 1_000_000, "401 Invalid authorization format: this is not one word, or too long"),
        (UNKNOWN.upper(), f"401 Invalid API key: {FORM}"),
        ("vc_" + 32 * "A", f"401 Invalid API key: {FORM}"),
        (UNKNOWN + "0", f"401 Invalid API key: {FORM}"),
        (UNKNOWN[:-1], f"401 Invalid API key: {FORM}"),
        ("sk-" + 32 * "0", f"401 Invalid API key: {FORM}"),
        ("nope", f"401 Invalid API key: {FORM}"),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_what_is_no_key_of_ours_is_one_sentence_that_does_not_repeat_it(
    acme: Shell, new: dict[str, Any], line: Answer, answer: str
) -> None:
    line = line if isinstance(line, bytes) else (line or "").encode()
    for end in (b"\n", b"\r\n", b"") if line else (b"\n", b"\r\n"):
        assert acme.refused("check", answer=line + end, code=1) == answer
        document = acme.json("check", answer=line + end, code=1)
        assert document["key"] is None
        assert f"{document['status']} {document['error']}: {document['why']}" == answer


def test_what_stands_before_a_key_is_what_would_stand_before_it_in_the_header(acme: Shell, key: str) -> None:
    """RFC 6750 has one or more spaces there."""
    assert facts(acme("check", answer=f"  {key}\n"))["answer"] == "admitted"
    assert acme.refused("check", answer=f"\t{key}", code=1).startswith("401 Invalid authorization format: ")


def test_a_key_of_a_prefix_that_the_settings_do_not_have_is_none(
    acme: Shell, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VC_AUTH_KEY_PREFIXES", "sk-")
    assert acme.refused("check", answer=key, code=1) == f"401 Invalid API key: {FORM}"
    monkeypatch.setenv("VC_AUTH_KEY_PREFIXES", "sk-,vc_")
    assert facts(acme("check", answer=key))["answer"] == "admitted"


def test_a_dead_key_says_why(acme: Shell, new: dict[str, Any]) -> None:
    brief = acme.json("keys", "create", "acme", "brief", "--expires-in", "1h")
    acme.done("projects", "suspend", "acme")
    assert refusal(acme, new["key"]) == "401 Invalid API key: the key is suspended"
    acme.done("projects", "resume", "acme")
    acme.clock.advance(seconds=3_600)
    assert refusal(acme, brief["key"]) == "401 Invalid API key: the key is expired"
    assert acme("check", answer=new["key"]).exit_code == 0
    acme.done("keys", "revoke", new["id"], "--yes")
    assert refusal(acme, new["key"]) == "401 Invalid API key: the key is revoked"
    acme.done("keys", "delete", new["id"], "--yes")
    assert acme.refused("check", answer=new["key"], code=1) == "401 Invalid API key: there is no such key"


def test_a_key_is_for_its_own_project(acme: Shell, key: str) -> None:
    other = acme.done("projects", "create", "other")
    (mine,) = (project["id"] for project in acme.json("projects", "list") if project["name"] == "acme")
    for ref in ("acme", mine, mine[:-1]):
        assert acme("check", "--project", ref, answer=key).exit_code == 0
    for ref in ("other", other, other[:-1]):
        assert refusal(acme, key, "--project", ref) == "403 Forbidden: the key is of project 'acme'"
    for ref, code in (("nope", 1), ("", 1), (UNKNOWN, 2)):
        assert acme("check", "--project", ref, answer=key).exit_code == code


def test_a_key_works_from_its_networks_alone(acme: Shell) -> None:
    key = acme.done("keys", "create", "acme", "office", "--network", "10.0.0.0/8")
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert acme("check", "--address", address, answer=key).exit_code == 0
    for arguments, place in (
        ((), "nowhere; say from where with --address"),
        (("--address", ""), "nowhere; say from where with --address"),
        (("--address", "192.0.2.1"), "192.0.2.1"),
        (("--address", "home"), "home"),
        (("--address", "a\x1b[31mb"), r"a\x1b[31mb"),
        (("--address", "192.0.2.1", "--project", "acme"), "192.0.2.1"),
    ):
        assert refusal(acme, key, *arguments) == f"403 Forbidden: the key does not work from {place}"


def test_names_are_shown_escaped(acme: Shell, key: str) -> None:
    acme.by_hand("UPDATE keys SET name = 'a\x1b[2Jb'")
    acme.by_hand("UPDATE projects SET name = 'a\x1b[2Jb'")
    acme.done("projects", "create", "other")
    result = acme("check", "--project", "other", answer=key)
    assert facts(result)["answer"] == r"403 Forbidden: the key is of project 'a\x1b[2Jb'"
    assert facts(result)["name"] == r"a\x1b[2Jb"
    assert "\x1b" not in result.output


# -- the bucket --------------------------------------------------------------------------------------------------------


def test_it_says_what_the_bucket_holds_and_takes_nothing(acme: Shell, new: dict[str, Any], buckets: Buckets) -> None:
    for spent, left in ((0, 1_000), (400, 600), (599, 1)):
        if spent:
            buckets.spend(new["family"], spent)
        for _ in range(3):
            result = acme("check", answer=new["key"])
            assert (result.exit_code, facts(result)["bucket"]) == (0, f"{left} of 1000 left")
    assert acme.json("check", answer=new["key"])["bucket"] == "1 of 1000 left"
    assert (set(buckets.peeks), buckets.hits) == ({new["family"]}, [])


def test_an_empty_bucket_is_a_refusal(acme: Shell, new: dict[str, Any], buckets: Buckets) -> None:
    buckets.spend(new["family"], 1_000)
    result = acme("check", answer=new["key"])
    assert (result.exit_code, facts(result)["bucket"]) == (1, "0 of 1000 left")
    assert facts(result)["answer"] == "429 Rate limit exceeded: its bucket holds too little for 1 s more"
    acme.clock.advance(seconds=0.1)
    assert facts(acme("check", answer=new["key"]))["bucket"] == "1 of 1000 left"


def test_a_cost_of_several_tokens_is_part_of_what_is_left(
    acme: Shell, new: dict[str, Any], buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VC_AUTH_COST", "50")
    buckets.spend(new["family"], 940)
    assert facts(acme("check", answer=new["key"]))["bucket"] == "60 of 1000 left"
    buckets.spend(new["family"], 50)
    result = acme("check", answer=new["key"])
    assert (result.exit_code, facts(result)["bucket"]) == (1, "10 of 1000 left")
    assert facts(result)["answer"] == "429 Rate limit exceeded: its bucket holds too little for 4 s more"


def test_a_successor_has_its_predecessors_bucket_and_a_project_may_have_one_for_all(
    acme: Shell, new: dict[str, Any], buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    successor = acme.done("keys", "rotate", new["id"])
    buckets.spend(new["id"], 7)
    assert facts(acme("check", answer=successor))["bucket"] == "993 of 1000 left"
    monkeypatch.setenv("VC_AUTH_LIMIT_BY", "project")
    buckets.spend(new["project"]["id"], 8)
    assert facts(acme("check", answer=successor))["bucket"] == "992 of 1000 left"


def test_who_is_refused_before_has_no_bucket_that_is_asked(acme: Shell, new: dict[str, Any], buckets: Buckets) -> None:
    acme.done("keys", "revoke", new["id"], "--yes")
    assert facts(acme("check", answer=new["key"]))["bucket"] == "-"
    assert acme.json("check", answer=UNKNOWN, code=1)["bucket"] == "-"
    assert acme.json("check", answer="two words", code=1)["bucket"] == "-"
    assert buckets.peeks == buckets.hits == []


def test_without_a_limiter_there_are_no_limits(acme: Shell, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_LIMITER", "none")
    result = acme("check", answer=key)
    assert (result.exit_code, facts(result)["bucket"]) == (0, "no limits")


def test_it_is_not_counted(acme: Shell, new: dict[str, Any]) -> None:
    plain = new.pop("key")
    for arguments in ((), ("--json",), ("--project", "acme")):
        assert acme("check", *arguments, answer=plain).exit_code == 0
    acme.done("projects", "create", "other")
    refusal(acme, plain, "--project", "other")
    assert acme.json("keys", "show", new["id"]) == new
    assert acme.json("usage", "acme", "--by", "month")["usage"][-1]["requests"] == 0


# -- what the servers could not answer ---------------------------------------------------------------------------------


def test_a_plan_that_the_settings_do_not_have_is_said(acme: Shell, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_PLANS", "gold=1/minute:2")
    assert refusal(acme, key) == "503 Service unavailable: plan 'pro' is not in the settings"


@pytest.mark.parametrize(
    ("error", "why"), [(BackendError("no answer within 50 ms"), "no answer within 50 ms"), (KeyError(), "KeyError()")]
)
def test_a_limiter_that_fails_says_why(
    acme: Shell, key: str, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    class Away(Buckets):
        async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
            raise error

    monkeypatch.setattr(session, "VCAuth", partial(VCAuth, limiter=Away(MemoryLimiter())))
    assert refusal(acme, key) == f"503 Service unavailable: {why}"


def test_the_verdict_is_about_the_key_that_is_shown(
    acme: Shell, new: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = SQLKeyStore.find

    async def find_before_it_is_revoked(self: SQLKeyStore, digest: str) -> KeyRecord | None:
        record = await find(self, digest)
        await self.revoke_key(new["id"], utcnow(acme.clock))
        return record

    monkeypatch.setattr(SQLKeyStore, "find", find_before_it_is_revoked)
    result = acme("check", answer=new["key"])
    assert (facts(result)["status"], facts(result)["answer"]) == ("revoked", "401 Invalid API key: the key is revoked")


# -- where the key comes from, and where it never goes -----------------------------------------------------------------


@pytest.mark.parametrize("answer", ["", b"", None])
def test_an_empty_stdin_is_a_mistake(acme: Shell, answer: Answer) -> None:
    for more in ((), ("--json",)):
        assert acme.refused("check", *more, answer=answer, code=2) == (
            "stdin is empty; give the key there, as in `printenv KEY | vc-auth check`"
        )


def test_a_closed_stdin_is_a_mistake_and_a_closed_stdout_is_none(acme: Shell, sh: Sh, key: str) -> None:
    ended = sh("vc-auth check <&-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Error: stdin is empty; give the key there, as in `printenv KEY | vc-auth check`\n"
    for line, code in ((key, 0), (UNKNOWN, 1)):
        ended = sh(f"echo {line} | vc-auth check --json >&-")
        assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_only_the_first_of_many_lines_is_read(acme: Shell, sh: Sh, key: str) -> None:
    ended = sh(f"(echo {key}; cat /dev/zero | head -c 10000000) | vc-auth check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("answer     admitted\n")


@pytest.mark.parametrize(
    "arguments", ["{}", "{} --json", "--json {}", "-- {}", "--address 10.0.0.1 {} more", "Bearer {}"]
)
def test_a_key_that_is_an_argument_is_refused_and_not_repeated(acme: Shell, key: str, arguments: str) -> None:
    result = acme("check", *arguments.format(key).split(), answer=key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"\n\nError: {STDIN}\n")
    assert key not in result.stderr


@pytest.mark.parametrize("arguments", ["--key={}", "--key {}", "-{}", "--project {}"])
def test_a_key_in_the_place_of_something_else_is_not_repeated(acme: Shell, key: str, arguments: str) -> None:
    result = acme("check", *arguments.format(key).split(), answer=key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert key not in result.stderr


def test_somebody_at_a_terminal_is_asked(acme: Shell, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "is_answered", lambda: True)
    result = acme("check", answer=f"\n{key}\n")
    assert (result.exit_code, facts(result)["answer"]) == (0, "admitted")
    assert set(result.stderr.split()) == {"Key:"}
    assert key not in result.output


def test_what_is_typed_need_not_be_text(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "is_answered", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: UNKNOWN + "\udcff")  # a byte that is no UTF-8
    assert acme.refused("check", code=1).startswith("401 Invalid authorization format: ")


def test_a_prompt_that_is_never_answered_is_no_success(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "is_answered", lambda: True)
    result = acme("check", answer="")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Aborted!\n")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what somebody types and sees, and what a process has as its stdin."""
    somebody, stdin = os.openpty()
    os.set_blocking(somebody, False)
    yield somebody, stdin
    os.close(somebody)
    os.close(stdin)


def read_until(pipe: int, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        assert select.select([pipe], [], [], 60)[0], text
        text += (read := os.read(pipe, 1))
        assert read, text
    return text


def test_a_terminal_shows_nothing_of_what_is_typed(acme: Shell, key: str, terminal: tuple[int, int]) -> None:
    somebody, stdin = terminal
    with subprocess.Popen(
        [sys.executable, "-m", "vc_auth.cli", "check"],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that it cannot ask the terminal that the tests run in
    ) as process:
        assert process.stderr is not None
        assert read_until(process.stderr.fileno(), b"Key: ").endswith(b"Key: ")  # its echo is off by then
        os.write(somebody, key.encode() + b"\n")
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"\n")
    assert stdout.endswith(b"answer     admitted\n")
    assert key.encode() not in stdout
    with pytest.raises(BlockingIOError):
        os.read(somebody, 1)


@pytest.mark.parametrize("method", ["find", "get_key", "key_totals"])
@pytest.mark.parametrize("options", [(), ("--json",), ("--project", "acme")], ids=" ".join)
def test_when_it_fails_the_key_stands_in_no_output_no_error_and_no_frame(
    acme: Shell, key: str, watch: Watch, monkeypatch: pytest.MonkeyPatch, method: str, options: tuple[str, ...]
) -> None:
    async def boom(*_: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(SQLKeyStore, method, boom)
    result = CliRunner().invoke(cli, ["check", *options], input=key, standalone_mode=False)
    assert isinstance(result.exception, Refused)
    assert isinstance(result.exception.__context__, RuntimeError)
    watch.look_at_exception(result.exception)
    assert watch.leaks == []
    assert key[3:] not in result.output


def test_the_key_stands_in_no_output(acme: Shell, new: dict[str, Any]) -> None:
    acme.done("projects", "create", "other")
    for options, code in (((), 0), (("--project", "other"), 1), (("--project", "nope"), 1)):
        for more in ((), ("--json",)):
            result = acme("check", *options, *more, answer=new["key"])
            assert result.exit_code == code
            assert new["key"][len(new["display"]) - 3 :] not in result.output
