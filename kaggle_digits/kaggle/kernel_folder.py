"""The folder that is uploaded as a kernel: `kernel-metadata.json` and one code file.

`build` makes it, from what `kernel_code` writes; `kernels` uploads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data.competition import SLUG
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.kernel_code import KernelCode
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import MARKER, LockedFolder
from kaggle_digits.storage.run_folder import KERNELS
from kaggle_digits.system.time_budget import parse_duration

FORMAT = 1
METADATA = "kernel-metadata.json"
# The names of machine shapes are those of the documentation of Kaggle's client.
ACCELERATORS: Mapping[str, Mapping[str, bool | str]] = {
    "none": {"enable_gpu": False, "enable_tpu": False},
    "gpu": {"enable_gpu": True, "enable_tpu": False},
    "t4x2": {"enable_gpu": True, "enable_tpu": False, "machine_shape": "NvidiaTeslaT4"},
    "tpu": {"enable_gpu": False, "enable_tpu": True, "machine_shape": "TpuV5E8"},
}
KERAS_BACKENDS = {"tpu": "jax"}  # where it is not the image's own choice
SLUG_LENGTHS = range(5, 51)  # of a title, which the slug is made from
SOURCE = re.compile(r"[\w-]+/[\w-]+(/\d+)?")  # owner, name and perhaps a version
LARGEST_CODE = 1_000_000  # bytes; no document states a limit, it is said to be about 1 MB
SPARE_SECONDS = 900  # a run ends by itself so long before Kaggle would end its session
# What Kaggle documents of a session, and at what length it has been seen to end one with a GPU.
SESSION_HOURS, TPU_SESSION_HOURS, SEEN_HOURS = 12, 9, 9
SHORTEST_SECONDS = 60  # a backend alone takes half of that to start
OWNER = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class KernelOptions:
    """The options of `kaggle-digits kernel build`.

    Attributes:
        config: the config of the kernel's run.
        config_name: what it is called.
        command: the command, for the code file's head.
        slug: the kernel's name on Kaggle; None: after the config.
        owner: whose kernel it is; None: whoever uploads it.
        notebook: make a notebook, not a script.
        accelerator: a key of `ACCELERATORS`.
        time_limit: of the run.
        flags: see `KernelCode`.
        kernel_sources: kernels whose output is an input, as owner/slug.
        dataset_sources: datasets that are an input, as owner/slug.
        internet: whether the kernel may use the network.
        public: whether everybody may see it.
    """

    config: Config
    config_name: str
    command: str
    slug: str | None = None
    owner: str | None = None
    notebook: bool = False
    accelerator: str = "gpu"
    time_limit: str = "8h30m"
    flags: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    dataset_sources: tuple[str, ...] = ()
    internet: bool = False
    public: bool = False


class KernelFolder(LockedFolder):
    """A built kernel.

    Args:
        folder: is created by `write`.
    """

    kind, format = "kernel", FORMAT
    earlier_keys = frozenset()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, record=folder / METADATA)
        self.metadata, self._marker = self.record, folder / MARKER

    def read_metadata(self) -> dict:
        """Read `kernel-metadata.json`, which people may have changed.

        Raises:
            UserError: it is missing or damaged.
        """
        metadata = files.read_json(self.metadata)
        if {"id", "code_file"} <= metadata.keys():
            return metadata
        found = "other content" if self.metadata.is_file() else "none"
        raise UserError(
            f"{self.folder}: expected a kernel's folder with a {METADATA}, found {found}; make "
            "one with kaggle-digits kernel build"
        )

    @property
    def awaited(self) -> str | None:
        """The kernel whose output `kernel run` has not brought home yet; None: there is none."""
        kernel = files.read_json(self._marker).get("awaited")
        return kernel if isinstance(kernel, str) else None

    def note_awaited(self, kernel: str | None) -> None:
        """Note that this code was pushed as a kernel, so that a repeated command awaits its end.

        Args:
            kernel: its owner and name; None: its end has come.
        """
        marks = files.read_json(self._marker)
        marks.pop("awaited", None)
        files.write_json(self._marker, marks | ({"awaited": kernel} if kernel else {}))

    def session_seconds(self) -> int | None:
        """Return the seconds after which Kaggle should end a session; None: not known."""
        seconds = files.read_json(self._marker).get("session_seconds")
        return seconds if isinstance(seconds, int) else None

    def description(self) -> list[str]:
        """Say for people what is in it, a few lines."""
        metadata = self.read_metadata()
        code = self.folder / metadata["code_file"]
        size = f"{code.stat().st_size / 1000:.0f} KB, at most about 1 MB"
        access = "private" if metadata["is_private"] else "public"
        network = "internet on" if metadata["enable_internet"] else "internet off"
        lines = [
            f"{self.folder}: {METADATA} and {code.name} ({size})",
            f"{metadata['id']}: a {metadata['kernel_type']}, {access}, {network}, accelerator "
            f"{_accelerator(metadata)}",
        ]
        if sources := [*metadata["kernel_sources"], *metadata["dataset_sources"]]:
            lines.append(f"continues the run in {' or '.join(sources)}")
        if "/" not in metadata["id"]:
            lines.append("whose kernel it is will be filled in by push; to choose it, give --owner")
        if (self.session_seconds() or 0) > SEEN_HOURS * 3600 + SPARE_SECONDS:
            lines.append(
                f"WARNING: --time-limit: Kaggle has been seen to end a session after "
                f"{SEEN_HOURS} h; what is unfinished then can be continued with --resume-from"
            )
        return lines

    def write(self, contents: Mapping[str, bytes], session_seconds: int, overwrite: bool) -> None:
        """Write the kernel's files; those of an earlier build go away.

        Args:
            contents: by name.
            session_seconds: see `session_seconds`.
            overwrite: also what was changed by hand.

        Raises:
            UserError: the folder holds something else, or a file was changed since it was built.
        """
        self.check_usable()
        built = files.read_json(self._marker).get("checksums")
        built = built if isinstance(built, dict) else {}
        earlier = {name: self.folder / name for name in built if (self.folder / name).is_file()}
        for name, path in earlier.items():
            is_new = contents.get(name) == path.read_bytes()
            if not (overwrite or is_new or files.checksum(path) == built[name]):
                raise UserError(
                    f"{path}: was changed after it was built; give another --out, or --overwrite"
                )
        if not self._marker.exists():  # a kill from here on leaves a kernel's folder
            files.write_json(self._marker, self.stamp)
        for name, content in contents.items():
            files.write_bytes(self.folder / name, content)
        checksums = {name: files.checksum(self.folder / name) for name in contents}
        marks = self.stamp | {"session_seconds": session_seconds}
        if checksums == built and self.awaited:
            marks["awaited"] = self.awaited
        files.write_json(self._marker, marks | {"checksums": checksums})
        for name in earlier.keys() - contents.keys():
            earlier[name].unlink()


def build(options: KernelOptions, out: Path | None = None, overwrite: bool = False) -> KernelFolder:
    """Make the folder of a kernel; equal options give equal bytes.

    Args:
        options: what was asked for.
        out: the folder; None: after the kernel's name, under submissions/kernels.
        overwrite: also what was changed by hand.

    Raises:
        UserError: an option does not fit, or the folder holds something else.
    """
    slug, name = _slug(options), _slugified(options.config_name) or "config"
    if options.accelerator not in ACCELERATORS:
        known = ", ".join(ACCELERATORS)
        raise UserError(f"--accelerator: expected one of {known}, found {options.accelerator!r}")
    if options.owner and not OWNER.fullmatch(options.owner):
        raise UserError(
            f"--owner (or KAGGLE_USERNAME) {options.owner}: expected a user's name as in the "
            "address of a profile on Kaggle: letters, digits, hyphens; correct it"
        )
    if options.config.callbacks:
        raise UserError(
            f"callbacks: {', '.join(options.config.callbacks)} would not be found on Kaggle, where "
            "only this package is; build the kernel with --set callbacks=[]"
        )
    for option in ("kernel_sources", "dataset_sources"):
        for source in getattr(options, option):
            if not SOURCE.fullmatch(source):
                raise UserError(
                    f"{source!r}: expected the owner and the name of a kernel or a dataset, as in "
                    "its address on Kaggle: owner/name"
                )
    code = KernelCode(
        title=slug.replace("-", " "),
        command=options.command,
        config=_to_carry(options.config),
        config_name=name,
        time_limit=options.time_limit,
        flags=options.flags,
        keras_backend=KERAS_BACKENDS.get(options.accelerator, ""),
    )
    seconds = _session_seconds(options)
    text = (code.notebook() if options.notebook else code.script()).encode()
    if len(text) > LARGEST_CODE:
        raise UserError(
            f"the code file has {len(text):,} bytes, expected at most about 1 MB; give a smaller "
            "--config"
        )
    code_name = f"{slug}.ipynb" if options.notebook else f"{slug}.py"
    metadata = {
        "id": f"{options.owner}/{slug}" if options.owner else slug,
        "title": code.title,
        "code_file": code_name,
        "language": "python",
        "kernel_type": "notebook" if options.notebook else "script",
        "is_private": not options.public,
        "enable_internet": options.internet,
        **ACCELERATORS[options.accelerator],
        "competition_sources": [SLUG],
        "kernel_sources": list(options.kernel_sources),
        "dataset_sources": list(options.dataset_sources),
        "model_sources": [],
    }
    folder = KernelFolder(out or KERNELS / slug)
    contents = {METADATA: (json.dumps(metadata, indent=2) + "\n").encode(), code_name: text}
    folder.write(contents, seconds, overwrite)
    return folder


def _session_seconds(options: KernelOptions) -> int:
    seconds = parse_duration(options.time_limit)
    hours = TPU_SESSION_HOURS if options.accelerator == "tpu" else SESSION_HOURS
    if not SHORTEST_SECONDS <= seconds <= hours * 3600:
        raise UserError(
            f"--time-limit: expected 1m to {hours}h, the longest session that Kaggle has for "
            f"accelerator {options.accelerator}, found {options.time_limit!r}"
        )
    return min(int(seconds) + SPARE_SECONDS, hours * 3600)


def _accelerator(metadata: Mapping) -> str:
    for name, settings in ACCELERATORS.items():
        keys = ("enable_gpu", "enable_tpu", "machine_shape")
        if all(metadata.get(key) == settings.get(key) for key in keys):
            return name
    return str(metadata.get("machine_shape"))


def _slug(options: KernelOptions) -> str:
    """Return the kernel's name on Kaggle; its title is the same with spaces."""
    slug = options.slug or f"kaggle-digits-{_slugified(options.config_name)}".strip("-")
    if slug != _slugified(slug) or len(slug) not in SLUG_LENGTHS:
        raise UserError(
            f"--name {slug}: expected {SLUG_LENGTHS[0]} to {SLUG_LENGTHS[-1]} lower-case letters, "
            "digits and single hyphens; give another name"
        )
    return slug


def _slugified(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _to_carry(config: Config) -> Config:
    """Return a config without what is only of use on this machine."""
    return loading.changed(loading.without_tuning(config), {"data.path": None})
