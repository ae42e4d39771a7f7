"""`python -m dsl` is the command `dslgen`."""

from dsl.cli import main

if __name__ == "__main__":
    main()
