"""What a kernel has left on Kaggle -> a run folder at home, checked, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.client import Client
from kaggle_digits.kaggle.in_kernel import RUN
from kaggle_digits.kaggle.kernel_folder import KernelFolder
from kaggle_digits.kaggle.kernels import OWN_KERNEL, state
from kaggle_digits.storage import files
from kaggle_digits.storage.run_copies import (
    check_place,
    copy_others,
    damaged_files,
    find_runs,
    holds_all_of,
)
from kaggle_digits.storage.run_folder import SUBMISSIONS, RunFolder

PAGE_SIZE = 100  # files of one answer
SHOWN_FILES = 3  # in an error message


class NoRunError(UserError):
    """A kernel has left no run."""


def check_home(folder: KernelFolder) -> None:
    """Refuse, before hours pass, a kernel whose run could not be fetched to its usual place.

    Raises:
        UserError: there are fits that a new run does not have, or other things.
    """
    metadata = folder.read_metadata()
    home = _home(str(metadata["id"]))
    home.check_usable()
    continues = metadata.get("kernel_sources") or metadata.get("dataset_sources")
    if not continues and any(home.fits.glob("*")):
        raise UserError(
            f"{home.folder}: holds a run already, in whose place the kernel's new run could not be "
            "fetched; build with another --name, move that folder away, or continue its run with "
            "--resume-from"
        )


def fetch(
    client: Client,
    kernel: str,
    say: Callable[[str], object],
    out: Path | None = None,
    overwrite: bool = False,
) -> RunFolder:
    """Bring the run in a kernel's output home, checked and whole or not at all.

    A run folder that is there is replaced only if all that it has trained is also in the fetched
    one; what no run has made, such as what was submitted of it, stays.

    Args:
        client: to ask with.
        kernel: owner and name.
        say: is called with lines for people.
        out: the run's folder at home; None: after the kernel's name, under submissions.
        overwrite: replace whatever run is there.

    Raises:
        NoRunError: the kernel's output holds no run.
        UserError: the kernel is under way, the run in its output is damaged, or what is at home
            would be lost.
    """
    now = state(client, kernel)
    if now.is_under_way:
        raise UserError(
            f"{kernel}: is {now}, there is no output yet; follow it with kaggle-digits kernel "
            f"status {kernel} --wait"
        )
    if now.has_failed:
        say(f"WARNING: {kernel}: {now}; what it has left is fetched all the same")
    target = RunFolder(out) if out else _home(kernel)
    check_place(target.folder)
    target.check_usable()
    beside = files.temporary_path(target.folder)
    with files.writing(target.folder):
        beside.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(target.folder)
    try:
        _download(client, kernel, beside, say)
        _take(kernel, _sound_run(kernel, beside), target, overwrite, say)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _home(kernel: str) -> RunFolder:
    return RunFolder(SUBMISSIONS / kernel.rpartition("/")[2])


def _download(client: Client, kernel: str, place: Path, say: Callable[[str], object]) -> None:
    """Download the run in a kernel's output into a new folder."""
    urls = {name: url for name, url in _outputs(client, kernel) if name.startswith(f"{RUN}/")}
    say(f"{kernel}: fetching {len(urls):,} files")
    for name, url in urls.items():
        parts = PurePosixPath(name).parts
        if ".." in parts or "\\" in name:
            raise UserError(
                f"{kernel}: its output holds {name!r}, a path that leaves the folder; nothing was "
                "fetched"
            )
        path = place.joinpath(*parts)
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download(url, path)


def _outputs(client: Client, kernel: str) -> Iterator[tuple[str, str]]:
    """Yield (path, link) of each file in a kernel's output, from all pages of the list."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = ApiListKernelSessionOutputRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    request.page_size = PAGE_SIZE
    while True:
        with (
            client.asking("list the kernel's output", if_forbidden=OWN_KERNEL),
            client.api.build_kaggle_client() as kaggle,
        ):
            answer = kaggle.kernels.kernels_api_client.list_kernel_session_output(request)
        yield from ((file.file_name, file.url) for file in answer.files or ())
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _sound_run(kernel: str, place: Path) -> RunFolder:
    # Notebooks may leave other folders in it, with other runs.
    run = next((run for run in find_runs(place) if run.folder == place / RUN), None)
    if run is None:
        raise NoRunError(
            f"{kernel}: its output holds no run; kaggle-digits kernel status {kernel} shows the "
            "end of its log"
        )
    # The kernel may have ended while it wrote the summary, which is made again from the fits.
    torn = run.torn()
    if damaged := [name for name in damaged_files(run) if name not in torn]:
        more = f" and {len(damaged) - SHOWN_FILES} more" if damaged[SHOWN_FILES:] else ""
        raise UserError(
            f"{kernel}: {', '.join(damaged[:SHOWN_FILES])}{more} in its output did not arrive as "
            "they were written; nothing was changed here; repeat the command"
        )
    return run


def _clear_up(folder: Path) -> None:
    """Clear up after a fetch into a folder that was killed."""
    for earlier in files.abandoned(_earlier(folder)):
        if not folder.exists():
            files.move(earlier, folder)
    for remains in (folder, _earlier(folder)):
        for path in files.abandoned(remains):
            shutil.rmtree(path)


def _earlier(folder: Path) -> Path:
    return folder.with_name(f"earlier-{folder.name}")


def _take(
    kernel: str,
    run: RunFolder,
    target: RunFolder,
    overwrite: bool,
    say: Callable[[str], object],
) -> None:
    """Give a fetched run its place at home."""
    if not target.folder.exists():
        files.move(run.folder, target.folder)
        return
    if process := target.owner():
        raise UserError(f"{target.folder}: process {process} is at work in it; wait for it")
    if not (overwrite or holds_all_of(run, target)):
        raise UserError(
            f"{target.folder}: holds a run with fits that the fetched one does not have; fetch it "
            f"into another folder with kaggle-digits kernel fetch {kernel} --out FOLDER, or give "
            "that --overwrite, which loses those fits"
        )
    copy_others(target, run)
    earlier = files.temporary_path(_earlier(target.folder))
    files.move(target.folder, earlier)  # a kill from here on is repaired by `_clear_up`
    files.move(run.folder, target.folder)
    shutil.rmtree(earlier)
    say(f"{target.folder}: the earlier run there is replaced")
