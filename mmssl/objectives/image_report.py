"""An image and its report find each other among all others of the step.

CLIP: Radford et al. 2021, figure 3, https://arxiv.org/abs/2103.00020 (ConVIRT: Zhang et al. 2020, eq. 2 and 3,
https://arxiv.org/abs/2010.00747), symmetric InfoNCE with the learned scale of the joint space.

Differences: positives are all rows of the same study, and by default the same text, never just the diagonal; other
studies of the patient are left out of the negatives; a row without text is a candidate for reports and no anchor.
Recommended with batches of 64 and more; `sigmoid` does better on smaller ones.
"""

from typing import Literal

from torch import Tensor, nn

from mmssl.losses import info_nce, report_pairs
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
        assert joint is not None, "image_report needs a joint space"
        positive, keep = report_pairs(own, all, same_text=self.same_text, same_patient=self.same_patient)
        told = all.text >= 0  # [N] the empty text is nobody's report
        weight = (own.text >= 0).float()
        to_report = info_nce(own.made["image"], all.made["report"], positive & told, keep & told, joint.scale)
        to_image = info_nce(own.made["report"], all.made["image"], positive, keep, joint.scale)
        return {"image_to_report": Term(to_report / 2, weight), "report_to_image": Term(to_image / 2, weight)}
