"""The tour: scene after scene, and the count at its end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from vc_auth.cli.demo.beside import Beside
from vc_auth.cli.demo.checks import Send, play
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.story import Deed, Reckoning, Revocation, Scene, Step
from vc_auth.cli.demo.wire import Exchange
from vc_auth.keys import Secret

BOUND: Final = 1_000.0  # milliseconds until a revocation has reached all workers: the contract's, for SQLite


class Tour:
    """Plays scenes with ``beside`` and workers that each answer to one of ``sends``.

    Shows them on ``screen``, and remembers how they went.
    """

    def __init__(self, sends: Sequence[Send], beside: Beside, screen: Screen) -> None:
        self._sends = sends
        self._beside = beside
        self._screen = screen
        self._answers = self._wrong = self._steps = self._waited = 0
        self._counted: Counter[str] = Counter()

    def give(self, scenes: Iterable[Scene]) -> bool:
        """Show every scene. Returns whether every answer was as documented."""
        for scene in scenes:
            if isinstance(scene, Deed):
                self._screen.tell(scene)
                continue
            self._steps += 1
            self._screen.announce(self._steps, scene.title)
            if isinstance(scene, Step):
                self._play(scene)
            elif isinstance(scene, Revocation):
                self._revoke(scene)
            else:
                self._reckon(scene)
        self._screen.sum_up(self._answers - self._wrong, self._answers, self._waited / 1_000_000)
        return self._wrong == 0

    def _play(self, step: Step) -> None:
        self._screen.ask(step.request)
        with self._screen.watching(step) as on_answer:
            played = play(step, self._sends, on_answer)
        self._screen.answer(played)
        self._count(played.exchanges, bool(played.wrong))

    def _revoke(self, scene: Revocation) -> None:
        refusals = self._beside.revoke(scene.key)
        late = [after for after in refusals.after if after is None or after > BOUND]
        self._screen.refusals(refusals, late=bool(late))
        self._count(refusals.exchanges, bool(late))

    def _reckon(self, scene: Reckoning) -> None:
        sent = self._counted["admitted"], self._counted["limited"], 0
        counted = self._beside.usage(scene.project, sent)
        self._screen.counted(counted, sent)
        self._answers += 1
        self._wrong += counted.sums != sent

    def _count(self, exchanges: list[Exchange], is_wrong: bool) -> None:
        self._answers += len(exchanges)
        self._wrong += is_wrong
        self._waited += sum(exchange.received.monotonic - exchange.sent.monotonic for exchange in exchanges)
        self._counted.update(map(_outcome, exchanges))


def _outcome(exchange: Exchange) -> str:
    """As what the request counts. Of those with a key only what the bucket saw carries limit headers."""
    if not isinstance(exchange.request.credentials, Secret):
        return "nothing"
    if exchange.answer.status == 429:
        return "limited"
    return "admitted" if "x-ratelimit-limit" in dict(exchange.answer.headers) else "nothing"
