"""What goes wrong: a user asked wrongly, or it could not be done; and what is wrong with one input of many."""


class WrongUse(ValueError):
    """The request itself cannot be meant: a misspelt option, a missing column. Exit status 2."""


class CannotDo(RuntimeError):
    """The request is sound and still could not be carried out: unreadable input, no row kept. Exit status 1."""


class Unreadable(Exception):
    """An input that cannot become a picture; `reason` is one of the reason codes, and nothing else is said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def many(title: str, problems: list[str]) -> str:
    """One message of all of a user's mistakes.

    >>> print(many("the table", ["row 2: no image", "row 5: empty text"]))
    2 problems in the table
      row 2: no image
      row 5: empty text
    """
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{count} in {title}", *(f"  {problem}" for problem in problems)])


def meant(word: str, known: list[str]) -> str:
    """`, did you mean 'x'?` where a known word is close, else nothing.

    >>> meant("tset", ["train", "test"])
    ", did you mean 'test'?"
    """
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
