"""``python -m h3py``: the command line."""

from h3py.cli import main

if __name__ == "__main__":
    main(prog_name="h3py")
