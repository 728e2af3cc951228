"""The commands: each is a thin layer over the function of the same name, which is imported when it is called."""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from annotated_types import Ge
from typer.core import TyperArgument, TyperCommand, TyperOption

import mmssl
from mmssl import console, plugins
from mmssl.errors import CannotDo, WrongUse, meant

DONE, CANNOT, WRONG, STOPPED = 0, 1, 2, 130
"""Exit statuses: done, could not be done, wrong use, Ctrl-C."""

Split = Literal["train", "validation", "test", "all"]
SETTING = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*=.*", re.DOTALL)


class Command(TyperCommand):
    """A command whose usage is written as its arguments' metavars have it; an option with one value is given once."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        arguments = [param.metavar or "" for param in self.params if isinstance(param, TyperArgument)]
        return ["[OPTIONS]", *arguments]

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        try:
            self._check_once(ctx, args)
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _choices(error.message)
            raise

    def _check_once(self, ctx: typer.Context, args: list[str]) -> None:
        """Raises where all but the last of several values would be passed over."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        single = [one for one in given if isinstance(one, TyperOption) and not one.is_flag and not one.multiple]
        if twice := sorted({one.opts[-1] for one in single if single.count(one) > 1}):
            raise typer.BadParameter(f"give {' and '.join(twice)} once: only the last value would count", ctx=ctx)


class Settable(Command):
    """A command whose `key=value` words may stand anywhere among its arguments and options."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        words, settings = _part(args, self._options_with_value())
        try:
            left = super().parse_args(ctx, words)
        except typer.BadParameter as error:
            if not error.message:  # an argument is missing, for which a setting may have been meant
                error.message = "; ".join(f"{one} was read as a setting, ./{one} is a path" for one in settings)
            raise
        if stray := ctx.params.get("settings"):
            example = f"data.path={stray[0]}" if Path(stray[0], "manifest.json").exists() else "seed=1"
            raise typer.BadParameter(f"{stray[0]!r} is no setting; write key=value, say {example}", ctx=ctx)
        ctx.params["settings"] = settings
        return left

    def _options_with_value(self) -> set[str]:
        options = [param for param in self.params if isinstance(param, TyperOption)]
        return {name for option in options if not option.is_flag for name in option.opts}


def _part(args: list[str], options_with_value: set[str]) -> tuple[list[str], list[str]]:
    """The arguments and options, and the settings.

    >>> _part(["a.yaml", "seed=1", "--where", "sex='F'", "--", "b=c"], {"--where"})
    (['a.yaml', '--where', "sex='F'", '--', 'b=c'], ['seed=1'])
    """
    words: list[str] = []
    settings: list[str] = []
    for i, word in enumerate(args):
        if word == "--":
            return words + args[i:], settings
        is_value = i > 0 and args[i - 1] in options_with_value
        (settings if SETTING.fullmatch(word) and not is_value else words).append(word)
    return words, settings


def _choices(message: str) -> str:
    """What was given where only some words are possible, with the near miss.

    >>> _choices("Value error, 'tset' is not one of 'train', 'test'.")
    "'tset' is not one of 'train', 'test', did you mean 'test'?"
    """
    message = message.removeprefix("Value error, ")
    given, is_choice, known = message.partition(" is not one of ")
    near = meant(given.strip("'"), re.findall(r"'([^']*)'", known)) if is_choice else ""
    return message.removesuffix(".") + near if near else message


def _version(asked: bool) -> None:
    if asked:
        print(f"mmssl {mmssl.__version__}")
        raise typer.Exit


def _quiet(asked: bool) -> None:
    console.quiet = console.quiet or asked


def _example(*lines: str) -> str:
    return "Example:\n\n" + "\n\n".join(line.replace("[", r"\[") for line in lines)


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Results and warnings alone: no progress, no remarks.",
        callback=_quiet,
        expose_value=False,
        is_eager=True,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Settings, in any place on the line.", show_default=False),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")]
Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML file, or one that comes with mmssl by its name: cxr, demo ...")
]
Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint: RUN/checkpoint or RUN/best.")]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="A store, as `mmssl prepare` makes it.")]
IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="An index, as `mmssl index` makes it.")]
Prompts = Annotated[Path, typer.Option(help="A YAML file, or one that comes with mmssl by its name: chexpert5 ...")]
OneSplit = Annotated[Split, typer.Option(help="Which rows of the store.")]
Where = Annotated[str | None, typer.Option(help="Of these, only such rows: \"view in ('PA','AP') and age > 60\".")]
Overlap = Annotated[
    Literal["refuse", "allow"],
    typer.Option(help="What to do where these rows were trained on; `allow`: count them in, and say so."),
]
OutFolder = Annotated[Path | None, typer.Option(help="Folder for the results as files.")]

app = typer.Typer(
    name="mmssl",
    help="From image-report pairs to a model you can ask: prepare, pre-train, classify without labels, search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(epilog=_example("mmssl demo demo"))
def _main(
    quiet: Quiet = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, expose_value=False, is_eager=True)
    ] = False,
) -> None: ...


@dataclass(frozen=True)
class DemoSettings:
    seed: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True)
class PhantomSettings:
    seed: Annotated[int, Ge(0)] = 0
    n: Annotated[int, Ge(1)] = 1200


@app.command(cls=Settable, epilog=_example("mmssl demo demo seed=1"))
def demo(out: Out, settings: Settings = None, quiet: Quiet = False) -> None:
    """The whole way on made-up patients: phantom, prepare, pretrain, zeroshot, retrieve, index, search."""
    chosen = _chosen(settings, DemoSettings)
    from mmssl.jobs.demo import demo as run

    run(out, seed=chosen.seed)


@app.command(cls=Settable, epilog=_example("mmssl phantom hospital seed=1 n=200"))
def phantom(out: Out, settings: Settings = None, quiet: Quiet = False) -> None:
    """Write a made-up hospital of n patients: DICOM files, reports.csv and truth.csv."""
    chosen = _chosen(settings, PhantomSettings)
    from mmssl.phantoms.hospital import write

    with console.progress("phantoms", chosen.n, "patients") as advance:
        write(out, seed=chosen.seed, n=chosen.n, progress=lambda done, total: advance())


@app.command(
    cls=Settable,
    epilog=_example(
        "mmssl prepare pairs.csv my.store columns.text=caption",
        "mmssl prepare hospital/dicom my.store --reports hospital/reports.csv --labels hospital/truth.csv",
    ),
)
def prepare(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A table, an image folder, a folder of DICOM files, or a data set."),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder to write the store to.")],
    settings: Settings = None,
    layout: Annotated[
        str | None, typer.Option(help="Kind of source (a file of mmssl/sources), unless recognised.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Reports, for DICOM files: a table, HL7, FHIR, or what `mmssl reports` takes.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Table of labels, for evaluation only.")] = None,
    merges: Annotated[
        Path | None, typer.Option(help="Table of patient ids, old and new, that turned out to be one patient's.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a store, ready for training, of images and their texts. `mmssl config prepare` shows every setting."""
    from mmssl.prepare.job import prepare as run

    run(source, store, layout=layout, reports=reports, labels=labels, merges=merges, overrides=settings or [])


@app.command(
    cls=Settable,
    epilog=_example(
        "mmssl reports reports.csv --out reports.jsonl columns.text=Befund",
        "mmssl reports openi_reports.tgz --out reports.jsonl",
    ),
)
def reports(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A table; a folder or an archive of .txt, Open-i XML or HL7 messages; FHIR DiagnosticReports.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write, a JSON line for each report.")],
    settings: Settings = None,
    layout: Annotated[
        Literal["table", "text", "openi", "hl7", "fhir"] | None,
        typer.Option(help="Kind of source, unless recognised."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Read reports: their sections, sentences and findings, a JSON line each."""
    from mmssl.reports import reports as run

    run(source, out, layout=layout, overrides=settings or [])


@app.command(
    cls=Settable,
    epilog=_example("mmssl pretrain configs/pretrain/cxr.yaml data.path=my.store run=runs/first minutes=30"),
)
def pretrain(
    config: Config,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on a store. `mmssl config CONFIG` shows every setting."""
    from mmssl.train import pretrain as run

    try:
        run(config, *(settings or []), resume=resume)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("\nmmssl: the run is not finished; go on with the same command and --resume", file=sys.stderr)
        raise


@app.command(
    cls=Command,
    epilog=_example("mmssl zeroshot runs/first/best my.store --prompts configs/prompts/chexpert5.yaml --out results"),
)
def zeroshot(
    paths: Annotated[
        list[Path], typer.Argument(metavar="CHECKPOINT... STORE", help="One or more checkpoints, averaged; a store.")
    ],
    prompts: Prompts,
    split: OneSplit = "test",
    unit: Annotated[Literal["image", "study"], typer.Option(help="What is classified.")] = "image",
    labels: Annotated[Path | None, typer.Option(help="Table with the truth, where the store has none.")] = None,
    where: Where = None,
    overlap: Overlap = "refuse",
    out: OutFolder = None,
    quiet: Quiet = False,
) -> None:
    """Classify images by prompts, without having seen a label, and measure it."""
    *checkpoints, store = paths
    if not checkpoints:
        raise typer.BadParameter("a checkpoint and a store are needed, one after the other")
    from mmssl.zeroshot import zeroshot as run

    rows = {"split": split, "unit": unit, "labels": labels, "where": where}
    run(checkpoints, store, prompts=prompts, **rows, overlap=overlap, out=out)


@app.command(
    cls=Command,
    epilog=_example("mmssl calibrate runs/first/best my.store --prompts configs/prompts/chexpert5.yaml"),
)
def calibrate(
    checkpoint: Checkpoint,
    store: StorePath,
    prompts: Prompts,
    split: OneSplit = "validation",
    where: Where = None,
    overlap: Overlap = "refuse",
    quiet: Quiet = False,
) -> None:
    """Fit the probabilities of a prompt set on the validation split; kept beside the checkpoint."""
    from mmssl.zeroshot import calibrate as run

    run(checkpoint, store, prompts=prompts, split=split, where=where, overlap=overlap)


@app.command(
    cls=Command,
    epilog=_example("mmssl evaluate chexpert runs/first/best my.store --out results"),
)
def evaluate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="PROTOCOL CHECKPOINT... STORE [key=value ...]",
            help=f"The protocol's name: {', '.join(plugins.names('protocols'))} (`list` says what each is); one or "
            "more checkpoints, averaged; a store; settings in any place: device, batch, column.",
        ),
    ],
    split: OneSplit = "test",
    labels: Annotated[Path | None, typer.Option(help="Table with the truth, where the store has none.")] = None,
    where: Where = None,
    overlap: Overlap = "refuse",
    out: OutFolder = None,
    quiet: Quiet = False,
) -> None:
    """Judge checkpoints by a published protocol: its rows, prompts, scores and intervals, hashed into the result."""
    from mmssl import evaluate as job  # the module, which has the name of its function

    words, settings = _part(words, set())
    if words == ["list"]:
        console.table("protocols", ["name", "what it is", "SHA-256"], job.known(), is_result=True)
        return
    if len(words) < 3:
        raise typer.BadParameter(
            "a protocol, a checkpoint and a store are needed, one after the other: mmssl evaluate chexpert "
            "runs/first/best my.store"
        )
    protocol, *checkpoints, store = words
    options = {
        "split": split if split != "test" else None,
        "labels": labels,
        "where": where,
        "overlap": overlap if overlap != "refuse" else None,
        "out": out,
    }
    settings += [f"{name}={value}" for name, value in options.items() if value is not None]
    keys = [one.partition("=")[0] for one in settings]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise typer.BadParameter(f"give {' and '.join(twice)} once: only the last value would count")
    job.evaluate(protocol, [Path(one) for one in checkpoints], Path(store), *settings)


@app.command(cls=Command, epilog=_example("mmssl retrieve runs/first/best my.store --out results"))
def retrieve(
    checkpoint: Checkpoint,
    store: StorePath,
    split: OneSplit = "test",
    where: Where = None,
    overlap: Overlap = "refuse",
    out: OutFolder = None,
    quiet: Quiet = False,
) -> None:
    """Measure how well texts find their images and images their texts."""
    from mmssl.retrieval import retrieve as run

    run(checkpoint, store, split=split, where=where, overlap=overlap, out=out)


@app.command(cls=Command, epilog=_example("mmssl index runs/first/best my.store my.index"))
def index(
    checkpoint: Checkpoint,
    store: StorePath,
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Folder to write the index to.")],
    split: OneSplit = "all",
    where: Where = None,
    quiet: Quiet = False,
) -> None:
    """Make the images of a store searchable."""
    from mmssl.search.index import index as run

    run(checkpoint, store, index, split=split, where=where)


@app.command(
    cls=Command,
    epilog=_example(
        'mmssl search my.index "left pleural effusion" -k 5 --where "sex = \'F\' and age > 60"',
        "mmssl search my.index --image film.png --html hits.html",
    ),
)
def search(
    index: IndexPath,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]", help="What to look for, in words; with --image too, both count.", show_default=False
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many hits.")] = 10,
    where: Where = None,
    image: Annotated[
        Path | None, typer.Option(help="An image to look for more of; with QUERY too, halfway between both.")
    ] = None,
    not_patient: Annotated[list[str] | None, typer.Option(help="A patient to leave out; may be repeated.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint that made the index, if it lies elsewhere now.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="File for the hits as pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The hits as JSON on standard output.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find images in words, or by an image."""
    from mmssl.search import query as searching

    if query is not None and not index.exists() and Path(query, "mmssl.json").exists():
        raise typer.BadParameter(f"the index comes first: mmssl search {query} {shlex.quote(str(index))}")
    hits = searching.search(
        index, query, k=k, where=where, image=image, not_patient=not_patient, html=html, checkpoint=checkpoint
    )
    if as_json:
        print(searching.to_json(hits))
    else:
        searching.print_hits(hits)


@app.command(
    cls=Command,
    epilog=_example("mmssl overlap runs/first/best other.store", "mmssl overlap a.store b.store --images-only --json"),
)
def overlap(
    paths: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Two or more stores and checkpoints, each against each.")
    ],
    images_only: Annotated[
        bool, typer.Option("--images-only", help="Compare images alone, as where ids are keyed with different secrets.")
    ] = False,
    near: Annotated[bool, typer.Option(help="Look for nearly equal images too.")] = True,
    out: OutFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell whose and which images stores and checkpoints have in common, split by split."""
    from mmssl.overlap import job

    found = job.overlap(paths, images_only=images_only, near=near, out=out)
    if as_json:
        print(job.to_json(found))
    else:
        job.show(found)


@app.command(cls=Command, epilog=_example("mmssl drift my.store --out results", "mmssl drift my.store --from 1 --to 3"))
def drift(
    store: StorePath,
    from_version: Annotated[
        int | None, typer.Option("--from", help="The version to compare with; all before the other, if not given.")
    ] = None,
    to_version: Annotated[
        int | None, typer.Option("--to", help="The version to compare; the newest, if not given.")
    ] = None,
    out: OutFolder = None,
    quiet: Quiet = False,
) -> None:
    """Tell what has moved between versions of a store: sizes, scanners, views, findings, texts ..., with tests."""
    from mmssl.drift import job

    job.show(job.drift(store, from_version=from_version, to_version=to_version, out=out))


@app.command(cls=Command, epilog=_example("mmssl export runs/first/best exported --to open_clip"))
def export(
    checkpoint: Checkpoint,
    out: Out,
    to: Annotated[str, typer.Option(help="Whose format: open_clip, timm.")] = "open_clip",
    quiet: Quiet = False,
) -> None:
    """Write a checkpoint in a format that others load."""
    from mmssl.export import export as run

    console.say(f"{run(checkpoint, out, to=to)} is there, in the format of {to}")


@app.command(cls=Settable, epilog=_example("mmssl config configs/pretrain/tiny.yaml optim.lr=1e-3"))
def config(config: Config, settings: Settings = None, quiet: Quiet = False) -> None:
    """Show a configuration, checked, with every default and setting; `mmssl config prepare` shows those of prepare."""
    import yaml

    from mmssl import settings as schema
    from mmssl.config import plain
    from mmssl.prepare import settings as of_prepare

    for_prepare = str(config) == "prepare" and not config.exists()
    read = of_prepare.read({}, settings or []) if for_prepare else schema.read(config, settings or [])
    print(yaml.safe_dump(plain(read), sort_keys=False), end="")


def _chosen(settings: list[str] | None, schema: type[Any]) -> Any:
    """Settings as their schema has them, or every mistake in them at once."""
    from mmssl.config import load

    return load({}, settings or [], schema)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and ends the process with its exit status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit status. `MMSSL_TRACEBACK=1` lets exceptions through."""
    console.quiet = False
    try:
        typer.main.get_command(app).main(arguments, prog_name="mmssl")
        return DONE
    except SystemExit as end:  # typer ends every command so, and has said what it did not understand
        if end.code == STOPPED:
            print("\nmmssl: stopped by Ctrl-C; what was written before is whole", file=sys.stderr)
        return int(end.code or DONE)
    except Exception as error:
        if os.environ.get("MMSSL_TRACEBACK"):
            raise
        is_wrong = isinstance(error, WrongUse)
        if not is_wrong or os.environ.get("RANK", "0") == "0":  # the same in every process of a launch: said once
            print(f"mmssl: {_said(error)}", file=sys.stderr)
        return WRONG if is_wrong else CANNOT


def _said(error: Exception) -> str:
    """One message for a user."""
    if isinstance(error, WrongUse | CannotDo):
        return str(error)
    if "No space left on device" in str(error):  # each library has its own exception for this
        place = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"the disk is full{place}; what was there before is untouched: free some space and run this again"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    place = "MMSSL_TRACEBACK=1 shows where"
    return f"unexpected {type(error).__name__}: {error} (this is a mistake in mmssl; {place})"
