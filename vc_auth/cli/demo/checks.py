"""Plays one step over the wire, and holds what came back against what is documented."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from vc_auth.cli.demo.story import Step
from vc_auth.cli.demo.wire import Answer, Exchange, Request

Send = Callable[[Request], Exchange]


class Played(NamedTuple):
    """A step, its exchanges in their order, and what was wrong with the last of them; all others were right."""

    step: Step
    exchanges: list[Exchange]
    wrong: list[str]


def play(step: Step, send: Send, on_answer: Callable[[Answer], object]) -> Played:
    """Send the step's request once, or until it is refused; the first answer that is wrong ends it in any case."""
    exchanges: list[Exchange] = []
    while True:
        exchange = send(step.request)
        exchanges.append(exchange)
        on_answer(exchange.answer)
        wrong = what_is_wrong(step, exchange)
        if wrong or not step.until_refused or exchange.answer.status == 429:
            return Played(step, exchanges, wrong)


def what_is_wrong(step: Step, exchange: Exchange) -> list[str]:
    """Where the answer differs from the nearest documented one; nothing if it is one of them, to the byte.

    If it was admitted, it is charged to the step's bucket.
    """
    right = [answer for documented in step.documented for answer in documented.answers(exchange, step.bucket)]
    if step.bucket is not None and exchange.answer.status != 429:
        step.bucket.spend(exchange.sent, exchange.received)
    return min((list(_differences(exchange.answer, answer)) for answer in right), key=len)


def _differences(heard: Answer, right: Answer) -> Iterator[str]:
    if heard.status != right.status:
        yield f"status: {right.status} is documented, {heard.status or 'nothing'} came"
    for name in sorted({name for name, _ in (*heard.headers, *right.headers)}):
        came, documented = (_values(answer, name) for answer in (heard, right))
        if came != documented:
            yield f"{name}: {documented or 'nothing'} is documented, {came or 'nothing'} came"
    if heard.body != right.body:
        yield f"body: {right.body} is documented"


def _values(answer: Answer, name: str) -> str:
    return ", ".join(value for other, value in answer.headers if other == name)
