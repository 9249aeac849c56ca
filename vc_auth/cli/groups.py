"""What the groups of commands have in common."""

import click


class InOrder(click.Group):
    """A group that lists its commands in the order of their making, which is that of a key's life."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of the commands."""
        return list(self.commands)
