"""Commands with subcommands."""

from __future__ import annotations

import click


class Ordered(click.Group):
    """Subcommands in the order of a first acquaintance, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names, in the order of their registration."""
        return list(self.commands)


class Lists(Ordered):
    """Without the name of a subcommand, what follows is for its subcommand `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `list` before arguments that name no subcommand."""
        first = args[0] if args else ""
        if first not in self.commands and first not in self.get_help_option_names(ctx):
            named = [word for word in args if word in self.commands]
            if named and first.startswith("-"):
                raise click.UsageError(
                    f"options come after `{named[0]}`; a queue of that name: `list {named[0]}`", ctx
                )
            args = ["list", *args]
        return super().parse_args(ctx, args)
