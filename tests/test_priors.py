"""The study before, by date and time alone."""

import itertools
import random
from datetime import datetime, time, timedelta

import pytest

from mmssl.data import priors


def surely_before(one, other):
    """Whether one moment is before another, whatever the times are that midnight stands for."""
    if one.date() != other.date():
        return one.date() < other.date()
    return time() not in (one.time(), other.time()) and one < other


def by_definition(dates):
    """The one study that surely came before, and after which none surely came that did so too."""
    known = {study: moment for study, moment in dates.items() if moment is not None}
    found = {}
    for study, moment in known.items():
        earlier = {other: when for other, when in known.items() if surely_before(when, moment)}
        last = [
            other
            for other, when in earlier.items()
            if not any(surely_before(when, later) for later in earlier.values())
        ]
        if len(last) == 1:
            found[study] = last[0]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_prior_is_what_the_definition_says(seed):
    draw = random.Random(seed)
    for _ in range(200):
        dates = {
            f"s{number}": None
            if draw.random() < 0.1
            else datetime(2024, 1, 1) + timedelta(days=draw.randrange(4), hours=draw.choice((0, 0, 7, 9, 12)))
            for number in range(draw.randrange(8))
        }
        assert priors.of_patient(dates) == by_definition(dates)


def test_the_order_of_ids_and_rows_makes_no_difference():
    moments = [datetime(2180, 7, 23, 8, 5, 56), datetime(2180, 5, 6, 21, 30, 14), datetime(2180, 6, 26, 16, 55)]
    for order in itertools.permutations(zip(("a", "b", "c"), moments, strict=True)):
        assert priors.of_patient(dict(order)) == {"c": "b", "a": "c"}


def test_two_that_could_be_meant_are_none():
    day, later = datetime(2024, 1, 1), datetime(2024, 2, 1, 9)
    assert priors.of_patient({"a": day, "b": day.replace(hour=9), "c": later}) == {}
    assert priors.of_patient({"a": day.replace(hour=9), "b": day.replace(hour=9), "c": later}) == {}
    assert priors.of_patient({"a": day, "c": None}) == {}
