"""A click group whose commands are loaded when called, and whose failures are a sentence and a hint.

`holepunch --help` must be instant, so the group knows each command's summary without importing it.
Whatever goes wrong below ends here: one sentence, one hint, one exit status (holepunch.errors).
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from ..errors import HolepunchError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
BROKEN_PIPE = 141  # 128 + SIGPIPE
UNEXPECTED = 1


class LazyGroup(click.Group):
    """A group of commands in modules of their own.

    Args:
        commands: the summary of each command, by name; `NAME` lives in `holepunch.cli.NAME` as `command`.
        sections: the title of each group of options, and the names of their parameters.
        chapters: titles and texts that follow the commands in the help.
    """

    def __init__(
        self,
        *args: Any,
        lazy_commands: Mapping[str, str],
        sections: Mapping[str, Sequence[str]],
        chapters: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._summaries = lazy_commands
        self._sections = sections
        self._chapters = chapters

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries:
            return None
        command = import_module(f".{cmd_name}", __package__).command
        if not isinstance(command, click.Command):
            raise TypeError(f"holepunch.cli.{cmd_name}:command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or says which one may have been meant."""
        if args and args[0] not in self._summaries:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self._summaries, n=1)
            hint = f"Did you mean `{close[0]}`?" if close else f"The commands are {', '.join(self._summaries)}."
            raise click.UsageError(f"there is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offers commands without loading them, and options."""
        names = [(name, summary) for name, summary in self._summaries.items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=summary) for name, summary in names]
        # Past click.Group, which loads every command that fits to see whether it is hidden.
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options by section, the commands, and the chapters."""
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        for title, names in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records.pop(name, None))])
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))
        for title, text in self._chapters.items():
            with formatter.section(title):
                for line in text.strip("\n").splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n" if line else "\n")

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the program; in standalone mode it ends the process with the right exit status."""
        arguments = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(
                arguments,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            sys.stdout.flush()
        except BrokenPipeError:
            _end_quietly(BROKEN_PIPE)
        except Exception as error:  # noqa: BLE001  # the one place where every failure becomes a sentence
            sys.exit(show(error, verbose=_is_verbose(arguments)))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def show(error: BaseException, *, verbose: bool = False) -> int:
    """Writes an error to stderr as one sentence and one hint; returns its exit status."""
    if isinstance(error, HolepunchError):
        _say(str(error), error.hint)
        status = error.exit_status
    elif isinstance(error, click.exceptions.Abort):
        return INTERRUPTED
    elif isinstance(error, click.ClickException):
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "holepunch"
        _say(_sentence(error.format_message()), f"See {usage} --help.")
        return error.exit_code
    elif isinstance(error, ExceptionGroup):
        return _show_group(error, verbose=verbose)
    else:
        _say(
            unexpected(error),
            "Please report it with the output of `holepunch doctor` and of the same command with -v."
            if not verbose
            else "Please report it with the traceback below and the output of `holepunch doctor`.",
        )
        status = UNEXPECTED
    if verbose:
        import traceback

        traceback.print_exception(error)
    return status


def unexpected(error: BaseException) -> str:
    """Returns the sentence for an error that nobody foresaw."""
    text = " ".join(str(error).split())
    return f"an unexpected error, which is a fault of holepunch: {type(error).__name__}{f': {text}' if text else ''}"


def _show_group(group: ExceptionGroup[Exception], *, verbose: bool) -> int:
    """Shows what a task group raised: the one failure that a person can act on, if there is one."""
    leaves = list(_leaves(group))
    known = [error for error in leaves if isinstance(error, HolepunchError)]
    return show((known or leaves)[0], verbose=verbose)


def _leaves(group: ExceptionGroup[Exception]) -> Iterable[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _sentence(text: str) -> str:
    """Writes click's messages as ours: no capital, no full stop at the end."""
    text = text[:1].lower() + text[1:] if text[1:2].islower() else text
    return text.removesuffix(".")


def _say(sentence: str, hint: str) -> None:
    click.echo(f"{click.style('holepunch:', fg='red', bold=True)} {sentence}", err=True)
    if hint:
        click.echo(f"  {click.style('hint:', bold=True)} {hint}", err=True)


def _is_verbose(arguments: Sequence[str]) -> bool:
    """Returns whether -v was given, anywhere: the options may not have been parsed."""
    return any(arg == "--verbose" or (arg[:1] == "-" and set(arg[1:]) == {"v"}) for arg in arguments)


def _end_quietly(status: int) -> NoReturn:
    """Ends when the reader of our output has gone, as in `holepunch ... | head -1`."""
    import os

    # What is still buffered would raise again at exit, and be reported there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
