"""Which of several reports is a study's, compared with a rule written another way."""

import itertools
import random

import pytest

from mmssl.prepare.report_choice import Dated, Line, by_day, choose, composed


def line(number, words, status="unknown", issued=None, day=None, exam=None):
    return Line(number, words.encode(), status, issued, day, exam)


def chosen(*lines):
    found = choose(lines)
    return found.taken, found.refused, found.is_preliminary


F, P, A, C, U = "final", "preliminary", "addendum", "amended", "unknown"


@pytest.mark.parametrize(
    ("lines", "taken", "refused"),
    [
        ([("a", F, None)], [0], {}),
        ([("a", F, "1"), ("b", F, "2")], [1], {0: "older"}),
        ([("a", F, "2"), ("b", F, "1")], [0], {1: "older"}),
        ([("a", F, "1"), ("b", F, "1")], [], {0: "same_time", 1: "same_time"}),
        ([("a", F, "1"), ("b", F, "1"), ("c", F, "2")], [2], {0: "older", 1: "older"}),
        ([("a", F, None), ("b", F, "1")], [], {0: "no_time", 1: "no_time"}),
        ([("a", F, None), ("a", F, None)], [0], {}),
        ([("a", P, "9"), ("b", F, "1")], [1], {0: "not_final"}),
        ([("a", P, "1"), ("b", P, "2")], [1], {0: "not_final"}),
        ([("a", P, None), ("b", P, None)], [], {0: "no_time", 1: "no_time"}),
        ([("a", U, None), ("b", U, None)], [], {0: "no_time", 1: "no_time"}),
        ([("a", U, "1"), ("b", F, "2")], [1], {0: "older"}),
        ([("a", F, "1"), ("x", A, "3"), ("y", A, "2")], [0, 2, 1], {}),
        ([("x", A, None), ("a", F, None), ("y", A, "2")], [1, 2, 0], {}),
        ([("x", A, "1")], [0], {}),
        ([("a", P, "1"), ("x", A, "2")], [0, 1], {}),
        ([("a", F, None), ("b", C, None)], [1], {0: "older"}),
        ([("a", F, "1"), ("b", C, "2"), ("c", C, "3")], [2], {0: "older", 1: "older"}),
        ([("a", F, "1"), ("b", C, None), ("c", C, None)], [], dict.fromkeys(range(3), "no_time")),
        ([("b", C, "1"), ("a", F, "2")], [1], {0: "older"}),
        ([("a", P, "1"), ("a", F, "2"), ("b", P, "3")], [1], {2: "not_final"}),
    ],
)
def test_what_holds_of_several_reports_of_one_key(lines, taken, refused):
    found = choose([line(number, *one) for number, one in enumerate(lines)])
    assert (found.taken, found.refused) == (taken, refused)
    assert found.is_preliminary == bool(taken and lines[taken[0]][1] == P)


def test_the_order_of_the_lines_makes_no_difference():
    lines = [
        line(0, "a", P, "1"), line(1, "b", F, "2"), line(2, "x", A, "4"), line(3, "y", A, "3"), line(4, "b", F, "2")
    ]  # fmt: skip
    answers = {
        str(sorted(choose(one).refused.items())) + str(choose(one).taken) for one in itertools.permutations(lines)
    }
    assert answers == {"[(0, 'not_final')][1, 3, 2]"}


def oracle(lines):
    """The body by sorting alone: what is signed and newest, where that is one text and nothing is unknown."""
    best = {}
    order = [P, U, A, F, C]
    for one in lines:
        former = best.get(one.digest)
        rank = (order.index(one.status), one.issued or "")
        if former is None or rank > former[0]:
            best[one.digest] = (rank, one)
    ones = [one for _, one in best.values()]
    for wanted in ((F, U, C), (P,)):
        pool = [one for one in ones if one.status in wanted]
        amended = [one for one in pool if one.status == C]
        if amended:
            pool = [
                one
                for one in pool
                if one.status == C
                or (one.issued and all(other.issued and other.issued < one.issued for other in amended))
            ]
            if any(one.status != C for one in pool):
                pool = [one for one in pool if one.status != C]
        if len(pool) == 1:
            return pool[0].digest
        if pool:
            times = sorted(one.issued or "" for one in pool)
            clear = all(times) and times[-1] != times[-2]
            return next(one.digest for one in pool if one.issued == times[-1]) if clear else None
    return None


def test_the_choice_agrees_with_an_oracle():
    draw = random.Random(0)
    seen = set()
    for _ in range(4000):
        lines = [
            line(number, draw.choice("abcd"), draw.choice([F, P, A, C, U]), draw.choice([None, "1", "2", "3"]))
            for number in range(draw.randint(1, 5))
        ]
        found = choose(lines)
        body = next((lines[n].digest for n in found.taken if _is_body(lines, n)), None)
        assert body == oracle(lines), lines
        assert not set(found.taken) & set(found.refused)
        seen.add((body is None, len(found.taken)))
    assert len(seen) > 5


def _is_body(lines, number):
    """Whether a line is no addendum: none that says the same is more than that, and it is one of them."""
    alike = [one for one in lines if one.digest == lines[number].digest]
    order = [P, U, A, F, C]
    return max((order.index(one.status), one.issued or "") for one in alike)[0] != order.index(A)


def test_a_report_and_its_addenda_are_one_text():
    assert composed(["a"]) == "a"
    assert composed(["No mass.", "ADDENDUM: small.", "Seen by X."]) == (
        "No mass.\n\nADDENDUM: small.\n\nADDENDUM: Seen by X."
    )
    assert composed(["No  mass.", "Small.\nNo mass."]) == "Small.\nNo mass."  # it has the report in it
    assert composed(["No mass. Small.", "Small."]) == "No mass. Small."


# ---- the patient alone ---------------------------------------------------------------------------------------------


def days(lines, studies, **named):
    found = by_day([line(n, words, F, None, day) for n, (words, day) in enumerate(lines)],
                   [Dated(n, day) for n, day in enumerate(studies)], **named)  # fmt: skip
    return {study: [one.number for one in told] for study, told in found.of_study.items()}, found.refused, found.unclear


@pytest.mark.parametrize(
    ("lines", "studies", "expected"),
    [
        ([("a", None)], [None], ({0: [0]}, {}, set())),
        ([("a", None)], [5], ({0: [0]}, {}, set())),
        ([("a", 5)], [None], ({0: [0]}, {}, set())),
        ([("a", 5)], [5], ({0: [0]}, {}, set())),
        ([("a", 5)], [6], ({}, {0: "date_differs"}, {0})),
        ([("a", None), ("b", None)], [5], ({}, {0: "no_date", 1: "no_date"}, {0})),
        ([("a", None)], [5, 6], ({}, {0: "no_date"}, {0, 1})),
        ([("a", 5)], [None, None], ({}, {0: "no_date"}, {0, 1})),
        ([("a", 5), ("b", 6)], [6, 5, 7], ({1: [0], 0: [1]}, {}, set())),
        ([("a", 5)], [5, 5], ({}, {0: "several_studies"}, {0, 1})),
        ([("a", 5)], [5, None], ({0: [0]}, {}, set())),
        ([("a", 5), ("b", 5)], [5], ({}, {0: "several_reports", 1: "several_reports"}, {0})),
        ([("a", 5), ("a", 5)], [5, 9], ({0: [0, 1]}, {}, set())),
        ([("a", 5), ("b", 8)], [5, 9], ({0: [0]}, {1: "date_differs"}, {1})),
    ],
)
def test_reports_of_a_patient_go_by_the_day(lines, studies, expected):
    assert days(lines, studies) == expected


def test_days_may_be_allowed_and_the_nearest_is_meant():
    assert days([("a", 6)], [5, 8], days=1) == ({0: [0]}, {}, set())
    assert days([("a", 6)], [5, 6], days=1) == ({1: [0]}, {}, set())
    assert days([("a", 6)], [5, 7], days=1) == ({}, {0: "several_studies"}, {0, 1})


def test_a_report_from_before_the_study_or_of_two_examinations_is_not_taken():
    study = [Dated(0, 738000)]  # 2021-07-30
    assert by_day([line(0, "a", F, "2021-07-20T10:00:00")], study).refused == {0: "date_differs"}
    assert by_day([line(0, "a", F, "2021-08-20T10:00:00")], study).of_study
    lines = [line(0, "a", P, None, 738000, "A1"), line(1, "b", F, None, 738000, "A2")]
    assert by_day(lines, study).refused == dict.fromkeys(range(2), "several_reports")
    versions = [line(0, "a", P, None, 738000, "A1"), line(1, "b", F, None, 738000, "A1")]
    assert [one.number for one in by_day(versions, study).of_study[0]] == [0, 1]
