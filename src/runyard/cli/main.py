"""The entry point of the `runyard` command. Owns the quick answer to `--version`; must import nothing heavy.

Everything else is loaded only when it is asked for, so that the start-up budget holds.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; `arguments` default to those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from runyard import __version__

        print(f"runyard {__version__}")
        return 0
    from runyard.cli.kit.entry import run

    return run(given)


if __name__ == "__main__":
    sys.exit(main())
