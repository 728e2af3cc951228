"""One file knows one source's layout; the file name is the layout's name."""
