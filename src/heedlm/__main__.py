"""`python -m heedlm`: the same program as `heed`, so that launchers such as torchrun can start it."""

from heedlm.cli import main

if __name__ == "__main__":
    main()
