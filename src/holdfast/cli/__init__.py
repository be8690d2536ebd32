"""The command line; docs/cli.md describes it. It needs the extra `cli`."""

import os
import signal
import sys
import traceback

from . import exit_codes
from .messages import complain, saying, show_warnings_as_lines


def main() -> int:
    """Run what the command line says; return the exit code.

    Without the extra, only `holdfast demo` and `holdfast --version` work; everything else says what to install.
    """
    if sys.stdout is None:  # it was closed when the process was started
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    show_warnings_as_lines()
    try:
        code = _command_line()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None  # what was interrupted may complain, as a half-made event loop does
        return exit_codes.BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:  # as in `holdfast ls | head`
        _leave_stdout()
        return exit_codes.READER_GONE
    except OSError as exc:
        _leave_stdout()
        complain(f"cannot write: {exc.strerror or exc}")
        return exit_codes.FAILED
    except Exception as exc:  # a fault of holdfast's: not with Python's exit code 1, which means "no" here
        with saying():
            traceback.print_exc()
        complain(f"failed, by a fault of its own: {exc!r}")
        return exit_codes.FAILED


def _command_line() -> int:
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        return _command_line_without_extra(sys.argv[1:])
    from .commands import run

    return run()


def _command_line_without_extra(arguments: list[str]) -> int:
    if arguments == ["demo"]:
        from holdfast.demo import demo

        return demo()
    if arguments == ["--version"]:
        from .version import VERSION

        print(VERSION)  # noqa: T201
        return 0
    complain("the command line needs an extra: install holdfast with its extra 'cli'")
    return exit_codes.USAGE


def _leave_stdout() -> None:
    """Throw away what could not be written; else the interpreter would try again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
