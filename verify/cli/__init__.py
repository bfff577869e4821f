"""The `radiolabel` command: one file per subcommand, and exit codes in one place.

0 the whole job was done, a null finding included; 1 "no"; 2 usage, configuration, input or output; 3 refused;
70 internal error; 130 interrupted; 141 the reader of the output went away.
Heavy modules are imported inside the commands: `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from verify.cli.accounts import accounts
from verify.cli.aliases import aliases
from verify.cli.check import check
from verify.cli.collect import collect
from verify.cli.commit import commit
from verify.cli.embed import embed
from verify.cli.evidence import evidence
from verify.cli.key import key
from verify.cli.ledger import ledger
from verify.cli.merge import merge
from verify.cli.output import shown
from verify.cli.plan import plan
from verify.cli.policy import policy
from verify.cli.power import power
from verify.cli.probe import probe
from verify.cli.provision import provision
from verify.cli.redact import redact
from verify.cli.report import report
from verify.cli.test import test
from verify.cli.trace import trace
from verify.cli.twins import twins
from verify.cli.verify import verify
from verify.errors import Error as VerifyError
from watermark import __version__
from watermark.errors import Error as WatermarkError

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


EXIT_CODES = """\b
Exit codes:
  0    the whole job was done; a null finding is a finding
  1    "no": --exit-code was given and nothing was found
  2    usage, configuration, input or output
  3    refused: valid input that cannot be used
  70   internal error
  130  interrupted
  141  whoever read the output closed it"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="radiolabel")
def cli() -> None:
    """Tag every token a model samples, and later prove that somebody used them.

    \b
    Example:
      radiolabel key new -o master.key
      radiolabel key derive master.key --path epoch/2026-q4/fleet -o fleet.key
      radiolabel verify --key fleet.key --tokenizer tokenizer.json answers.jsonl
    """


for command in (
    key,
    provision,
    commit,
    plan,
    ledger,
    embed,
    twins,
    verify,
    merge,
    collect,
    probe,
    test,
    accounts,
    trace,
    power,
):
    cli.add_command(command)
for command in (evidence, redact, aliases, policy, check, report):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name; the process's own if None.
    """
    try:
        result = cli.main(args=arguments, prog_name="radiolabel", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return EXIT_USAGE
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _complain("interrupted", None, EXIT_INTERRUPTED)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"see {context.command_path} --help" if context else None
        return _complain(error.format_message(), hint, EXIT_USAGE)
    except (BrokenPipeError, SystemExit):  # click turns a broken pipe, and nothing else here, into SystemExit(1)
        return EXIT_BROKEN_PIPE
    except OSError as error:
        return _complain(f"{error.filename or 'standard output'}: {error.strerror}", None, EXIT_USAGE)
    except MemoryError:
        return _complain("out of memory", "split the input into smaller documents", EXIT_USAGE)
    except Exception as error:
        if isinstance(error, (WatermarkError, VerifyError)):
            return _complain(str(error), error.hint, getattr(error, "exit_code", EXIT_USAGE))
        # Places and the type only: a message could quote anything.
        frames = "".join(f"  {f.filename}:{f.lineno} {f.name}\n" for f in traceback.extract_tb(error.__traceback__))
        return _complain(f"internal error: {type(error).__name__}\n{frames}", "please report this", EXIT_INTERNAL)


def _complain(message: str, hint: str | None, code: int) -> int:
    text = f"radiolabel: {message.rstrip()}\n" + (f"hint: {hint}\n" if hint else "")
    with suppress(OSError, ValueError):  # a closed or full stderr must not change the exit code
        sys.stderr.write(shown(text))
        sys.stderr.flush()
    return code


def entry_point() -> None:
    """The console script."""
    closed = [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]
    if any(closed):
        # A file opened later must not become standard output by taking its number.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    code = _complain("standard output is closed", None, EXIT_USAGE) if closed[1] else main()
    try:
        if not closed[1]:
            sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        # The interpreter would flush again at its end, fail, and change the exit code.
        os._exit(code)
    sys.exit(code)
