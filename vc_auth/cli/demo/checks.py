"""Plays one step over the wire, and holds what came back against what is documented."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import NamedTuple

from vc_auth.cli.demo.story import Step
from vc_auth.cli.demo.wire import Answer, Exchange, Request

Send = Callable[[Request], Exchange]


class Played(NamedTuple):
    """A step, its exchanges in their order, and what was wrong with the last of them; all others were right."""

    step: Step
    exchanges: list[Exchange]
    wrong: list[str]

    def by_worker(self) -> list[tuple[int, Exchange]]:
        """The exchanges, each with the worker that was asked, counted from 1."""
        return [(worker + 1, exchange) for worker, exchange in zip(cycle(self.step.at), self.exchanges, strict=False)]


def play(step: Step, sends: Sequence[Send], on_answer: Callable[[Answer], object]) -> Played:
    """Send the step's request to its workers, once or until all refuse; an answer that is wrong ends it in any case."""
    exchanges, admitting, wrong = list[Exchange](), set(step.at), list[str]()
    for worker in cycle(step.at) if step.until_refused else step.at:
        exchange = sends[worker](step.request)
        exchanges.append(exchange)
        on_answer(exchange.answer)
        wrong = what_is_wrong(step, exchange)
        if exchange.answer.status == 429:
            admitting.discard(worker)
        if wrong or not admitting:
            break
    return Played(step, exchanges, wrong)


def what_is_wrong(step: Step, exchange: Exchange) -> list[str]:
    """Where the answer differs from the nearest documented one; nothing if it is one of them, to the byte.

    The step's bucket learns of it.
    """
    right = [answer for documented in step.documented for answer in documented.answers(exchange, step.bucket)]
    if step.bucket is not None:
        learn = step.bucket.refuse if exchange.answer.status == 429 else step.bucket.spend
        learn(exchange.sent, exchange.received)
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
