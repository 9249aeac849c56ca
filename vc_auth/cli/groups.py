"""What the groups of commands have in common."""

import re

import click


class InOrder(click.Group):
    """A group that lists its commands in the order of their making, which is that of a key's life."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of the commands."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant. Of one that is not there click repeats the name, but not if it may be a key."""
        if re.search(r"[0-9A-Fa-f]{32}", args[0]):
            ctx.fail("This looks like a key, and no command is called so. `vc-auth check` reads a key from stdin.")
        return super().resolve_command(ctx, args)
