"""The command `reynard-diffusion completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_REYNARD_DIFFUSION_COMPLETE"
"""The variable by which the script asks the program; click derives it from the program's name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  reynard-diffusion completion bash >> ~/.bashrc
    zsh:   reynard-diffusion completion zsh >> ~/.zshrc
    fish:  reynard-diffusion completion fish > ~/.config/fish/completions/reynard-diffusion.fish
    """
    root = ctx.find_root()
    script = get_completion_class(shell)
    assert script is not None, "click knows all of the choices"
    click.echo(script(root.command, {}, str(root.info_name), VARIABLE).source())
