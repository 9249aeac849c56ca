"""How the demo judges answers, and how it shows them."""

import re
from collections.abc import Callable
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.console import Console

from vc_auth.cli import demo
from vc_auth.cli.demo import screen
from vc_auth.cli.demo.bucket import Bucket
from vc_auth.cli.demo.checks import play, what_is_wrong
from vc_auth.cli.demo.documents import HEALTHY, HIT, MISSING_KEY, RATE_LIMITED
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.story import Deed, Step
from vc_auth.cli.demo.wire import Answer, Exchange, Moment, Request

GET = Request("GET", "/api/v1/usage")


# -- checks ------------------------------------------------------------------------------------------------------------


NOW = Moment(1_000_000_000, 1_700_000_000_000_000)
NONE = Answer(0, (), "")


def exchange(answer: Answer) -> Exchange:
    return Exchange(GET, NOW, NOW, answer)


def right(step: Step) -> Answer:
    """The first right answer to a step, at this moment."""
    return next(step.documented[0].answers(exchange(NONE), step.bucket))


def test_the_documented_answer_is_right_and_no_other() -> None:
    step = Step("", GET, (MISSING_KEY,))
    answer = right(step)
    assert answer.headers == (
        ("cache-control", "no-store"),
        ("content-length", "85"),
        ("content-type", "application/json"),
        ("www-authenticate", 'Bearer realm="vc_auth"'),
    )
    assert what_is_wrong(step, exchange(answer)) == []
    for wrong in (
        answer._replace(status=403),
        answer._replace(body=answer.body + "\n"),
        answer._replace(body=answer.body.replace(":", ": ")),
        answer._replace(headers=answer.headers[1:]),
        answer._replace(headers=(*answer.headers, ("x-ratelimit-limit", "100"))),
        answer._replace(headers=(answer.headers[0], *answer.headers)),
    ):
        assert len(what_is_wrong(step, exchange(wrong))) == 1


def test_a_burst_ends_with_its_first_refusal() -> None:
    step = Step("", GET, (HIT, RATE_LIMITED), Bucket(), until_refused=True)

    def limited(request: Request) -> Exchange:
        answers = [answer for document in step.documented for answer in document.answers(exchange(NONE), step.bucket)]
        return exchange(answers[0])

    seen: list[Answer] = []
    played = play(step, [limited], seen.append)
    assert played.wrong == []
    assert [answer.status for answer in seen] == [200] * 100 + [429]
    assert [answer for _, _, _, answer in played.exchanges] == seen


def test_a_refusal_is_wrong_while_tokens_are_left() -> None:
    step = Step("", GET, (HIT, RATE_LIMITED), Bucket(), until_refused=True)
    empty = Bucket()
    for _ in range(100):
        empty.spend(NOW, NOW)
    too_early = next(RATE_LIMITED.answers(exchange(NONE), empty))
    assert "status: 200 is documented, 429 came" in play(step, [lambda _: exchange(too_early)], id).wrong


def test_an_admission_is_wrong_when_no_token_is_left() -> None:
    step = Step("", GET, (HIT, RATE_LIMITED), Bucket(), until_refused=True)
    hundredth = [right(step)]

    def generous(request: Request) -> Exchange:
        hundredth[:] = list(HIT.answers(exchange(NONE), step.bucket)) or hundredth
        return exchange(hundredth[0])

    played = play(step, [generous], id)
    assert len(played.exchanges) == 101
    assert "status: 429 is documented, 200 came" in played.wrong


# -- screen ------------------------------------------------------------------------------------------------------------


def shown(show: Callable[[Screen], None], *, width: int = 80, terminal: bool = False, encoding: str = "utf-8") -> str:
    file = TextIOWrapper(BytesIO(), encoding, newline="\n")
    show(Screen(Console(file=file, width=width, force_terminal=terminal, highlight=False)))
    file.seek(0)
    return file.read()


def test_long_lines_are_indented_and_broken_after_a_comma_or_a_space() -> None:
    body = right(Step("", GET, (RATE_LIMITED,))).body
    step = Step("", Request("POST", "/", body=body), (HEALTHY,))
    lines = shown(lambda screen: screen.ask(step.request)).splitlines()
    assert lines == [
        "    POST /",
        '    {"error":"Rate limit exceeded","message":"You have exceeded your rate',
        '    limit. Please try again later.","retry_after":1,"status":429}',
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 100])
def test_nothing_is_wider_than_the_screen(width: int) -> None:
    step = Step("A title", Request("POST", "/api/v1/check", 300 * "x", "a b, c" * 50), (HEALTHY,))

    def show(screen: Screen) -> None:
        screen.announce(12, step.title)
        screen.ask(step.request)

    out = shown(show, width=width)
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", " \N{CHECK MARK}"), ("ascii", "ok"), ("latin-1", "ok")])
def test_marks_are_ascii_where_the_output_is(encoding: str, mark: str) -> None:
    step = Step("", GET, (HEALTHY,))
    played = play(step, [lambda _: exchange(right(step))], id)
    out = shown(lambda screen: screen.answer(played), encoding=encoding)
    assert out.startswith(f"{mark}  200 OK  0.0 ms\n")


def test_a_status_that_nobody_knows_is_shown_as_it_is() -> None:
    step = Step("", GET, (HEALTHY,))
    played = play(step, [lambda _: exchange(Answer(799, (("x-ratelimit-remaining", "many"),), ""))], id)
    assert shown(lambda screen: screen.answer(played)).startswith(" \N{BALLOT X}  799   0.0 ms\n")


def test_a_burst_of_an_application_that_says_no_numbers_can_be_shown() -> None:
    step = Step("", GET, (HIT, RATE_LIMITED), Bucket(), until_refused=True)
    played = play(step, [lambda _: exchange(Answer(200, (("x-ratelimit-remaining", "many"),), ""))], id)
    doubled = played._replace(exchanges=played.exchanges * 2)
    assert "r=0 down to r=0" in shown(lambda screen: screen.answer(doubled))


def test_in_a_terminal_there_are_colours_and_a_bar_that_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(screen, "PACE", 0)
    monkeypatch.setattr(screen, "DRIP", 0)
    file = StringIO()
    code = demo.run(Console(file=file, width=100, force_terminal=True, highlight=False), "127.0.0.1", 0, once=True)
    assert code == 0
    assert "\x1b[1;32m \N{CHECK MARK}" in file.getvalue()
    assert "100 left" in file.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(screen, "PACE", 0)
    out = shown(lambda screen: screen.tell(Deed(("pass",))), terminal=True)
    assert re.findall(r"\x1b\[[\d;]*3\dm", out) == []


def test_a_single_request_needs_no_bar() -> None:
    with Screen(Console(file=StringIO())).watching(Step("", GET, (HEALTHY,))) as on_answer:
        assert on_answer(NONE) is None
