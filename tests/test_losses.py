"""The formulas against the paper as a loop and against others' code, values and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from open_clip.loss import ClipLoss, SigLipLoss

from mmssl import losses
from mmssl.types import Joint
from tests.batch import batch, objective, rows


def unit(n, d, seed, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=g, dtype=dtype), dim=1).requires_grad_()


def mean(terms):
    return sum((term.value * term.weight).sum() / term.weight.sum() for term in terms.values())


def assert_equal_with_gradients(ours, theirs, inputs, tolerance=1e-6):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_image_report_is_open_clips_loss_where_every_row_is_a_stranger():
    image, text, scale = unit(12, 8, 0), unit(12, 8, 1), torch.tensor(7.0, requires_grad=True)
    some = rows(12, image=image, report=text)
    ours = mean(objective("image_report").loss(some, some, Joint(scale, torch.tensor(0.0))))
    assert_equal_with_gradients(ours, ClipLoss()(image, text, scale), (image, text, scale))


def test_sigmoid_is_open_clips_siglip_loss_where_every_row_is_a_stranger():
    image, text = unit(12, 8, 0), unit(12, 8, 1)
    scale, bias = torch.tensor(7.0, requires_grad=True), torch.tensor(-3.0, requires_grad=True)
    some = rows(12, image=image, report=text)
    ours = mean(objective("sigmoid").loss(some, some, Joint(scale, bias)))
    assert_equal_with_gradients(ours, SigLipLoss()(image, text, scale, bias), (image, text, scale, bias), 2e-6)


def test_image_image_is_lightlys_nt_xent():
    one, two = unit(12, 8, 0), unit(12, 8, 1)
    some = rows(12, one=F.normalize(one, dim=1), two=F.normalize(two, dim=1))  # lightly normalises inside
    ours = mean(objective("image_image", temperature=0.5).loss(some, some, None))
    assert_equal_with_gradients(ours, NTXentLoss(temperature=0.5)(one, two), (one, two))


def test_image_image_is_algorithm_1_of_the_paper():
    """Chen et al. 2020, algorithm 1, as two loops: views 2k and 2k + 1 are the two of image k."""
    one, two = unit(5, 4, 0), unit(5, 4, 1)
    z = [view.detach() for pair in zip(one, two, strict=True) for view in pair]
    similarity = [[float(a @ b) / 0.3 for b in z] for a in z]

    def loss(i, j):
        return -math.log(math.exp(similarity[i][j]) / sum(math.exp(similarity[i][k]) for k in range(10) if k != i))

    expected = sum(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(5)) / 10
    some = rows(5, one=one.detach(), two=two.detach())
    assert float(mean(objective("image_image", temperature=0.3).loss(some, some, None))) == pytest.approx(expected)


@pytest.mark.parametrize("same_patient", ["exclude", "negative", "positive"])
@pytest.mark.parametrize("same_text", [True, False])
def test_image_report_with_studies_texts_and_patients_is_the_formula_as_a_loop(same_text, same_patient):
    whole, scale = batch(), 7.0
    image, text = unit(8, 8, 0).detach(), unit(8, 8, 1).detach()
    own = rows(8, image=image, report=text)._replace(
        study=whole.study, patient=whole.patient, text=whole.text, image=whole.image
    )
    told = [k for k in range(8) if whole.text[k] >= 0]

    def positive(a, b):
        alike = same_text and whole.text[a] == whole.text[b] and whole.text[a] >= 0
        known = same_patient == "positive" and whole.patient[a] == whole.patient[b]
        return bool(whole.study[a] == whole.study[b] or alike or known)

    def kept(a, b):
        return positive(a, b) or same_patient != "exclude" or bool(whole.patient[a] != whole.patient[b])

    def find(anchors, candidates, among):
        total = 0.0
        for a in told:
            exponents = {c: scale * float(anchors[a] @ candidates[c]) for c in among if kept(a, c)}
            below = math.log(sum(math.exp(x) for x in exponents.values()))
            right = [c for c in exponents if positive(a, c)]
            total += -sum(exponents[c] - below for c in right) / len(right) / len(told) / 2
        return total

    part = objective("image_report", same_text=same_text, same_patient=same_patient)
    terms = part.loss(own, own, Joint(torch.tensor(scale), torch.tensor(0.0)))
    found = {name: float((t.value * t.weight).sum() / t.weight.sum()) for name, t in terms.items()}
    assert found["image_to_report"] == pytest.approx(find(image, text, told), abs=1e-5)
    assert found["report_to_image"] == pytest.approx(find(text, image, range(8)), abs=1e-5)


def test_sigmoid_with_studies_and_texts_is_the_formula_as_a_loop():
    whole, scale, bias = batch(), 7.0, -3.0
    image, text = unit(8, 8, 0).detach(), unit(8, 8, 1).detach()
    own = rows(8, image=image, report=text)._replace(study=whole.study, patient=whole.patient, text=whole.text)
    told = [k for k in range(8) if whole.text[k] >= 0]
    total = 0.0
    for a in told:
        for c in told:
            alike = whole.study[a] == whole.study[c] or whole.text[a] == whole.text[c]
            if not alike and whole.patient[a] == whole.patient[c]:
                continue
            sign = 1 if alike else -1
            total += math.log1p(math.exp(-sign * (scale * float(image[a] @ text[c]) + bias))) / len(told)
    terms = objective("sigmoid").loss(own, own, Joint(torch.tensor(scale), torch.tensor(bias)))
    assert float(mean(terms)) == pytest.approx(total, rel=1e-5)


def test_info_nce_gradients_are_those_of_finite_differences():
    anchor, candidate = unit(4, 3, 0, torch.float64), unit(6, 3, 1, torch.float64)
    positive, keep = torch.zeros(4, 6, dtype=torch.bool), torch.ones(4, 6, dtype=torch.bool)
    positive[range(4), [0, 2, 2, 5]] = True
    positive[1, 4], keep[0, 3] = True, False
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, c, s: losses.info_nce(a, c, positive, keep, s), (anchor, candidate, scale)
    )


def test_an_anchor_without_candidates_has_a_finite_loss_and_gradient():
    anchor, candidate = unit(2, 3, 0), unit(4, 3, 1)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    value = losses.info_nce(anchor, candidate, nothing, nothing, 5.0)
    (grad,) = torch.autograd.grad((value * 0).sum(), anchor)
    assert torch.isfinite(value).all()
    assert torch.equal(grad, torch.zeros_like(grad))


def test_a_number_that_is_unknown_equals_nothing():
    assert not losses.same(torch.tensor([-1, 3]), torch.tensor([-1, 4])).any()
