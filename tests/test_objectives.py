"""What holds for every objective, through the model."""

import pytest
import torch

from mmssl.step import step
from mmssl.types import tree_map
from tests.batch import OBJECTIVES, batch, model


def run(names, some, m=None):
    m = m or model(names)
    for p in m.parameters():
        p.grad = None
    losses = step(m, some, torch.Tensor.backward, number=3)
    grads = {name: p.grad.clone() for name, p in m.named_parameters() if p.grad is not None}
    return {name: float(value) for name, value in losses.items()}, grads


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_order_of_rows_does_not_matter(name):
    whole, order = batch(), torch.tensor([5, 0, 7, 2, 1, 6, 4, 3])
    a, grad_a = run([name], whole)
    b, grad_b = run([name], tree_map(lambda x: x[order], whole))
    assert a == pytest.approx(b, abs=1e-5)
    for key in grad_a:
        torch.testing.assert_close(grad_a[key], grad_b[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_of_one_and_a_batch_of_one_study_are_finite(name):
    whole = batch()
    for some in (tree_map(lambda x: x[:1], whole), tree_map(lambda x: x[[0, 3, 6]], whole)):
        losses, grads = run([name], some)
        assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())
        assert all(torch.isfinite(grad).all() for grad in grads.values())


@pytest.mark.parametrize("name", ["image_report", "sigmoid"])
def test_a_batch_without_text_teaches_nothing_of_reports(name):
    losses, grads = run([name], batch("none"))
    assert losses["loss"] == 0
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in grads.values())


@pytest.mark.parametrize("name", ["image_report", "sigmoid"])
def test_rows_without_text_do_not_enter_the_reports_side(name):
    """Changing the tokens of rows that have no text changes nothing."""
    whole = batch()
    other = whole._replace(tokens=torch.where(whole.text[:, None] < 0, 9, whole.tokens))
    assert run([name], whole)[0] == pytest.approx(run([name], other)[0], abs=1e-6)


def test_other_images_of_the_patient_are_no_negatives_of_a_view():
    """The gradient of row 2's image through row 4, another study of its patient, is that of a batch without row 4."""
    whole = batch()
    m = model(["image_image"], policy="none")
    each = m(whole, 0)
    own = m.rows(each, whole)
    made = {"one": own.made["image_image"]["one"].detach(), "two": own.made["image_image"]["two"].detach()}
    moved = {key: value.clone() for key, value in made.items()}
    moved["two"][4] = -moved["two"][4]
    objective = m.objectives["image_image"]
    before = objective.loss(own._replace(made=made), own._replace(made=made), None)["views"].value
    after = objective.loss(own._replace(made=moved), own._replace(made=moved), None)["views"].value
    assert float(before[2]) == pytest.approx(float(after[2]), abs=1e-6)
    assert abs(float(before[1]) - float(after[1])) > 1e-4


def test_objectives_are_summed_with_their_weights():
    m = model(OBJECTIVES)
    m.weights = {"image_report": 1.0, "sigmoid": 0.25, "image_image": 2.0}
    losses, _ = run(OBJECTIVES, batch(), m)
    expected = sum(m.weights[name.partition(".")[0]] * value for name, value in losses.items() if name != "loss")
    assert losses["loss"] == pytest.approx(expected, rel=1e-6)
    assert set(losses) == {
        "loss", "image_report.image_to_report", "image_report.report_to_image", "sigmoid.pairs", "image_image.views",
    }  # fmt: skip


def test_every_tower_and_head_gets_a_gradient():
    _, grads = run(OBJECTIVES, batch())
    silent = [name for name, _ in model(OBJECTIVES).named_parameters() if name not in grads]
    assert silent == []
    assert all(grad.abs().sum() > 0 for grad in grads.values())
