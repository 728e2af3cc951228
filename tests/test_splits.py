import random

import pytest

from mmssl.data import splits


def assigned(patients, **shares):
    return {patient: splits.split_of(patient, **shares) for patient in patients}


def test_a_patient_keeps_the_split_when_the_source_grows_or_is_reordered():
    few = [f"A|{number}" for number in range(300)]
    many = few + [f"B|{number}" for number in range(700)]
    random.Random(1).shuffle(many)
    before = assigned(few, validation=0.1, test=0.2)
    after = assigned(many, validation=0.1, test=0.2)
    assert {patient: after[patient] for patient in few} == before


def test_shares_are_met_within_what_chance_allows():
    found = list(assigned(map(str, range(20_000)), validation=0.1, test=0.25).values())
    # three standard deviations of a binomial of 20,000
    assert found.count("test") / 20_000 == pytest.approx(0.25, abs=0.0092)
    assert found.count("validation") / 20_000 == pytest.approx(0.10, abs=0.0064)


def test_a_larger_share_only_adds_patients():
    people = [str(number) for number in range(2000)]
    small, large = assigned(people, validation=0.1, test=0.1), assigned(people, validation=0.1, test=0.2)
    assert all(large[person] == "test" for person in people if small[person] == "test")
    assert all(large[person] == "validation" for person in people if small[person] == "validation")


def test_shares_of_nothing_and_of_all():
    people = [str(number) for number in range(200)]
    assert set(assigned(people, validation=0.0, test=0.0).values()) == {"train"}
    assert set(assigned(people, validation=1.0, test=0.0).values()) == {"validation"}
    assert set(assigned(people, validation=0.0, test=1.0).values()) == {"test"}


def test_patients_in_two_splits_are_found_and_others_are_not():
    given = [("a", "train"), ("a", "train"), ("b", "train"), ("b", "test"), ("c", "validation")]
    assert splits.in_two(given) == {"b": {"train", "test"}}


def test_what_others_call_the_splits():
    assert {splits.NAMES[name] for name in ("dev", "val", "valid", "validation")} == {"validation"}
