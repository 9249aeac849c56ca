"""The demo with several workers, and what the command line does beside them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from vc_auth import NewKey, VCAuth
from vc_auth.cli.demo import beside, worker
from vc_auth.cli.demo.app import create_app, create_settings
from vc_auth.cli.demo.beside import Beside, Command, Counted, Refusals
from vc_auth.cli.demo.crew import on_duty
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.server import DemoServer, address_of, listen
from vc_auth.cli.demo.story import Reckoning, Revocation
from vc_auth.cli.demo.tour import Tour
from vc_auth.cli.demo.wire import Answer, Exchange, Moment, Request, send
from vc_auth.keys import KeyFormat
from vc_auth.testing import some_key, some_project

GET = Request("GET", "/health")


def test_several_workers_refuse_what_the_command_line_revokes_and_count_all_that_came() -> None:
    demo = (sys.executable, "-m", "vc_auth.cli", "demo", "--port", "0", "--once", "--workers", "2")
    ended = subprocess.run(demo, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "2 workers, each with buckets of its own in memory" in ended.stdout
    assert "refused by all 2 workers" in ended.stdout
    refused = re.findall(r"^ \N{CHECK MARK}  worker (\d): 401 Unauthorized after (\d+) ms$", ended.stdout, re.MULTILINE)
    assert [number for number, _ in refused] == ["1", "2"]
    assert all(int(milliseconds) <= 1_000 for _, milliseconds in refused)
    assert re.search(r"\N{CHECK MARK}  \d+ admitted and \d+ rate-limited requests are what the tour has", ended.stdout)


def test_the_welcome_says_that_each_worker_has_buckets_of_its_own() -> None:
    out = StringIO()
    Screen(Console(file=out, width=100)).welcome("http://127.0.0.1:8000", 4)
    assert "\n4 workers, each with buckets of its own in memory; one of them is asked" in out.getvalue()


def test_workers_share_a_socket_and_have_a_door_each(tmp_path: Path) -> None:
    file = tmp_path / "keys.db"
    auth = VCAuth(create_settings(file))
    with listen("127.0.0.1", 0) as listener, on_duty(auth, file, listener, 3) as (_, addresses):
        assert len({*addresses, address_of(listener)}) == 4
        for address in (*addresses, address_of(listener)):
            assert send(*address, GET).answer.status == 200
    for address in addresses:
        assert send(*address, GET).answer.status == 0, "it is over"


def test_a_worker_ends_when_its_stdin_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin, ours = os.pipe()
    with listen("127.0.0.1", 0) as listener:
        address = address_of(listener)
        monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "keys.db"), "2", str(os.dup(listener.fileno()))])
        monkeypatch.setenv("VC_AUTH_LIMITER", "memory://")
        monkeypatch.setattr(worker, "STDIN", stdin)
        thread = Thread(target=worker.main)
        thread.start()
        assert send(*address, GET).answer.status == 200
        os.write(ours, b"what is typed is nothing to it")
        os.close(ours)
        thread.join(30)
        assert not thread.is_alive()
    os.close(stdin)


# -- what is not as it should be ---------------------------------------------------------------------------------------


@pytest.fixture
def key() -> NewKey:
    return NewKey(some_key(some_project()), KeyFormat().generate())


def answering(status: int) -> Callable[[Request], Exchange]:
    return lambda request: Exchange(request, Moment.now(), Moment.now(), Answer(status, (), ""))


class Told(Beside):
    """What the command line says is given."""

    def __init__(self, refusals: Refusals | None = None, counted: Counted | None = None) -> None:
        self.told = refusals, counted

    def revoke(self, key: NewKey) -> Refusals:
        assert self.told[0] is not None
        return self.told[0]

    def usage(self, project: str, expected: tuple[int, ...]) -> Counted:
        assert self.told[1] is not None
        return self.told[1]


def toured(scene: Revocation | Reckoning, told: Told) -> tuple[bool, str]:
    out = StringIO()
    passed = Tour([answering(200)], told, Screen(Console(file=out, width=100))).give([scene])
    return passed, out.getvalue()


@pytest.mark.parametrize(
    ("after", "passed", "line"),
    [
        ([12.0, 34.0], True, " \N{CHECK MARK}  worker 2: 401 Unauthorized after 34 ms"),
        ([12.0, 1_001.0], False, " \N{BALLOT X}  worker 2: 401 Unauthorized after 1001 ms"),
        ([12.0, None], False, " \N{BALLOT X}  worker 2: still lets it in"),
    ],
)
def test_a_worker_that_is_late_is_shown_and_ends_it_with_1(
    key: NewKey, after: list[float | None], passed: bool, line: str
) -> None:
    command = Command(("keys", "revoke"), 0, "Revoked.")
    exchanges = [answering(200)(GET)] * 3
    ended, out = toured(Revocation("A key", key), Told(Refusals(command, after, exchanges)))
    assert ended is passed
    assert line in out
    assert "    $ vc-auth keys revoke\n    Revoked.\n" in out
    assert "asked 3 times meanwhile" in out
    assert out.endswith(f"{3 - (not passed)} of 3 answers as documented in 0.00 s\n")


def test_usage_that_is_not_what_was_sent_is_shown_and_ends_it_with_1() -> None:
    passed, out = toured(Reckoning("All", "acme"), Told(counted=Counted(Command(("usage",), 0, "all"), (1, 0, 0))))
    assert not passed
    assert " \N{BALLOT X}  (0, 0, 0) were sent, (1, 0, 0) counted" in out


@pytest.fixture
def beside_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[VCAuth, DemoServer]]:
    monkeypatch.setattr(beside, "PATIENCE", 0.05)
    auth = VCAuth(create_settings(tmp_path / "keys.db"))
    with listen("127.0.0.1", 0) as listener, DemoServer(create_app(auth), listener) as server:
        yield auth, server


def test_a_worker_that_never_refuses_is_not_waited_for_for_ever(beside_nobody: tuple[VCAuth, DemoServer]) -> None:
    auth, server = beside_nobody
    server.call(auth.registry.create_project("acme"))
    key = server.call(auth.registry.create_key("acme", "ci"))
    refusals = Beside(auth.settings.store, auth.registry, server.call, [answering(200), answering(429)]).revoke(key)
    assert refusals.after == [None, None]
    assert refusals.command.code == 0


def test_a_revocation_that_fails_is_no_refusal(beside_nobody: tuple[VCAuth, DemoServer], key: NewKey) -> None:
    auth, server = beside_nobody
    server.call(auth.registry.create_project("acme"))
    known = server.call(auth.registry.create_key("acme", "ci"))
    bad = Beside("sqlite:////nowhere/keys.db", auth.registry, server.call, [answering(200)]).revoke(known)
    assert (bad.after, bad.command.code) == ([None], 1)
    assert bad.command.output == "Error: there is no file '/nowhere/keys.db'; `vc-auth projects create` makes it"


def test_usage_that_never_comes_is_told_as_it_is(beside_nobody: tuple[VCAuth, DemoServer]) -> None:
    auth, server = beside_nobody
    server.call(auth.registry.create_project("acme"))
    counted = Beside(auth.settings.store, auth.registry, server.call, []).usage("acme", (5, 0, 0))
    assert counted.sums == (0, 0, 0)
