"""One file is one published evaluation, frozen: the file name is the protocol's name."""
