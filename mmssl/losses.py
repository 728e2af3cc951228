"""The mathematics of the objectives: pure functions of tensors, one value for each anchor, in float32."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmssl.types import Rows


def info_nce(anchor: Tensor, candidate: Tensor, positive: Tensor, keep: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of finding an anchor's positives among the candidates.

    Oord et al. 2018, eq. 4, https://arxiv.org/abs/1807.03748; with several positives the mean of their losses, the
    sum outside the logarithm (Khosla et al. 2020, eq. 2, https://arxiv.org/abs/2004.11362). That formula asks all
    positives to be equally near: one that is far nearer than the others is pushed away a little.

    Args:
        anchor: [B, D] unit vectors.
        candidate: [N, D] unit vectors.
        positive: [B, N] bool; an anchor without any gets the value 0.
        keep: [B, N] bool; False takes a candidate out of the comparison.
        scale: inverse temperature.

    Returns:
        [B], finite also for anchors whose candidates are all left out.
    """
    logits = scale * anchor @ candidate.T  # [B, N]
    # the least finite number and not -inf: a row without candidates would be nan, and nan times weight 0 is nan
    log_probability = logits.masked_fill(~keep, torch.finfo(logits.dtype).min).log_softmax(dim=1)
    return -torch.where(positive, log_probability, 0.0).sum(1) / positive.sum(1).clamp(min=1)


def sigmoid_pairs(
    anchor: Tensor, candidate: Tensor, positive: Tensor, keep: Tensor, scale: Tensor, bias: Tensor
) -> Tensor:
    """Sum over the candidates of a logistic loss that judges each pair alone.

    Zhai et al. 2023, eq. 1 and algorithm 1, https://arxiv.org/abs/2303.15343. Arguments as for `info_nce`, with the
    learned bias.

    Returns:
        [B].
    """
    sign = torch.where(positive, 1.0, -1.0)  # [B, N]
    return -(F.logsigmoid(sign * (scale * anchor @ candidate.T + bias)) * keep).sum(1)


def same(a: Tensor, b: Tensor) -> Tensor:
    """[B, N] whether two rows bear the same number; -1 is unknown and equals nothing."""
    return (a[:, None] == b[None, :]) & (a[:, None] >= 0)


def report_pairs(own: Rows, all: Rows, *, same_text: bool, same_patient: str) -> tuple[Tensor, Tensor]:
    """Which image-report pairs are positives, and which candidates are compared with.

    Args:
        own: the anchors, B rows.
        all: the candidates, N rows.
        same_text: whether the same text in another study is a positive too.
        same_patient: what another study of the same patient is: `exclude` (neither), `negative` or `positive`.

    Returns:
        positive [B, N], keep [B, N]; a positive is always kept.
    """
    positive = same(own.study, all.study)
    if same_text:
        positive = positive | same(own.text, all.text)
    patient = same(own.patient, all.patient)
    if same_patient == "positive":
        positive = positive | patient
    keep = positive | ~patient if same_patient == "exclude" else torch.ones_like(positive)
    return positive, keep
