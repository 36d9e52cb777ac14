"""A finished run -> the archive that a winner hands over: to predict with, and to train again.

It holds the run, this package's source, three scripts and what people have to know; all that the
scripts do is in `handed_over` and in the rooms below.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data.competition import DATA_PAGE, PAGE
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.handed_over import FILE as SETTINGS
from kaggle_digits.kaggle.handed_over import Settings
from kaggle_digits.kaggle.package_files import package_files
from kaggle_digits.report import run_tables
from kaggle_digits.report.rendering import templates
from kaggle_digits.results.joined import refuse_joined
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.console import count_of, duration

if TYPE_CHECKING:
    from kaggle_digits.results.run_metrics import RunMetrics

REQUIREMENTS, STRUCTURE = "requirements.txt", "directory_structure.txt"
TEMPLATE = ".jinja"
EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can hold: the same run gives the same bytes


def export(folder: Path, out: Path | None, say: Callable[[str], object]) -> Path:
    """Write the archive of a finished run, a zip with one folder of the run's name.

    The same run gives the same bytes. A file that is there already is never replaced.

    Args:
        folder: the run's folder.
        out: the zip; None: `<folder>-archive.zip` beside the folder.
        say: is given a line on whatever people have to know of the archive.

    Returns:
        The zip's path.

    Raises:
        UserError: the run is not finished, damaged or being worked on; or the zip's path is taken.
    """
    name = folder.resolve().name
    out = out or folder.resolve().with_name(f"{name}-archive.zip")
    if out.is_dir():
        raise UserError(f"--out {out}: expected a path for a zip, found a folder; add a file name")
    run = Run(folder)
    refuse_joined(RunFolder(folder))
    contents = _contents(run, RunFolder(folder), name)
    archive = _zipped({f"{name}/{path}": content for path, content in contents.items()})
    if out.exists():
        if out.read_bytes() != archive:
            raise UserError(
                f"{out}: expected no file or this run's archive, found another file; delete it, or "
                "give another --out"
            )
    else:
        files.write_bytes(out, archive)
    for fact in run_tables.warnings(run.metrics):
        say(f"{fact.label}: {fact.value}")
    if run.metrics.callbacks:
        say(
            f"WARNING: callbacks are not in the archive: {', '.join(run.metrics.callbacks)}; put "
            "their modules beside its train.py"
        )
    return out


def _contents(run: Run, folder: RunFolder, name: str) -> dict[str, bytes]:
    """Return each file's content by its path in the archive's folder."""
    if owner := folder.owner():
        raise UserError(
            f"{run.folder}: process {owner} is at work in this folder; wait for it, then export"
        )
    metrics = run.metrics
    if metrics.not_for_upload and not metrics.demo_data:
        raise UserError(
            f"{run.folder}: expected a run on the competition's files, which an archive trains on, "
            f"found one that was {metrics.not_for_upload}"
        )
    if not metrics.complete:
        raise UserError(
            f"{run.folder}: expected a complete run, found {metrics.fits_finished} of "
            f"{count_of(metrics.fits_planned, 'fit')} finished; repeat the command that began it, "
            "then export"
        )
    of_run = folder.handed_over()
    if of_run[folder.submission.name] != run.submission_bytes():
        raise files.DamagedError(folder.submission, "it is not what the fits have predicted")
    manifest = json.loads(of_run[folder.manifest.name])
    config = _to_hand_over(run.config)
    if config != run.config:  # else the file stays as the run has written it
        content = of_run[folder.config.name] = loading.dump(config).encode()
        manifest["artefacts"][folder.config.name] = files.checksum_of(content)
        of_run[folder.manifest.name] = files.json_bytes(manifest)
    settings = Settings.of_run(metrics.demo_data, manifest["backend"])
    contents = {f"{settings.model_dir}/{path}": content for path, content in of_run.items()}
    contents |= dict(package_files())
    contents[SETTINGS] = files.json_bytes(settings.values())
    contents[REQUIREMENTS] = _requirements(manifest["packages"], manifest["backend"])
    contents |= _rendered(_facts(name, run, config, folder, manifest, settings))
    contents[STRUCTURE] = _tree(name, [*contents, STRUCTURE])
    return contents


def _to_hand_over(config: Config) -> Config:
    """Return a config without the place of the data, which is of this machine."""
    return config if config.data.path is None else loading.changed(config, {"data.path": None})


def _requirements(noted: Mapping[str, str], backend: str) -> bytes:
    """Return what pip installs: the versions that the run noted, else what this package asks for.

    Args:
        noted: package -> version, as `environment.package_versions` returned when the run was made.
        backend: the Keras backend, which may be none of the packages that this one asks for.
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    try:
        asked = importlib.metadata.requires("kaggle-digits")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "export: expected kaggle-digits to be installed, which says what it requires, found "
            "only its source; pip install it, then export"
        ) from None
    wanted = {}
    for each in map(Requirement, asked or ()):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            wanted[each.name] = f"{each.name}{each.specifier}"
    for name in (*wanted, backend):
        if name in noted:  # the local part of a version (+cu121) is on no index
            wanted[name] = f"{name}=={Version(noted[name]).public}"
    lines = [
        f"# Python {noted['python']}",
        *(wanted[name] for name in sorted(wanted, key=str.lower)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _facts(
    name: str,
    run: Run,
    config: Config,
    folder: RunFolder,
    manifest: Mapping,
    settings: Settings,
) -> dict[str, object]:
    """Return what the templates are filled with."""
    metrics: RunMetrics = run.metrics
    of_fits = [folder.read_fit(*fit) for fit in folder.finished_fits()]
    folds, nets = config.folds, metrics.fits_finished
    return {
        "nets": f"the average of {nets} convolutional nets" if nets > 1 else "a convolutional net",
        "split": "stratified k-fold" if folds.is_usual else f"this split: {folds.description}",
        "name": name,
        "metrics": metrics,
        "warnings": run_tables.warnings(metrics),
        "scores": run_tables.scores(metrics),
        "machines": _machines(of_fits),
        "seed": manifest["seed"],
        "fits": manifest["fits"],
        "differences": {
            key: loading.in_line(value)
            for key, (value, _) in loading.differences(
                loading.without_tuning(config), loading.load("quick")
            ).items()
        },
        "settings": settings,
        "python": manifest["packages"]["python"],
        "wall": duration(metrics.wall_seconds),
        "training": duration(sum(facts["seconds"]["train"] for facts in of_fits)),
        "predicting": duration(sum(facts["seconds"]["predict"] for facts in of_fits)),
        "competition": PAGE,
        "data_page": DATA_PAGE,
    }


def _machines(of_fits: Iterable[Mapping]) -> list[dict[str, str]]:
    """Describe the machines that fits were trained on, each once."""
    found = []
    for facts in of_fits:
        accelerators = facts.get("accelerators")  # earlier versions did not note them
        device = "not noted" if accelerators is None else ", ".join(accelerators) or "none"
        machine = environment.described(facts["hardware"], facts["packages"])
        found.append({"GPU or TPU": device} | machine)
    return [machine for number, machine in enumerate(found) if machine not in found[:number]]


def _rendered(facts: Mapping[str, object]) -> dict[str, bytes]:
    """Fill the templates; one file each, but for what is copied as it is."""
    found = templates("kaggle_digits.kaggle", "templates/archive")
    return {
        name.removesuffix(TEMPLATE): found.get_template(name).render(facts).encode()
        for name in found.list_templates()
    }


def _tree(name: str, paths: Iterable[str]) -> bytes:
    """Draw a plain tree of the archive's folder."""
    lines, shown = [f"{name}/"], set()
    for path in sorted(map(PurePosixPath, paths)):
        for place in (*reversed(path.parents[:-1]), path):
            if place not in shown:
                shown.add(place)
                end = "" if place == path else "/"
                lines.append("    " * len(place.parts) + place.name + end)
    return ("\n".join(lines) + "\n").encode()


def _zipped(contents: Mapping[str, bytes]) -> bytes:
    """Return a zip; equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(contents):
            entry = zipfile.ZipInfo(path, EARLIEST)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3  # Unix
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[path])
    return buffer.getvalue()
