"""Every pair of an image and a report is judged alone, right or wrong.

SigLIP: Zhai et al. 2023, eq. 1, https://arxiv.org/abs/2303.15343, with the learned scale and bias of the joint space;
the sum over the pairs of an image, averaged over the images that have a report.

Differences: positives and left-out pairs as in `image_report`. Better than `image_report` on small batches, since no
pair depends on what else is in the batch.
"""

from typing import Literal

from torch import Tensor, nn

from mmssl.losses import report_pairs, sigmoid_pairs
from mmssl.types import Feature, Joint, Rows, Term

IMAGE, TEXT = Feature("image", "joint"), Feature("text", "joint")


class Objective(nn.Module):
    needs = (IMAGE, TEXT)
    columns = ()

    def __init__(
        self, *, same_text: bool = True, same_patient: Literal["exclude", "negative", "positive"] = "exclude"
    ) -> None:
        super().__init__()
        self.same_text, self.same_patient = same_text, same_patient

    def each(self, features: dict[Feature, Tensor]) -> dict[str, Tensor]:
        return {"image": features[IMAGE], "report": features[TEXT]}

    def rows(self, each: dict[str, Tensor]) -> dict[str, Tensor]:
        return each

    def loss(self, own: Rows, all: Rows, joint: Joint | None) -> dict[str, Term]:
        assert joint is not None, "sigmoid needs a joint space"
        positive, keep = report_pairs(own, all, same_text=self.same_text, same_patient=self.same_patient)
        told = all.text >= 0  # [N]
        value = sigmoid_pairs(
            own.made["image"], all.made["report"], positive, keep & told, joint.scale, joint.bias
        )  # fmt: skip
        return {"pairs": Term(value, (own.text >= 0).float())}
