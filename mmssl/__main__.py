"""`python -m mmssl`, and `accelerate launch -m mmssl pretrain ...`."""

from mmssl.cli import main

if __name__ == "__main__":
    main()
