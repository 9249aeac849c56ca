"""``vc-auth demo``, whole: the tour, and what comes after it."""

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from io import StringIO
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from vc_auth.cli import demo

DEMO = (sys.executable, "-m", "vc_auth.cli", "demo", "--port", "0")
DEADLINE = 60.0  # seconds; nothing takes that long, and a test that hangs must end
READY = "Ctrl+C ends it."

Tour = Callable[[], tuple[int, str]]

whole_keys = re.compile(r"vc_[0-9a-f]{32}").findall


def test_the_tour_ends_with_0_when_every_answer_is_as_documented() -> None:
    ended = subprocess.run([*DEMO, "--once"], capture_output=True, timeout=DEADLINE, check=False)
    out = ended.stdout.decode()
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "\N{BALLOT X}" not in out
    assert "\x1b" not in out, "escape codes went into a pipe"
    assert len(re.findall("^ \N{CHECK MARK} ", out, re.MULTILINE)) == 18, "17 steps, one of which shows two marks"
    count = re.search(r"^(\d+) of (\d+) answers as documented in \d+\.\d\d s$", out, re.MULTILINE)
    assert count is not None
    assert count[1] == count[2]
    assert int(count[1]) >= 16 + 98


def test_the_tour_shows_every_documented_refusal(tour: Tour) -> None:
    code, out = tour()
    assert code == 0
    for status in ("401 Unauthorized", "403 Forbidden", "429 Too Many Requests", "200 OK"):
        assert status in out
    assert '{"error":"Missing API key","message":"Authorization header is required","status":401}' in out
    assert "retry-after: 1\n" in out
    assert 'www-authenticate: Bearer realm="vc_auth", error="insufficient_scope", scope="cache:read"' in out


def test_the_burst_is_what_was_there_and_what_came_back(tour: Tour) -> None:
    _, out = tour()
    sum_ = re.search(r"(\d+) before \+ (\d+) now = (\d+) at once \+ (\d+) that came back meanwhile", out)
    assert sum_ is not None
    before, now, burst, back = map(int, sum_.groups())
    assert (before, burst) == (3, 100)
    assert before + now == burst + back
    assert f"{now} times 200 OK" in out


def test_whole_keys_are_shown_where_they_are_created_and_nowhere_else(
    tour: Tour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code, out = tour()
    assert code == 0
    shown = [line.strip().removesuffix("  shown this once") for line in out.splitlines() if "shown this once" in line]
    assert len(shown) == 2
    assert sorted(whole_keys(out)) == sorted([*shown, "vc_" + 32 * "0"])
    assert whole_keys(caplog.text) == []


# -- after the tour ----------------------------------------------------------------------------------------------------


def curl_lines(out: str) -> list[str]:
    _, _, lines = out.replace(" \\\n", " ").partition("Try:")
    return [line for line in lines.splitlines() if line.startswith("curl ")]


def curl(line: str) -> tuple[int, str]:
    """What the curl line does, without curl. Knows the options that the demo prints, and no others."""
    command, _, _ = line.partition(" | ")
    words = iter(shlex.split(command)[1:])
    headers: dict[str, str] = {}
    body, url = None, ""
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word in ("-o", "-w"):
            next(words)
        elif word not in ("-i", "-s"):
            url = word
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE)
    try:
        connection.request("GET" if body is None else "POST", parts.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def try_all(out: str) -> None:
    answers = [curl(line) for line in curl_lines(out)]
    assert [status for status, _ in answers] == [200, 401, 200, 200, 200]
    assert answers[0][1] == '{"status":"ok"}'
    assert '"remaining":99,' in answers[2][1], "the key to try has all of its burst"
    assert '"hit":false' in answers[3][1]


def until_ready(lines: Iterable[str]) -> str:
    """All lines to the last one of the invitation."""
    read = []
    for line in lines:
        read.append(line)
        if line.startswith(READY):
            return "".join(read)
    raise AssertionError(f"it ended before it was ready: {read}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_for_the_curl_lines_until_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    with subprocess.Popen([*DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            try_all(until_ready(process.stdout))
            process.send_signal(number)
            assert process.wait(DEADLINE) == 0
            assert process.stdout.read() == ""
            assert process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_signals_and_port_as_it_found_them(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ready = Event()

    class Out(StringIO):
        def write(self, text: str) -> int:
            if READY in text:
                ready.set()
            return super().write(text)

    def interrupt_when_ready() -> None:
        if ready.wait(DEADLINE):
            os.kill(os.getpid(), number)

    out, thread = Out(), Thread(target=interrupt_when_ready)
    thread.start()
    code = demo.run(Console(file=out, width=100), "127.0.0.1", 0, once=False)
    thread.join()
    assert code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(ConnectionRefusedError):
        curl(curl_lines(out.getvalue())[0])


def test_an_interrupted_tour_is_no_success(tour: Tour, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(demo, "send", interrupt)
    code, out = tour()
    assert code == 1
    assert out.endswith("Aborted!\n")
