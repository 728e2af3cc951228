"""Splits by time and by site against rules written as loops, and every mistake of a user at once."""

import random
from datetime import date, datetime, timedelta

import pytest

from mmssl import config
from mmssl.data import split_rules
from mmssl.data.split_rules import Fact, Splits, assign
from mmssl.data.splits import PROTECTED, most_protected, split_of
from mmssl.errors import WrongUse

BY_TIME = {"by": "time", "test_from": date(2023, 1, 1), "validation_from": date(2022, 1, 1)}


def studies(people=200, seed=0, undated=0.0, sites=("A", "B", "C")):
    """One to four studies of each patient, in no order."""
    chance = random.Random(seed)
    found = []
    for number in range(people):
        for _ in range(chance.randint(1, 4)):
            day = datetime(2019, 1, 1) + timedelta(days=chance.randrange(5 * 365), hours=chance.randrange(24))
            found.append(
                Fact(
                    f"person {number}", f"id {number}", None if chance.random() < undated else day, chance.choice(sites)
                )
            )
    chance.shuffle(found)
    return found


def days_of(facts, name):
    return [fact.date.date() for fact in facts if fact.drawn_by == name and fact.date]


@pytest.mark.parametrize("decided_by", ["last", "first"])
def test_time_is_decided_for_a_patient_by_one_study(decided_by):
    facts = studies()
    rule = Splits(**BY_TIME, decided_by=decided_by)
    found = assign(facts, rule)
    for fact in facts:
        day = {"last": max, "first": min}[decided_by](days_of(facts, fact.drawn_by))
        slow = "test" if day >= date(2023, 1, 1) else "validation" if day >= date(2022, 1, 1) else "train"
        assert found.of(fact) == slow
    assert {found.of(fact) for fact in facts} == {"train", "validation", "test"}


def test_nothing_is_trained_on_from_the_first_day_that_is_kept():
    facts = studies()
    found = assign(facts, Splits(**BY_TIME))
    assert max(fact.date.date() for fact in facts if found.of(fact) == "train") < date(2022, 1, 1)
    early = [f for f in facts if found.of(f) != "train" and f.date.date() < date(2022, 1, 1)]
    people = {fact.person for fact in early}
    assert found.remarks == (
        f"{len(people)} patients kept for evaluation have {len(early)} studies from before 2022-01-01 too, which went "
        "with them",
    )


def test_the_first_day_itself_is_kept():
    facts = [Fact("a", "a", datetime(2023, 1, 1), None), Fact("b", "b", date(2022, 12, 31), None)]
    found = assign(facts, Splits(by="time", test_from=date(2023, 1, 1), validation=0.0))
    assert [found.of(fact) for fact in facts] == ["test", "train"]


def test_without_a_day_for_it_validation_is_drawn_of_those_who_would_be_trained_on():
    facts = studies(people=2000)
    found = assign(facts, Splits(by="time", test_from=date(2023, 1, 1), validation=0.2))
    late = {fact.drawn_by for fact in facts if fact.date >= datetime(2023, 1, 1)}
    for fact in facts:
        drawn = split_of(fact.drawn_by, validation=0.2, test=0.0)
        assert found.of(fact) == ("test" if fact.drawn_by in late else drawn)
    assert {found.of(fact) for fact in facts} == {"train", "validation", "test"}


def test_no_date_is_never_guessed():
    facts = [*studies(people=50), Fact("nobody", "nobody", None, None), Fact("person 3", "id 3", None, None)]
    with pytest.raises(WrongUse, match=r"of 1 patients no study has a date: splits.unknown=train, validation or test"):
        assign(facts, Splits(**BY_TIME))
    for split in ("train", "validation", "test"):
        found = assign(facts, Splits(**BY_TIME, unknown=split))
        assert found.of(Fact("nobody", "nobody", None, None)) == split
        assert f"1 patients have studies without a date alone; they went to {split}, as splits.unknown says" in (
            found.remarks
        )
        assert "1 patients have studies without a date; their other studies decided" in found.remarks
    known = assign(studies(people=50), Splits(**BY_TIME))
    assert found.of(Fact("person 3", "id 3", None, None)) == known.of(Fact("person 3", "id 3", None, None))


def test_a_held_out_site_takes_whoever_was_ever_seen_there():
    facts = studies(sites=("North", "South", "East", "West"))
    rule = Splits(by="site", test_sites=("south ",), validation_sites=("EAST",))
    found = assign(facts, rule)
    of_site = {"South": "test", "East": "validation"}
    torn = 0
    for person in {fact.person for fact in facts}:
        own = [fact for fact in facts if fact.person == person]
        splits = {of_site.get(fact.site, "train") for fact in own}
        torn += len(splits) > 1
        assert {found.of(fact) for fact in own} == {max(splits, key=["train", "validation", "test"].index)}
    assert torn > 20
    assert found.remarks == (
        f"{torn} patients were seen at sites of different splits and went to the most protected one, with all their "
        "studies",
    )
    assert not [fact for fact in facts if found.of(fact) == "train" and fact.site in of_site]


def test_two_people_with_one_number_at_two_sites_are_two():
    facts = [Fact("A 7", "7", None, "A"), Fact("B 7", "7", None, "B"), Fact("A 8", "8", None, "A")]
    found = assign(facts, Splits(by="site", test_sites=("B",), validation=0.0))
    assert [found.of(fact) for fact in facts] == ["train", "test", "train"]


def test_no_site_is_never_guessed():
    facts = [*studies(people=20), Fact("nobody", "nobody", None, "  ")]
    with pytest.raises(WrongUse, match="of 1 patients no study has a site"):
        assign(facts, Splits(by="site", test_sites=("A",)))
    found = assign(facts, Splits(by="site", test_sites=("A",), unknown="test"))
    assert found.of(facts[-1]) == "test"


def test_what_the_data_make_impossible_is_told_at_once():
    facts = [Fact("a", "a", None, "Nord"), Fact("b", "b", None, None)]
    with pytest.raises(WrongUse) as error:
        assign(facts, Splits(by="site", test_sites=("North",), validation_sites=("Moon",)))
    assert str(error.value).splitlines() == [
        "3 problems in splits.by=site",
        "  of 1 patients no study has a site: splits.unknown=train, validation or test says where they go",
        "  no study is from the site 'North', did you mean 'Nord'?; there are Nord",
        "  no study is from the site 'Moon'; there are Nord",
    ]
    with pytest.raises(WrongUse, match="nobody would be in train: sites are Nord"):
        assign(facts[:1], Splits(by="site", test_sites=("nord",)))
    late = Splits(by="time", test_from=date(2030, 1, 1))
    with pytest.raises(WrongUse, match="nobody would be in test: studies are from 2020-05-01 to 2020-06-01"):
        assign([Fact("a", "a", date(2020, 5, 1), None), Fact("b", "b", date(2020, 6, 1), None)], late)
    assert assign([Fact("a", "a", date(2020, 5, 1), None)], late, grows=True).split == {"a": "train"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation": 0.6, "test": 0.6}, "validation=0.6 and test=0.6 are more than all patients"),
        ({"test_from": date(2023, 1, 1)}, "test_from=2023-01-01 only with by=time, this is by=patient"),
        ({"by": "time"}, "by=time needs test_from=YYYY-MM-DD, validation_from=YYYY-MM-DD, or both"),
        (
            {**BY_TIME, "validation_from": date(2024, 1, 1), "test": 0.3, "test_sites": ("A",)},
            r"test=0.3 is for by=patient; by=time says .*; test_from=2023-01-01 and validation_from=2024-01-01: "
            r"validation comes before test; test_sites=\['A'\] only with by=site, this is by=time",
        ),
        ({"by": "site", "decided_by": "first"}, r"decided_by=first only with by=time, .*; by=site needs test_sites="),
        ({"by": "site", "test_sites": ("A",), "validation_sites": ("a",)}, "a: in test_sites and in validation_sites"),
        ({"unknown": "test"}, "unknown=test is for by=time and by=site"),
    ],
)
def test_settings_that_contradict_each_other(options, said):
    with pytest.raises(ValueError, match=said):
        Splits(**options)


def test_settings_come_from_the_command_line_and_go_into_a_manifest():
    words = ["by=time", "test_from=2023-01-01", "validation=0.05"]
    read = config.load({}, words, Splits)
    assert read == Splits(by="time", test_from=date(2023, 1, 1), validation=0.05)
    plain = config.plain(read)
    assert plain["test_from"] == "2023-01-01"
    assert config.build(plain, Splits) == read
    assert config.load({}, ["by=site", "test_sites=[North, South]"], Splits).test_sites == ("North", "South")


def test_by_patient_nothing_is_held():
    found = assign(studies(), Splits())
    assert not found.split
    assert found.of(Fact("x", "7", None, None)) == split_of("7", validation=0.1, test=0.1)


def test_the_most_protected():
    assert most_protected(["validation", "train"]) == "validation"
    assert sorted(PROTECTED, key=PROTECTED.__getitem__) == ["train", "validation", "test"]
    assert split_rules._plain("  St.  MARY ") == "st. mary"
