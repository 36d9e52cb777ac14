"""`kaggle-digits kernel`: a run on Kaggle's machines, from the upload to the result at home."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_digits.cli.options import (
    ConfigOption,
    LeakOption,
    SetOption,
    VersionsOption,
    help_without_command,
    path_of,
)
from kaggle_digits.system.time_budget import Stopped

if TYPE_CHECKING:
    from kaggle_digits.kaggle.client import Client
    from kaggle_digits.kaggle.kernel_folder import KernelFolder
    from kaggle_digits.system.console import Reporter

# Options of `build` that `KernelOptions` has under the same names.
SAME_NAMES = ("owner", "notebook", "accelerator", "time_limit", "internet", "public")
DATA_PLACE = ("data", "data.path")  # settings that say where this machine has its files
TAIL = 20  # lines of a failed kernel's log

app = typer.Typer(
    rich_markup_mode=None,
    callback=help_without_command,
    invoke_without_command=True,
    help="Run on Kaggle: build a kernel, upload it, follow it, fetch it.",
)


NotebookOption = Annotated[
    bool,
    typer.Option("--notebook", help="A notebook that shows data, curves and result, not a script."),
]
AcceleratorOption = Annotated[
    str,
    typer.Option(
        autocompletion=lambda: ["none", "gpu", "t4x2", "tpu"],
        metavar="[none|gpu|t4x2|tpu]",
        help="gpu: Kaggle's default GPU; t4x2: two T4, of which one is used; tpu: v5e-8, with the "
        "JAX backend.",
    ),
]
KernelTimeOption = Annotated[
    str,
    typer.Option(
        "--time-limit",
        metavar="DURATION",
        help="The run ends within this time, at most 12h, with a TPU 9h; Kaggle has been seen to "
        "end a session after 9 hours.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The kernel's name in its address. Without it: kaggle-digits-CONFIG.",
    ),
]
OwnerOption = Annotated[
    str | None,
    typer.Option(
        envvar="KAGGLE_USERNAME",
        show_envvar=False,
        metavar="USER",
        help="Your name on Kaggle. Without it: KAGGLE_USERNAME, else whoever uploads it.",
    ),
]
KernelSourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resume-from",
        metavar="OWNER/KERNEL",
        help="Continue the run in this kernel's output. May be given several times.",
    ),
]
DatasetSourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resume-dataset",
        metavar="OWNER/DATASET",
        help="Continue the run in this dataset. May be given several times.",
    ),
]
InternetOption = Annotated[
    bool, typer.Option("--internet", help="Let the kernel use the network; it needs none.")
]
PublicOption = Annotated[bool, typer.Option("--public", help="Let everybody see the kernel.")]
OutOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        metavar="FOLDER",
        help="The kernel's folder. Without it: submissions/kernels/NAME.",
    ),
]
KernelArgument = Annotated[
    str,
    typer.Argument(
        metavar="KERNEL", help="The folder that build made, or the kernel's OWNER/NAME."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Also overwrite what you changed in the folder.")
]


@app.command()
def build(
    context: typer.Context,
    config: ConfigOption = "quick",
    set_: SetOption = None,
    time_limit: KernelTimeOption = "8h30m",
    notebook: NotebookOption = False,
    accelerator: AcceleratorOption = "gpu",
    name: NameOption = None,
    owner: OwnerOption = None,
    resume_from: KernelSourcesOption = None,
    resume_dataset: DatasetSourcesOption = None,
    internet: InternetOption = False,
    public: PublicOption = False,
    allow_changed_versions: VersionsOption = False,
    allow_leak: LeakOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make the folder of a kernel.

    It has kernel-metadata.json and one code file, which carries this package and the config and
    needs no network.
    """
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    built = _build(context, reporter)
    reporter.say(f"\nkaggle-digits kernel push {shlex.quote(str(built.folder))}   uploads it")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What build made.")],
) -> None:
    """Upload a kernel, which Kaggle then runs."""
    from kaggle_digits.kaggle.client import connect
    from kaggle_digits.kaggle.kernel_folder import KernelFolder
    from kaggle_digits.system.console import Reporter

    built = KernelFolder(folder)
    built.read_metadata()  # what is no kernel's folder is refused before Kaggle is asked
    reporter = Reporter()
    kernel = _push(connect(), built, reporter)
    reporter.say(f"\nkaggle-digits kernel status {kernel} --wait   follows it")


@app.command()
def status(
    kernel: KernelArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end, with its log.")
    ] = False,
) -> None:
    """Say how far a kernel is; exit status 1 if it has failed."""
    from kaggle_digits.kaggle import kernels
    from kaggle_digits.kaggle.client import connect
    from kaggle_digits.system.console import Reporter

    reporter, client = Reporter(), connect()
    name = kernels.name_of(client, kernel)
    if wait:
        now = kernels.follow(client, name, reporter.say)
    else:
        now = kernels.state(client, name)
        reporter.say(f"{name}: {now}")
        if now.has_failed:
            for line in kernels.log_tail(client, name, TAIL):
                reporter.say(line)
        if now.is_under_way:
            return
    output = "what it has left" if now.has_failed else "its output"
    reporter.say(f"\nkaggle-digits kernel fetch {name}   brings {output} home")
    if now.has_failed:
        raise typer.Exit(1)


@app.command()
def fetch(
    kernel: KernelArgument,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="The run's folder here. Without it: submissions/NAME.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace whatever run is in that folder.")
    ] = False,
) -> None:
    """Bring the output of a kernel home as a run folder."""
    from kaggle_digits.kaggle import kernels
    from kaggle_digits.kaggle.client import connect
    from kaggle_digits.system.console import Reporter

    client = connect()
    _fetch(client, kernels.name_of(client, kernel), Reporter(), out, overwrite)


@app.command(name="run", help="Build, push, follow and fetch, in one go.")
@functools.wraps(build)
def run_(context: typer.Context, **_: object) -> None:
    """Build, push, follow and fetch, in one go."""
    from kaggle_digits.kaggle import kernel_output, kernels
    from kaggle_digits.kaggle.client import connect
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    built = _build(context, reporter)
    if kernel := built.awaited:
        client = connect()
        reporter.say(f"{kernel}: is on Kaggle already, with the same code; waiting for its end")
    else:
        kernel_output.check_home(built)
        client = connect()
        kernel = _push(client, built, reporter)
        built.note_awaited(kernel)
    with _pushed(kernel):
        has_failed = kernels.follow(client, kernel, reporter.say).has_failed
    try:
        with _pushed(kernel):
            _fetch(client, kernel, reporter)
    except kernel_output.NoRunError as error:
        if not has_failed:
            raise
        reporter.say(f"WARNING: {error}")
    built.note_awaited(None)
    if has_failed:
        raise typer.Exit(1)


def _build(context: typer.Context, reporter: Reporter) -> KernelFolder:
    """Do what `build` and `run` begin with; their options are those in `build`'s signature."""
    from kaggle_digits.config import loading
    from kaggle_digits.kaggle import kernel_folder

    given = context.params
    config, config_name = loading.resolve(given["config"], given["set_"] or (), reporter.say)
    options = kernel_folder.KernelOptions(
        config,
        config_name,
        _as_given(context),
        slug=given["name"],
        flags=tuple(flag for flag in ("allow_changed_versions", "allow_leak") if given[flag]),
        kernel_sources=tuple(given["resume_from"] or ()),
        dataset_sources=tuple(given["resume_dataset"] or ()),
        **{name: given[name] for name in SAME_NAMES},
    )
    built = kernel_folder.build(options, given["out"], given["overwrite"])
    for line in built.description():
        reporter.say(line)
    return built


def _push(client: Client, built: KernelFolder, reporter: Reporter) -> str:
    from kaggle_digits.kaggle import kernels

    pushed = kernels.push(client, built)
    reporter.say(f"{pushed.kernel}: version {pushed.version} is on Kaggle: {pushed.url}")
    return pushed.kernel


def _fetch(
    client: Client,
    kernel: str,
    reporter: Reporter,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    from kaggle_digits.kaggle import kernel_output
    from kaggle_digits.runs.run import Run

    folder = kernel_output.fetch(client, kernel, reporter.say, out, overwrite)
    if torn := folder.torn():
        run = f"--config {shlex.quote(str(folder.config))} --out {shlex.quote(str(folder.folder))}"
        reporter.say(
            f"WARNING: the kernel seems to have ended while it wrote {', '.join(torn)}; all "
            f"finished fits are here. Fetch again, in case they did not arrive whole; else "
            f"kaggle-digits run {run} --allow-changed-versions makes them again, and trains the "
            "fits that are missing",
            important=True,
        )
        return
    reporter.say(str(Run(folder.folder)))
    reporter.say(f"\nkaggle-digits submit {shlex.quote(str(folder.folder))}   submits it")


@contextmanager
def _pushed(kernel: str) -> Iterator[None]:
    """Have Ctrl-C say that the kernel goes on without this command."""
    try:
        yield
    except Stopped as stopped:
        stopped.advice = (
            "the kernel goes on; repeat the command to wait for its end, or fetch it later with "
            f"kaggle-digits kernel fetch {kernel}"
        )
        raise


def _as_given(context: typer.Context) -> str:
    """Return the command that builds the kernel, without what matters only on this machine."""
    from kaggle_digits.config import loading

    words = ["kaggle-digits", "kernel", "build"]  # `run` gives the same file
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if parameter.name in ("out", "overwrite", "owner") or source.name != "COMMANDLINE":
            continue
        option, value = parameter.opts[0], context.params[parameter.name]
        if value is True:
            words.append(option)
            continue
        if parameter.name == "config" and value not in loading.peer_names():
            value = Path(value).name
        elif parameter.name == "set_":
            value = [each for each in value if each.partition("=")[0].strip() not in DATA_PLACE]
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [option, each]
    return shlex.join(words)
