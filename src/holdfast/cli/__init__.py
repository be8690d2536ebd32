"""The command line, with the extra `cli`: see docs/cli.md."""

import sys


def main() -> int:
    """Run what the command line says; return the exit code.

    Without the extra only `holdfast demo` and `holdfast --version` work, and everything else says what to install.
    """
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        return _main_without_extra(sys.argv[1:])
    from .commands import run

    return run()


def _main_without_extra(arguments: list[str]) -> int:
    if arguments == ["demo"]:
        from holdfast._demo import demo

        return demo()
    if arguments == ["--version"]:
        from holdfast import __version__

        print(f"holdfast {__version__}")  # noqa: T201
        return 0
    print("holdfast: the command line needs an extra: pip install 'holdfast[cli]'", file=sys.stderr)  # noqa: T201
    return 2
