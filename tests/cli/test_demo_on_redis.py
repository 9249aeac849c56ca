"""``vc-auth demo --redis``: the same tour, its buckets on a real Redis, and one burst for all workers together."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from redis_servers import Cluster, RedisServer, free_port
from rich.console import Console

from vc_auth import Settings
from vc_auth.cli import demo
from vc_auth.cli.commands import cli
from vc_auth.cli.demo.app import create_settings
from vc_auth.cli.demo.bucket import Bucket
from vc_auth.cli.demo.checks import Played, play
from vc_auth.cli.demo.documents import HIT, RATE_LIMITED
from vc_auth.cli.demo.knock import NoRedis, knock
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.story import Step
from vc_auth.cli.demo.wire import Answer, Exchange, Moment, Request
from vc_auth.limiters.redis import link

PASSWORD = "s3cr3t"
SECOND = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", PASSWORD) as server:
        yield server


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"redis://:{PASSWORD}@127.0.0.1:{server.port}"


@pytest.fixture
def client(server: RedisServer) -> Iterator["redis.Redis"]:
    with redis.Redis(port=server.port, password=PASSWORD, decode_responses=True) as client:
        yield client


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["demo", "--once", "--port", "0", "--redis", url, *arguments])


# -- the tour ----------------------------------------------------------------------------------------------------------


def test_four_workers_spend_one_burst_together(server: RedisServer, url: str, client: "redis.Redis") -> None:
    client.flushall()
    words = (sys.executable, "-m", "vc_auth.cli", "demo", "--port", "0", "--once", "--workers", "4", "--redis", url)
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    out = ended.stdout
    assert (ended.returncode, ended.stderr) == (0, ""), out
    assert "\N{BALLOT X}" not in out
    assert PASSWORD not in out
    assert f"4 workers, their buckets on redis://:***@127.0.0.1:{server.port}; one of them is asked" in out
    assert re.findall(r'worker (\d): 200 OK .*\n    ratelimit: "free";r=\d+;t=1\n', out) == ["2", "3", "4"]
    before, now, burst, back = map(int, re.findall(r"(\d+) before \+ (\d+) now = (\d+) at once \+ (\d+) that", out)[0])
    assert (before, burst) == (3 + 3, 100)
    assert before + now == burst + back, "not one more than the plan allows"
    admitted = [int(count) for count in re.findall(r"(\d+) at worker \d", out)]
    assert len(admitted) == 4
    assert sum(admitted) == now
    assert min(admitted) >= 20, "they were asked in turn"
    assert "429 Too Many Requests, from every worker" in out
    assert "refused by all 4 workers" in out

    assert client.keys(), "the buckets are there"
    for key in client.scan_iter():
        assert re.fullmatch(r"vc1:\{s\d\d\}:\S+", key)
        assert -2 <= client.ttl(key) <= 100, "and not for long"


def test_one_worker_gives_the_same_tour(server: RedisServer) -> None:
    result = run(f"unix://:{PASSWORD}@{server.socket}")
    assert result.exit_code == 0, result.output
    assert f"Buckets on unix://:***@{server.socket}." in " ".join(result.output.split())
    assert "3 before + " in result.output
    assert "at worker" not in result.output
    assert PASSWORD not in result.output


def test_a_worker_with_buckets_of_its_own_is_found_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_other_settings(file: Path, _limiter: str, workers: int) -> Settings:
        return create_settings(file, "memory://", workers)

    monkeypatch.setattr(demo, "create_settings", create_other_settings)
    result = run(url, "--workers", "2")
    assert result.exit_code == 1
    assert "\n \N{BALLOT X}  worker 2: 200 OK" in result.output
    assert re.search(r"x-ratelimit-remaining: \d\d is documented, 99 came", result.output)


def test_while_redis_is_away_each_of_four_workers_has_a_quarter_of_the_plan() -> None:
    settings = create_settings("keys.db", "redis://localhost", 4)
    assert (settings.limiter, settings.on_limiter_error, settings.limiter_share) == ("redis://localhost", "local", 0.25)
    assert settings.problems() == ()


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "memory://", "none", f"limits+redis://:{PASSWORD}@h", f"https://:{PASSWORD}@h", f":{PASSWORD}@h:6379"]
)
def test_what_is_no_url_of_a_redis_is_not_understood_and_not_repeated(url: str) -> None:
    result = run(url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for '--redis': this is no URL of a Redis; give 'redis://host:6379'" in result.stderr
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"redis://:{PASSWORD}@h:0", "'redis://:***@h:0' has no host and port in 'h:0'; give them as in 'host:6379'"),
        (f"redis://:{PASSWORD}@h,g", "'redis://:***@h,g' names several servers; give 'redis+cluster://' or"),
        (f"redis+sentinel://:{PASSWORD}@h", "'redis+sentinel://:***@h' names no service; give"),
        (f"redis+cluster://:{PASSWORD}@h/3", "names database 3; a cluster has only database 0"),
    ],
)
def test_a_url_that_cannot_be_gets_the_sentence_of_the_settings_without_its_password(url: str, told: str) -> None:
    result = run(url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize("credentials", ["", ":wr0ng@", "nobody:wr0ng@"])
def test_who_is_not_let_in_is_told_so_before_anything_starts(server: RedisServer, credentials: str) -> None:
    result = run(f"redis://{credentials}127.0.0.1:{server.port}", "--workers", "4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: Redis at 127.0.0.1:{server.port} does not let us in: ")
    assert result.stderr.endswith("; check the user and the password in the URL\n")
    assert result.stderr.count("\n") == 1
    assert "wr0ng" not in result.stderr


def test_a_redis_that_is_away_is_one_clear_sentence() -> None:
    port = free_port()
    result = run(f"redis://:{PASSWORD}@127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: Redis at 127.0.0.1:{port} is away: ")
    assert result.stderr.count("\n") == 1
    assert PASSWORD not in result.stderr


def test_a_redis_that_is_too_old_is_one_clear_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OLDEST", (99, 0))
    result = run(url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: Redis at 127.0.0.1:\d+ is version [\d.]+; it has to be 6.2 or newer\n", result.stderr)


def test_a_redis_that_cannot_be_written_to_is_one_clear_sentence(url: str, client: "redis.Redis") -> None:
    client.config_set("min-replicas-to-write", 1)
    try:
        result = run(url)
    finally:
        client.config_set("min-replicas-to-write", 0)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.match(r"Error: Redis at 127.0.0.1:\d+ refuses: .*NOREPLICAS", result.stderr)
    assert result.stderr.count("\n") == 1


def test_a_cluster_is_asked_as_one() -> None:
    with Cluster() as cluster:
        knock(cluster.url)
        with pytest.raises(NoRedis, match=r"is part of a cluster; use 'redis\+cluster://'"):
            knock(cluster.nodes[0].url)


def test_the_help_says_what_is_left_in_that_redis() -> None:
    text = " ".join(CliRunner().invoke(cli, ["demo", "--help"]).output.split())
    assert "--redis URL" in text
    assert "It leaves a few keys there, which expire by themselves in under two minutes." in text


# -- several workers, and what is shown of them ------------------------------------------------------------------------


class Workers:
    """Answer what they are told, one after the other, whoever is asked."""

    def __init__(self, *statuses: int) -> None:
        self.asked: list[int] = []
        self._statuses = iter(statuses)
        self._bucket = Bucket()
        self.step = Step("", Request("GET", "/"), (HIT, RATE_LIMITED), self._bucket, at=(0, 1), until_refused=True)
        for _ in range(98):  # two are left
            self._bucket.spend(self._now(), self._now())

    def send(self, worker: int, request: Request) -> Exchange:
        self.asked.append(worker)
        now, status = self._now(), next(self._statuses)
        nothing = Exchange(request, now, now, Answer(0, (), ""))
        said = HIT if status == 200 else RATE_LIMITED
        return nothing._replace(answer=next(said.answers(nothing, self._bucket), Answer(status, (), "")))

    def play(self) -> Played:
        return play(self.step, [partial(self.send, worker) for worker in range(2)], id)

    def _now(self) -> Moment:
        return Moment(SECOND, SECOND)


def shown(played: Played) -> str:
    out = StringIO()
    Screen(Console(file=out, width=100)).answer(played)
    return out.getvalue()


def test_workers_are_asked_in_turn_until_each_has_refused() -> None:
    workers = Workers(200, 200, 429, 429)
    played = workers.play()
    assert workers.asked == [0, 1, 0, 1]
    assert played.wrong == []
    assert shown(played).startswith(
        " \N{CHECK MARK}  2 times 200 OK  0.00 s\n"
        "    1 at worker 1, 1 at worker 2\n"
        "    r=1 down to r=0\n"
        "    98 before + 2 now = 100 at once + 0 that came back meanwhile\n"
        " \N{CHECK MARK}  429 Too Many Requests, from every worker  0.0 ms\n"
    )


def test_a_worker_that_admits_one_too_many_is_named_and_ends_it() -> None:
    workers = Workers(200, 200, 429, 200)
    played = workers.play()
    assert workers.asked == [0, 1, 0, 1]
    assert played.wrong[0] == "status: 429 is documented, 200 came"
    assert "\n \N{BALLOT X}  worker 2: 200 OK" in shown(played)
    assert "that came back meanwhile" not in shown(played)


def test_a_burst_of_which_nothing_was_left_has_no_sum() -> None:
    workers = Workers(200, 200, 429, 429, 429, 429)
    workers.play()
    played = workers.play()
    assert played.wrong == []
    assert shown(played).startswith(" \N{CHECK MARK}  429 Too Many Requests, from every worker")


def test_what_each_of_several_workers_answers_to_one_request_is_shown_at_its_name() -> None:
    workers = Workers(200, 200)
    step = replace(workers.step, at=(1, 2), until_refused=False, shows=("ratelimit",))
    played = play(step, [partial(workers.send, number) for number in range(3)], id)
    assert workers.asked == [1, 2]
    assert shown(played).startswith(
        " \N{CHECK MARK}  worker 2: 200 OK  0.0 ms\n"
        '    ratelimit: "free";r=1;t=1\n'
        " \N{CHECK MARK}  worker 3: 200 OK  0.0 ms\n"
        '    ratelimit: "free";r=0;t=1\n'
        '    {"hit":true,'
    )


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("redis://u:s3cr3t@[fe80::1]:6379", "Buckets on redis://u:***@[fe80::1]:6379."),
        ("redis://\x1b[31m:s3cr3t@h", r"Buckets on redis://\x1b[31m:***@h."),
        ("redis+sentinel://h/m?sentinel_password=s3cr3t", "Buckets on redis+sentinel://h/m?sentinel_password=***."),
    ],
)
def test_the_welcome_says_where_the_buckets_are_as_it_may_be_shown(url: str, line: str) -> None:
    out = StringIO()
    Screen(Console(file=out, width=120)).welcome("http://127.0.0.1:8000", redis=url)
    assert line in out.getvalue().splitlines()
