"""The tour: scene after scene, and the count at its end."""

from collections.abc import Iterable

from vc_auth.cli.demo.checks import Send, play
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.story import Deed, Scene


def give(scenes: Iterable[Scene], send: Send, screen: Screen) -> bool:
    """Show every scene on ``screen``. Returns whether every answer was as documented."""
    answers = wrong = steps = waited = 0
    for scene in scenes:
        if isinstance(scene, Deed):
            screen.tell(scene)
            continue
        steps += 1
        screen.ask(steps, scene)
        with screen.watching(scene) as on_answer:
            played = play(scene, send, on_answer)
        screen.answer(played)
        waited += sum(exchange.received.monotonic - exchange.sent.monotonic for exchange in played.exchanges)
        answers += len(played.exchanges)
        wrong += bool(played.wrong)
    screen.sum_up(answers - wrong, answers, waited / 1_000_000)
    return not wrong
