"""A part is found by its file's name, or by a dotted path that the user wrote."""

import pytest

from mmssl import plugins
from mmssl.errors import WrongUse


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A package of the user's own, with one objective."""
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").touch()
    (tmp_path / "my_lab" / "losses.py").write_text(
        "class Objective:\n    def __init__(self, width, *, margin: float = 0.2, rounds: int, files: str = ''): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "my_lab.losses"


@pytest.mark.parametrize("kind", plugins.CLASS)
def test_every_file_is_a_part_that_can_be_found(kind):
    found = {name: plugins.find(kind, name) for name in plugins.names(kind)}
    assert found
    for name, part in found.items():
        assert part.__name__ == plugins.CLASS[kind]
        assert part.__module__ == f"mmssl.{kind}.{name}"


def test_a_misspelt_part_is_told_with_the_near_miss():
    with pytest.raises(WrongUse) as caught:
        plugins.find("objectives", "image_reprot")
    there = ", ".join(plugins.names("objectives"))
    assert str(caught.value) == (
        f"no such part in objectives: 'image_reprot', did you mean 'image_report'?; there are {there}"
    )


def test_a_dotted_path_is_a_part_of_the_users_own(lab):
    part = plugins.find("objectives", lab)
    assert part.__module__ == lab
    assert plugins.options(part) == {"margin": (float, 0.2), "rounds": (int, ...)}  # the others the house gives
    assert plugins.takes(part, "width")
    assert plugins.takes(part, "files")
    assert not plugins.takes(part, "depth")


def test_code_that_somebody_else_names_must_be_trusted(lab):
    with pytest.raises(WrongUse, match=r"^'my_lab\.losses' is code outside mmssl; load it with trust="):
        plugins.find("objectives", lab, trust=[])
    assert plugins.find("objectives", lab, trust=[lab])
    assert plugins.find("objectives", "image_report", trust=[])
