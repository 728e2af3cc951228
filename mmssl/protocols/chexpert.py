"""CheXpert by CheXzero's rules: five and fourteen findings, one frontal image a study, asked as "X" against "no X".

Findings: Irvin et al. 2019, https://arxiv.org/abs/1901.07031; prompts, scores, intervals and thresholds: Tiu et al.
2022, https://doi.org/10.1038/s41551-022-00936-9. Shape letters: N studies, L labels.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from mmssl import figures, metrics, prompts
from mmssl.errors import WrongUse, many, meant
from mmssl.evaluation import answers, chexzero, frontal, report, rows, truth
from mmssl.evaluation.judge import Threshold
from mmssl.evaluation.protocol import Judged, Subset
from mmssl.prompts import PromptSet, Uncertain

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]

COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
NAMES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
ABSENCE = "No Finding"
NORMAL, ABNORMAL = "normal chest radiograph", "abnormal chest radiograph"
"""What is asked for No Finding: opposites without a "no", which nobody who reads word by word confuses ..."""
PUBLISHED = "no finding"
"""... and the phrase that CheXzero puts into its pair."""
VIEWS = ("PA", "AP", "FRONTAL")
LISTS = "label_findings"

NOTES = (
    "No Finding is an absence: CheXzero asks it as 'no finding' against 'no no finding', which turns it around (AUROC "
    f".07 in its own tables). Here it is asked as '{NORMAL}' against '{ABNORMAL}', and counts so in the mean of 14; "
    "what CheXzero's pair gives stands apart, as published, in no mean.",
    "Prompts are in small letters, as CheXzero's tokenizer hands every text to its model.",
    "Intervals are over patients, CheXzero's over images: the same draws where a patient has one study, as in "
    "CheXpert's test set, since a study has one image here; wider, and rightly so, where a patient has several.",
    "AUROC is that of all studies; CheXzero's tables print the mean of the draws, which is auroc_mean in results.json.",
    "MCC and F1 are at the threshold with the highest MCC on the validation split, never on the rows that are judged.",
    "CheXpert's test labels are the majority of radiologists'. Results by labels that a program read from reports are "
    "not to be compared with those.",
)  # fmt: skip


class Case(NamedTuple):
    """The studies to judge by, one image each."""

    table: "pa.Table"
    """The chosen rows, in the order of the bootstrap."""
    truth: Floats  # [N, L] of 1, 0, -1, NaN
    columns: dict[str, str]
    """Where the truth of each label was found."""
    counts: dict[str, Any]
    held: "Case | str"
    """The studies that thresholds come from, or why there are none."""


class Protocol:
    """Zero-shot classification of chest films: the 5 findings of CheXpert's competition, and all 14."""

    def __init__(
        self,
        *,
        positive: tuple[str, ...] = ("{}",),
        negative: tuple[str, ...] = ("no {}",),
        uncertain: Uncertain = "ignore",
        views: tuple[str, ...] = VIEWS,
        draws: Annotated[int, Ge(1)] = 1000,
    ) -> None:
        self.positive, self.negative, self.uncertain = positive, negative, uncertain
        self.views, self.draws = views, draws
        bare = [text for text in (*positive, *negative) if "{}" not in text]
        if bare or not (positive and negative and views):
            raise WrongUse(
                "positive and negative are lists of templates with {} for the finding, views a list of views; got "
                f"positive={list(positive)}, negative={list(negative)}, views={list(views)}"
            )

    @property
    def asked(self) -> PromptSet:
        """The prompts of the 14 labels, and last of No Finding as CheXzero asks it."""
        phrases = {name: [name.lower()] for name in (*NAMES, PUBLISHED)}
        return prompts.build(
            {
                "task": "multi_label",
                "scoring": "chexzero",
                "classes": phrases,
                "positive": list(self.positive),
                "negative": list(self.negative),
                "overrides": {ABSENCE: {"positive": [NORMAL], "negative": [ABNORMAL]}},
            }
        )

    def definition(self) -> dict[str, Any]:
        classes = self.asked.classes
        texts = {one.name: {"positive": list(one.positive), "negative": list(one.negative)} for one in classes}
        return {
            "name": "chexpert",
            "version": 1,
            "labels": list(NAMES),
            "competition": list(COMPETITION),
            "as_published": {"label": ABSENCE, **texts.pop(PUBLISHED)},
            "prompts": texts,
            "score": "softmax over the cosines with the positive and the negative texts, without the learned scale: "
            "exp(cos+) / (exp(cos+) + exp(cos-)). Several texts of a side: the mean of their unit vectors, made a unit "
            "vector; several checkpoints: the mean of their probabilities",
            "images": {"each study": "one", "first by view": list(self.views), "then the lowest": ["source_id", "id"]},
            "truth": {"uncertain (-1)": self.uncertain, "not known": "left out"},
            "metrics": ["AUROC, ties one half", "average precision", "MCC", "F1"],
            "threshold": "highest MCC on the validation split, of several the lowest",
            "means": "over labels with both classes, of 5 and of 14",
            "bootstrap": {
                "draws": self.draws,
                "over": "patients, in the order of source_id and id",
                "generator": "numpy RandomState(i) for draw i, randint(0, n, n)",
                "interval": "sorted values number floor(.025 n) and floor(.975 n)",
            },
        }

    def choose(self, store: rows.Store, subset: Subset) -> Case:
        held: Case | str = self._held_back(store, subset)
        return self._choose(store, subset, held)

    def judge(self, embedders: Sequence[rows.Embedder], store: rows.Store, case: Case) -> Judged:
        for embedder in embedders:
            rows.need_text(embedder, "classify by prompts")
        asked = self.asked
        names = [*NAMES, PUBLISHED]
        probability = self._probabilities(embedders, store, case, asked)
        known = truth.decided(case.truth, self.uncertain)
        twice = np.concatenate([known, known[:, [NAMES.index(ABSENCE)]]], axis=1)
        thresholds = self._thresholds(embedders, store, case, asked)
        verdict = chexzero.judge(
            names, twice, probability, rows.patients(case.table), thresholds=thresholds, draws=self.draws
        )
        means = {"5": chexzero.mean(verdict, COMPETITION), "14": chexzero.mean(verdict, NAMES)}
        published = verdict.labels.pop(PUBLISHED)
        for i, name in enumerate(NAMES):
            verdict.labels[name]["uncertain"] = int((case.truth[:, i] == truth.UNCERTAIN).sum())
            verdict.labels[name]["not_known"] = int(np.isnan(case.truth[:, i]).sum())
        result = {
            "headline": {
                "name": f"mean AUROC of {report.counted(means['5'])}",
                "value": means["5"]["auroc"],
                "interval": means["5"]["auroc_ci"],
            },
            "means": means,
            "labels": verdict.labels,
            "as_published": {ABSENCE: published},
            "truth": case.columns,
            "counts": case.counts,
            "bootstrap": {"draws": self.draws, "over": "patients", "level": chexzero.LEVEL, "seed": "0, 1, 2 ..."},
            "prompts": self.definition()["prompts"],
            "notes": list(NOTES),
            "warnings": [*answers.too_long(embedders, asked.texts), *_warnings(verdict.labels, means)],
        }
        return Judged(result, _predictions(case, probability, known), _curves(verdict.labels, known, probability))

    def _choose(self, store: rows.Store, subset: Subset, held: Case | str) -> Case:
        wanted = [name for name in store.columns if name.startswith("label_") or name == subset.column]
        more = answers.key_columns(store) if subset.labels else []
        table = rows.choose(
            store, split=subset.split, where=subset.where, columns=[*wanted, "view", "source_id", *more]
        )
        chosen = self._one_each(table)
        values: dict[str, Sequence[Any]] = {name: table[name].to_pylist() for name in wanted}
        if subset.labels is not None:
            values |= answers.join(store, table, subset.labels).columns
        problems = [] if chosen.places else [_no_view(table, subset, self.views)]
        known, columns = np.empty((0, 0)), {}
        try:
            known, columns = _truth(values, subset.column)
        except WrongUse as error:
            problems.append(str(error))
        if problems:
            raise WrongUse(many(f"the store {store.path} for the protocol chexpert", problems))
        return Case(table.take(chosen.places), known[chosen.places], columns, _counts(table, chosen), held)

    def _one_each(self, table: "pa.Table") -> frontal.Chosen:
        def column(name: str) -> list[Any]:
            return table[name].to_pylist() if name in table.column_names else [None] * len(table)

        keys = [(source or "", row) for source, row in zip(column("source_id"), column("id"), strict=True)]
        return frontal.one_each(rows.study_names(table), column("view"), keys, order=self.views)

    def _held_back(self, store: rows.Store, subset: Subset) -> Case | str:
        """The validation studies, chosen by the same rule, or why no threshold can come from them."""
        if subset.split not in ("train", "test"):
            return f"no threshold: it would come from the validation split, which is part of the split {subset.split!r}"
        if not rows.split_sizes(store, where=subset.where).get("validation"):
            told = f" where {subset.where}" if subset.where else ""
            return f"no threshold: the store has no validation split{told}"
        try:
            return self._choose(store, subset._replace(split="validation"), "no threshold")
        except WrongUse:
            return "no threshold: the validation split has no frontal images with labels"

    def _probabilities(
        self, embedders: Sequence[rows.Embedder], store: rows.Store, case: Case, asked: PromptSet
    ) -> Floats:
        """[N, L + 1], the mean over the models."""
        numbers = case.table["row"].to_pylist()
        each = [
            answers.probabilities(answers.similarities(one, store, numbers, asked), asked, one.scale)
            for one in embedders
        ]
        return np.mean(each, axis=0)

    def _thresholds(
        self, embedders: Sequence[rows.Embedder], store: rows.Store, case: Case, asked: PromptSet
    ) -> dict[str, Threshold]:
        names = [*NAMES, PUBLISHED]
        if isinstance(case.held, str):
            return {name: Threshold(None, case.held) for name in names}
        known = truth.decided(case.held.truth, self.uncertain)
        twice = np.concatenate([known, known[:, [NAMES.index(ABSENCE)]]], axis=1)
        probability = self._probabilities(embedders, store, case.held, asked)
        return chexzero.best_thresholds(names, twice, probability, split="validation")


# ---- what a store knows --------------------------------------------------------------------------------------------


def _truth(values: Mapping[str, Sequence[Any]], column: str | None) -> tuple[Floats, dict[str, str]]:
    """1, 0, -1 or NaN of each row and label, [N, L], and {label: the column it was found in}.

    Raises:
        WrongUse: where no label is known, with what there is instead.
    """
    if column is not None:
        return _named(values, column)
    found = {name: _columns_of(name, values) for name in NAMES}
    if not any(found.values()) and LISTS in values:
        return _named(values, LISTS)
    problems = [f"{' and '.join(some)} both say {name}: remove one" for name, some in found.items() if len(some) > 1]
    if not any(found.values()):
        problems.append(_no_labels(values))
    if problems:
        raise WrongUse("\n  ".join(problems))
    columns = {name: some[0] for name, some in found.items() if some}
    there = truth.of_labels(values, list(columns), column=None, columns=columns)
    known = np.full((len(there), len(NAMES)), np.nan)
    known[:, [NAMES.index(name) for name in columns]] = there
    return known, columns


def _named(values: Mapping[str, Sequence[Any]], column: str) -> tuple[Floats, dict[str, str]]:
    """From a column with lists of findings; of a finding that no list ever names nothing is known."""
    if column not in values:
        raise WrongUse(f"column={column}: there is no such column{meant(column, list(values))}")
    seen = {name for value in values[column] for name in truth.names_in(value) or []}
    columns = {name: column for name in NAMES if name in seen}
    if not columns:
        raise WrongUse(f"{column} names none of {', '.join(NAMES)}")
    known = truth.from_lists(values[column], NAMES)
    known[:, [i for i, name in enumerate(NAMES) if name not in columns]] = np.nan
    return known, columns


def _columns_of(name: str, columns: Mapping[str, Any]) -> list[str]:
    """The label_ columns that mean a label, however its words are joined and in whatever capitals.

    >>> _columns_of("Pleural Effusion", {"label_pleural_effusion": [], "label_findings": [], "pleural effusion": []})
    ['label_pleural_effusion']
    """

    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", "", text).lower()

    return [
        column for column in columns
        if column.startswith("label_") and plain(column.removeprefix("label_")) == plain(name)
    ]  # fmt: skip


def _no_labels(values: Mapping[str, Sequence[Any]]) -> str:
    """What is said where no label is known: what there is, and how to get what is needed."""
    listed = {}
    for column, cells in values.items():
        seen = {name for cell in cells if isinstance(cell, list | str) for name in truth.names_in(cell) or []}
        if named := [name for name in NAMES if name in seen]:
            listed[column] = named
    lists = "".join(
        f"; {column} has lists that name {', '.join(names)}: column={column} judges by them"
        for column, names in listed.items()
    )
    there = ", ".join(values) or "no label_ column"
    return (
        f"no labels: it needs label_{NAMES[0]}, label_{NAMES[1]} ... (1 or 0), or lists of findings in {LISTS}; there "
        f"is {there}{lists}. Labels come in by `mmssl prepare SOURCE STORE --labels TABLE`, or for this once by "
        "labels=TABLE"
    )


def _no_view(table: "pa.Table", subset: Subset, views: Sequence[str]) -> str:
    seen = Counter(table["view"].to_pylist() if "view" in table.column_names else [None] * len(table))
    there = ", ".join(f"{view or 'nothing'} {count}" for view, count in seen.most_common(6))
    return (
        f"no frontal image: in the split {subset.split!r} no `view` is {' or '.join(views)} ({there}). `mmssl prepare` "
        "reads it from DICOM headers, or from the column `view` of a table (columns.view=NAME where yours is called "
        "otherwise)"
    )


def _counts(table: "pa.Table", chosen: frontal.Chosen) -> dict[str, Any]:
    there = table.take(chosen.places)
    return {
        "images": len(table),
        "images_left": chosen.images_left,
        "studies": len(chosen.places) + sum(chosen.studies_left.values()),
        "studies_left": chosen.studies_left,
        "judged": len(chosen.places),
        "views": chosen.views,
        "patients": len(set(rows.patients(there))),
    }


# ---- what is said --------------------------------------------------------------------------------------------------


def _warnings(labels: Mapping[str, Mapping[str, Any]], means: Mapping[str, Mapping[str, Any]]) -> list[str]:
    below = {name: one for name, one in labels.items() if one["auroc"] is not None and one["auroc"] < 0.5}
    surely = {name for name, one in below.items() if one["auroc_ci"] and one["auroc_ci"][1] < 0.5}
    found = [
        f"{name}: AUROC {below[name]['auroc']:.3f} is clearly below 0.5: its prompts are taken for each other"
        for name in below
        if name in surely
    ]
    if maybe := [f"{name} {one['auroc']:.3f}" for name, one in below.items() if name not in surely]:
        found.append(f"AUROC below 0.5, if only by chance: {', '.join(maybe)}")
    for of, mean in means.items():
        if not mean["labels"]:
            found.append(f"none of the {of} labels has an AUROC")
        elif mean["missing"]:
            found.append(
                f"the mean of {of} is here that of {mean['labels']} labels, not to be compared with others: without "
                f"{', '.join(mean['missing'])}"
            )
    return found


def _predictions(case: Case, probability: Floats, known: Floats) -> "pa.Table":
    import pyarrow as pa

    count, width = known.shape
    repeated = {"row": case.table["id"], "study": case.table["study_id"]}
    columns = {
        name: pa.array([v for v in values.to_pylist() for _ in NAMES], pa.string()) for name, values in repeated.items()
    }
    columns["label"] = pa.array(list(NAMES) * count, pa.string())
    columns["probability"] = pa.array(probability[:, :width].ravel())
    columns["truth"] = pa.array(known.ravel(), pa.float64(), from_pandas=True)  # NaN is null
    return pa.table(columns)


def _curves(labels: Mapping[str, Mapping[str, Any]], known: Floats, probability: Floats) -> list[figures.Curve]:
    return [
        figures.Curve(name, *metrics.roc(known[:, i], probability[:, i]), labels[name]["auroc"])
        for i, name in enumerate(NAMES)
        if labels[name]["auroc"] is not None
    ]
