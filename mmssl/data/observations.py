"""The fourteen observations of CheXpert, and how its tables and those labelled with its program write them.

Irvin et al. 2019, https://arxiv.org/abs/1901.07031
"""

from collections.abc import Mapping
from typing import Any

from mmssl.errors import WrongUse

NAMES = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip

VALUES = {"1.0": 1, "1": 1, "0.0": 0, "0": 0, "-1.0": -1, "-1": -1}
"""Present, absent, uncertain; an empty cell says nothing of the observation."""


def labels(row: Mapping[str, Any], table: str) -> dict[str, int | None]:
    """`label_NAME` of a row: 1, 0, -1 (uncertain) or None (not mentioned), as the table has them.

    >>> told = labels({"Edema": "-1.0", "Fracture": None, "Pneumonia": "0"}, "train.csv")
    >>> told["label_Edema"], told["label_Fracture"], told["label_Pneumonia"]
    (-1, None, 0)

    Raises:
        WrongUse: for another value.
    """
    found: dict[str, int | None] = {}
    for name in NAMES:
        said = row.get(name)
        if said is not None and said not in VALUES:
            raise WrongUse(f"{table}: {name} is {said!r}; a label is 1.0, 0.0, -1.0 or empty")
        found[f"label_{name}"] = None if said is None else VALUES[said]
    return found
