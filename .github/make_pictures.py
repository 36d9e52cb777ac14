"""Makes the pictures of the READMEs: the screen after `run` and `submit`, two pages.

In the root of the repository:

    .venv/bin/python .github/make_pictures.py
    .venv/bin/python .github/make_pictures.py --submit submissions/quick-1
    .venv/bin/python .github/make_pictures.py --search submissions/tune-detuned-1
    .venv/bin/python .github/make_pictures.py --report submissions/standard-1

The first line makes run.svg: it trains, in a temporary folder and with an empty cache, on the files
that `kaggle-digits run` would find, or on those of `--data`. The second one makes submit.svg: it
submits a run to the tests' stand-in for Kaggle, which makes its score up. Both need tmux. The
others make search.png and report.png, the top of a page, and need Chromium. A picture that would
show an absolute path is refused.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kaggle_digits import load_run
from kaggle_digits.data import sources
from kaggle_digits.errors import UserError

HERE = Path(__file__).resolve().parent
COLUMNS, ROWS = 100, 45  # of the terminal
TMUX_SETTINGS = "set -g status off\nset -g default-terminal screen-256color\n"
PAGE = (1280, 900)  # pixels of the browser's window
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ABSOLUTE_PATH = re.compile(r"""(?:^|(?<=[\s"'(>:]))(?:/[\w.-]+){2,}|\b[A-Z]:\\""", re.MULTILINE)
OF_THE_USER = ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE", "TMUX", "NO_COLOR", "FORCE_COLOR")


def refuse_paths(text: str, what: str) -> None:
    """End in one line if a text that is to be shown names an absolute path."""
    if found := ABSOLUTE_PATH.search(text):
        sys.exit(f"{what} shows the path {found[0]}; make it with relative paths")


def link_data(given: str | None, folder: Path) -> None:
    """Link the competition's files into a folder; nothing is linked where the kit finds none."""
    try:
        source = sources.find_source(given)
    except UserError as error:
        sys.exit(str(error))
    if source.demo:
        return
    folder.mkdir()
    if source.train == source.test:
        (folder / sources.COMPETITION_ZIP).symlink_to(source.train.resolve())
        return
    for part in (source.train, source.test):
        (folder / part.name).symlink_to(part.resolve())


def final_screen(command: str, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a command in a terminal of its own and return the screen as it is at the end, in ANSI."""
    kept = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    own = {"PATH": path, "KAGGLE_DIGITS_CACHE": str(folder.parent / "cache")}
    (folder.parent / "tmux.conf").write_text(TMUX_SETTINGS)
    server = ["-S", str(folder.parent / "tmux"), "-f", str(folder.parent / "tmux.conf")]
    tmux = ["tmux", "-u", *server]
    status = folder.parent / "status"
    # The last command keeps the screen until it is read.
    script = (
        f"echo {shlex.quote('$ ' + command)}; {command}; echo $? > {shlex.quote(str(status))}; "
        f"{shlex.join(tmux)} wait-for -S ended; sleep 60"
    )
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    start = [*tmux, "new-session", "-d", *size, "-c", str(folder), script]
    subprocess.run(start, env=kept | own | variables, check=True)
    try:
        subprocess.run([*tmux, "wait-for", "ended"], check=True)
        shown = [*tmux, "capture-pane", "-e", "-p"]
        screen = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    if status.read_text().strip() != "0":
        sys.exit(f"{command} failed:\n{screen}")
    return screen.rstrip()


def picture_of_screen(
    command: str, folder: Path, name: str, variables: Mapping[str, str] | None = None
) -> None:
    """Write a picture of the screen after a command."""
    if shutil.which("tmux") is None:
        sys.exit(f"the picture of {command} needs a terminal: install tmux")
    screen = Text.from_ansi(final_screen(command, folder, variables or {}))
    refuse_paths(screen.plain, command)
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(screen, no_wrap=True, crop=False)
    console.save_svg(str(HERE / name), title=command)


def picture_of_run(data: str | None, options: list[str]) -> None:
    """Write run.svg."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "kaggle-digits")
        folder.mkdir()
        link_data(data, folder / "data")
        picture_of_screen(shlex.join(["kaggle-digits", "run", *options]), folder, "run.svg")


def picture_of_submit(run: Path) -> None:
    """Write submit.svg; the stand-in's score is the middle of what the run expects."""
    sys.path.insert(0, str(HERE.parent / "tests" / "kaggle"))
    from stand_in import StandIn, serving

    made = load_run(run)
    labels = made.submission["Label"].to_numpy(copy=True)
    wrong = round((1 - sum(made.metrics.expected_leaderboard) / 2) * len(labels))
    labels[:wrong] = (labels[:wrong] + 1) % 10
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary, "home")
        folder = Path(temporary, "kaggle-digits")
        shutil.copytree(run, folder / "submissions" / run.name)
        with serving(StandIn(labels=labels.tolist())) as stand_in:
            command = f"kaggle-digits submit submissions/{run.name}"
            picture_of_screen(command, folder, "submit.svg", stand_in.variables(home))


def picture_of_page(folder: Path, name: str) -> None:
    """Write the top of the page in a run's or a search's folder as `name`."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"{name} needs a browser: install one of {', '.join(BROWSERS)}")
    page = folder.resolve() / "report.html"
    if not page.is_file():
        sys.exit(f"{folder}: expected the folder of a run or a search, found no report.html in it")
    refuse_paths(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")), str(page))
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += ["--disable-background-networking", f"--user-data-dir={profile}"]
        if os.geteuid() == 0:  # Chromium's sandbox does not work for root
            options.append("--no-sandbox")
        options += [f"--window-size={PAGE[0]},{PAGE[1]}", f"--screenshot={HERE / name}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="folder or zip with train.csv and test.csv")
    parser.add_argument("--submit", type=Path, help="folder of a run: makes submit.svg instead")
    parser.add_argument("--search", type=Path, help="folder of a search: makes search.png instead")
    parser.add_argument("--report", type=Path, help="folder of a run: makes report.png instead")
    arguments, of_run = parser.parse_known_args()  # the rest is for `kaggle-digits run`
    if arguments.search:
        picture_of_page(arguments.search, "search.png")
    elif arguments.report:
        picture_of_page(arguments.report, "report.png")
    elif arguments.submit:
        picture_of_submit(arguments.submit)
    else:
        picture_of_run(arguments.data, of_run)
