"""The program `mmssl`, `python -m mmssl`, and `accelerate launch -m mmssl pretrain ...`."""

import sys


def main() -> None:
    """Runs a command; Ctrl-C while it is still being imported ends it as it does later."""
    try:
        from mmssl.cli import main as run

        run()
    except KeyboardInterrupt:
        print("\nmmssl: stopped by Ctrl-C; what was written before is whole", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
