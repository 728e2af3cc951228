"""Ids that stand for many, and patients who turned out to be one."""

import random

import pytest

from mmssl.data import merges, patients
from mmssl.data.merges import merge_map, moved
from mmssl.data.patients import Patients, Person, check, doubts
from mmssl.errors import WrongUse
from tests.preparing import write_csv


def hidden(person):
    return f"pseudonym of {len(person)} letters"


def test_an_id_with_too_many_studies_two_sexes_or_two_birth_dates_stops_the_job_with_the_list():
    facts = [Person("0", ["M"], ["19500101"])] * 6
    facts += [Person("two sexes", ["F"]), Person("two sexes", ["M"]), Person("two sexes", ["O"])]
    facts += [Person("two births", ["F"], ["19500101"]), Person("two births", ["female"], ["19500102"])]
    facts += [Person("one", ["M"], ["19500101"]), Person("one", ["o"]), Person("one"), Person("one", ["Male"])]
    random.Random(0).shuffle(facts)
    settings = Patients(max_studies=5)
    found = doubts(facts, settings)
    assert [(one.person, one.studies, one.sexes, one.births) for one in found] == [
        ("0", 6, 1, 1),
        ("two sexes", 3, 2, 0),
        ("two births", 2, 1, 2),
    ]
    with pytest.raises(WrongUse) as error:
        check(found, settings, shown=hidden)
    assert str(error.value).splitlines()[:4] == [
        "3 problems in the patients: such an id is hardly one person",
        "  patient pseudonym of 1 letters: 6 studies, 5 are allowed",
        "  patient pseudonym of 9 letters: two sexes",
        "  patient pseudonym of 10 letters: 2 birth dates",
    ]
    assert "1950" not in str(error.value)
    check(doubts(facts, Patients(max_studies=6, contradictions="flag")), Patients(6, "flag"), shown=hidden)


def test_contradictions_may_be_flagged_but_too_many_studies_still_stop():
    settings = Patients(max_studies=1, contradictions="flag")
    found = doubts([Person("a", ["M"]), Person("a", ["F"]), Person("b", ["M"])], settings)
    assert [one.person for one in patients.stopping(found, settings)] == ["a"]
    settings = Patients(contradictions="flag")
    found = doubts([Person("a", ["M"]), Person("a", ["F"])], settings)
    assert [one.person for one in found if one.is_contradicted] == ["a"]
    assert patients.stopping(found, settings) == []


def test_a_long_list_says_how_long_it_is():
    found = doubts([Person(f"{n:02d}", [sex]) for n in range(25) for sex in "MF"], Patients())
    with pytest.raises(WrongUse, match="and 5 more") as error:
        check(found, Patients(), shown=str)
    assert str(error.value).count("two sexes") == 20


# ---- merges --------------------------------------------------------------------------------------------------------


def groups_by_hand(pairs):
    """Every id with all that can be reached from it, by going on until nothing changes."""
    groups = {one: {one} for pair in pairs for one in pair}
    for _ in range(len(groups)):
        for old, new in pairs:
            both = groups[old] | groups[new]
            for one in both:
                groups[one] = both
    return groups


@pytest.mark.parametrize("seed", range(20))
def test_who_is_one_patient_is_what_can_be_reached(seed):
    chance = random.Random(seed)
    pairs = [(str(chance.randrange(25)), str(chance.randrange(25))) for _ in range(15)]
    found = merge_map(pairs)
    slow = groups_by_hand(pairs)
    for one, group in slow.items():
        assert {other for other in slow if found(other) == found(one)} == group
        assert found(one) in group
    assert found == merge_map(random.Random(1).sample(pairs, len(pairs)))


def test_chains_circles_and_forks():
    assert merge_map([("b", "c"), ("a", "b"), ("c", "d")]).of == {"a": "d", "b": "d", "c": "d"}
    circle = merge_map([("b", "a"), ("a", "c"), ("c", "b")])
    assert (circle.of, circle.circles) == ({"b": "a", "c": "a"}, 1)
    fork = merge_map([("a", "z"), ("a", "y")])
    assert (fork.of, fork.forks) == ({"a": "y", "z": "y"}, 1)
    assert merge_map([("a", "a")]).of == {}
    assert merge_map([("a", "b"), ("c", "d")]).groups == {"b": ["b", "a"], "d": ["d", "c"]}
    assert merge_map([])("stranger") == "stranger"


def test_a_merge_across_splits_goes_to_the_most_protected():
    merged = merge_map([("a", "b"), ("b", "c"), ("d", "e"), ("f", "g"), ("h", "i")])
    splits = {"a": "train", "b": "test", "c": "validation", "d": "train", "e": "validation", "f": "test", "g": "test"}
    found = moved(merged, splits)
    assert [(one.patient, one.now) for one in found] == [("c", "test"), ("e", "validation")]
    assert found[0].was == {"c": "validation", "a": "train", "b": "test"}
    assert merges.told(found, {"runs/one": 2, "runs/two": 0}) == [
        "merges moved 1 patients from train and validation to test",
        "merges moved 1 patients from train to validation",
        "runs/one was trained on 2 of them",
    ]
    assert merges.told([], {}) == []


def test_merges_in_the_ids_of_a_store():
    merged = merges.in_ids_of(merge_map([("a", "b")]), lambda name: f"key of {name}")
    assert merged.of == {"key of a": "key of b"}


def test_the_table_is_read_and_all_its_gaps_are_told(tmp_path):
    table = write_csv(tmp_path / "merges.csv", [{"Old": "007", "NEW": " 8"}, {"Old": "", "NEW": ""}])
    assert merges.read(table) == [("007", "8")]
    table = write_csv(
        tmp_path / "gaps.csv", [{"old": "1", "new": ""}, {"old": "", "new": "2"}, {"old": "3", "new": "4"}]
    )
    with pytest.raises(WrongUse, match=r"2 problems in .*gaps.csv\n  line 2: no new id\n  line 3: no old id"):
        merges.read(table)
    with pytest.raises(WrongUse, match="merges have the columns old and new; this table has id, name"):
        merges.read(write_csv(tmp_path / "other.csv", [{"id": "1", "name": "2"}]))


def test_bare_ids_stand_for_the_one_issuer_that_gave_them_out():
    known = {"A\\1", "A\\2", "B\\2", "B\\3"}
    pairs, problems = merges.resolved([("1", "A\\2"), ("3", "9")], known)
    assert (pairs, problems) == ([("A\\1", "A\\2"), ("B\\3", "9")], [])
    _, problems = merges.resolved([("1", "2"), ("2", "3")], known)
    assert problems == [
        r"pair 1: an id that 2 issuers or sites gave out; write ISSUER\ID",
        r"pair 2: an id that 2 issuers or sites gave out; write ISSUER\ID",
    ]
    assert merges.unknown([("8", "9"), ("A\\1", "9")], known) == [("8", "9")]
