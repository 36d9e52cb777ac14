"""Kernels through the real client: what is pushed and followed, and the commands."""

import json
import shutil
import signal
import time

import lives
import pytest
from pretended_kaggle import KERNEL, MOUNTS, Session, content_of, put_out
from stand_in import USERNAME, Plan

from kaggle_digits.config import loading
from kaggle_digits.data import submission_csv
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import kernel_folder, kernels
from kaggle_digits.kaggle.client import LostAnswerError
from kaggle_digits.kaggle.kernel_folder import KernelOptions
from kaggle_digits.kaggle.kernels import KernelState
from kaggle_digits.storage.run_folder import RunFolder

CONFIG = loading.load("quick", lives.SETTINGS)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(kernels, "POLL_SECONDS", 0.01)


@pytest.fixture
def built(tmp_path):
    """Build a kernel that has no owner yet."""
    return kernel_folder.build(KernelOptions(CONFIG, "quick", "the command"), tmp_path / "kernel")


def change(built, **settings):
    metadata = json.loads(built.metadata.read_text()) | settings
    built.metadata.write_text(json.dumps(metadata))


# push


def test_push_fills_in_whose_kernel_it_is(client, stand_in, built):
    before = built.metadata.read_bytes()
    pushed = kernels.push(client, built)
    assert (pushed.kernel, pushed.version) == (KERNEL, 1)
    assert pushed.url == f"https://www.kaggle.com/code/{KERNEL}"
    sent = stand_in.kernels[KERNEL]
    assert sent["text"] == (built.folder / "kaggle-digits-quick.py").read_text()
    assert sent["competitionDataSources"] == ["digit-recognizer"]
    assert (sent["isPrivate"], sent["enableInternet"], sent["enableGpu"]) == (True, False, True)
    assert sent["sessionTimeoutSeconds"] == int(8.5 * 3600) + 900
    assert built.metadata.read_bytes() == before
    assert kernels.push(client, built).version == 2


def test_push_takes_what_people_have_changed(client, stand_in, built):
    change(built, id=f"{USERNAME}/another-name", title="another name", enable_gpu=False)
    assert kernels.push(client, built).kernel == f"{USERNAME}/another-name"
    assert stand_in.kernels[f"{USERNAME}/another-name"]["enableGpu"] is False


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "CANCEL_REQUESTED"])
def test_push_does_not_double_what_is_under_way(client, stand_in, built, state):
    kernels.push(client, built)
    stand_in.kernel_states[KERNEL] = [state]
    with pytest.raises(UserError, match=f"{KERNEL}: an earlier version is still under way; follow"):
        kernels.push(client, built)
    assert stand_in.kernels[KERNEL]["version"] == 1


def test_push_names_an_input_that_kaggle_does_not_know(client, built):
    change(built, competition_sources=["digit-recogniser"])
    with pytest.raises(UserError, match="version 1 begins without digit-recogniser, which Kaggle"):
        kernels.push(client, built)


def test_push_is_refused_in_kaggles_words(client, built):
    change(built, id="somebody/elses-digits")
    with pytest.raises(
        UserError, match=r"HTTP 400 \(The kernel id somebody/elses-digits is not valid\)"
    ):
        kernels.push(client, built)
    (built.folder / "kaggle-digits-quick.py").unlink()
    with pytest.raises(UserError, match=r"kaggle-digits-quick.py: is missing; build"):
        kernels.push(client, built)


def test_after_a_lost_answer_push_looks_first(client, stand_in, built):
    stand_in.plan("SaveKernel", Plan(drop=True, after=True))
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    with pytest.raises(LostAnswerError, match="repeat the command, it looks first"):
        kernels.push(client, built)
    with pytest.raises(UserError, match="still under way"):
        kernels.push(client, built)
    assert stand_in.kernels[KERNEL]["version"] == 1


@pytest.mark.parametrize("status", [401, 429, 500])
def test_push_does_not_take_an_error_for_a_new_kernel(client, stand_in, built, status):
    kernels.push(client, built)
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    stand_in.plan("GetKernelSessionStatus", Plan(status=status, times=9))
    with pytest.raises(UserError, match="Kaggle refuses"):
        kernels.push(client, built)
    assert stand_in.kernels[KERNEL]["version"] == 1


@pytest.mark.parametrize("status", [403, 404])
def test_what_kaggle_does_not_know_is_new(client, stand_in, built, status):
    stand_in.plan("GetKernelSessionStatus", Plan(status=status))
    assert kernels.push(client, built).version == 1


@pytest.mark.parametrize("kernel", ["a/b/c", "what is this", "../nothing"])
def test_what_names_no_kernel(client, kernel):
    with pytest.raises(UserError, match="expected a kernel's folder or OWNER/NAME"):
        kernels.name_of(client, kernel)


def test_a_name_alone_is_ones_own(client):
    assert kernels.name_of(client, "digits") == f"{USERNAME}/digits"


# status


@pytest.fixture(params=["stream", "no stream"])
def log_client(request, client, monkeypatch):
    """Return a client; that of version 2.0 reads a kernel's log only whole."""
    if request.param == "no stream" and hasattr(client.api, "kernels_logs_stream"):
        for each in type(client.api).__mro__:
            if "kernels_logs_stream" in vars(each):
                monkeypatch.delattr(each, "kernels_logs_stream")
    return client


def test_follow_says_each_state_and_each_line_once(log_client, stand_in, built):
    kernels.push(log_client, built)
    stand_in.kernel_states[KERNEL] = ["QUEUED", "RUNNING", "RUNNING", "RUNNING", "COMPLETE"]
    stand_in.kernel_logs[KERNEL] = "reading\nepoch 1\x1b[31m/2\x1b[0m\nepoch 2/2\n"
    said = []
    assert kernels.follow(log_client, KERNEL, said.append) == KernelState("complete", "")
    assert said == [
        f"{KERNEL}: queued",
        "reading",
        "epoch 1/2",
        "epoch 2/2",
        f"{KERNEL}: running",
        f"{KERNEL}: complete",
    ]


def test_a_log_that_cannot_be_read_does_not_matter(log_client, stand_in, built):
    kernels.push(log_client, built)
    stand_in.kernel_states[KERNEL] = ["RUNNING", "COMPLETE"]
    for call in ("Logs", "ListKernelSessionOutput"):
        stand_in.plan(call, Plan(status=404, times=9))
    said = []
    kernels.follow(log_client, KERNEL, said.append)
    assert said == [f"{KERNEL}: running", f"{KERNEL}: complete"]


@pytest.mark.parametrize(
    "plan", [{"drop": True}, {"status": 200, "cut": 5}, {"status": 429}, {"status": 503}]
)
def test_a_network_that_is_away_for_a_while_is_waited_for(client, stand_in, built, plan):
    kernels.push(client, built)
    stand_in.kernel_states[KERNEL] = ["RUNNING", "COMPLETE"]
    stand_in.plan("GetKernelSessionStatus", Plan(**plan, times=12))  # the client itself repeats
    said = []
    assert kernels.follow(client, KERNEL, said.append) == KernelState("complete", "")
    assert [line.partition(";")[0] for line in said] == [
        f"{KERNEL}: Kaggle does not answer",
        f"{KERNEL}: running",
        f"{KERNEL}: complete",
    ]


def test_in_the_end_following_is_given_up(client, stand_in, built, monkeypatch):
    kernels.push(client, built)
    monkeypatch.setattr(kernels, "GIVE_UP_MINUTES", 0)
    stand_in.plan("GetKernelSessionStatus", Plan(status=503, times=99))
    said = []
    with pytest.raises(UserError, match="HTTP 503"):
        kernels.follow(client, KERNEL, said.append)
    assert len(said) == 1


def test_what_does_not_pass_is_not_waited_for(client):
    with pytest.raises(UserError, match="HTTP 404"):
        kernels.follow(client, "ada/nothing", pytest.fail)


def test_the_tail_of_the_log(log_client, stand_in, built):
    kernels.push(log_client, built)
    stand_in.kernel_logs[KERNEL] = "".join(f"line {number}\n" for number in range(30))
    assert kernels.log_tail(log_client, KERNEL, 2) == ["line 28", "line 29"]


# The commands


def test_status_of_a_failed_kernel(command, stand_in):
    stand_in.outputs[KERNEL] = {}
    stand_in.kernel_states[KERNEL] = ["ERROR"]
    stand_in.failure_messages[KERNEL] = "It crashed"
    stand_in.kernel_logs[KERNEL] = "ValueError: no\n"
    for words in ([], ["--wait"]):
        status, output, error = command("kernel", "status", KERNEL, *words)
        assert (status, error) == (1, "")
        assert output.splitlines() == [
            f"{KERNEL}: error: It crashed",
            "ValueError: no",
            "",
            f"kaggle-digits kernel fetch {KERNEL}   brings what it has left home",
        ]


def test_status_of_an_unknown_kernel_is_one_line(command):
    status, output, error = command("kernel", "status", "ada/nothing")
    assert (status, output) == (2, "")
    [line] = error.splitlines()
    assert "Kernel ada/nothing was not found" in line


def test_without_credentials_nothing_is_pushed(command, tmp_path):
    assert command("kernel", "build", "--out", "k")[0] == 0
    status, _, error = command("kernel", "push", "k", KAGGLE_API_TOKEN="")
    assert status == 2
    [line] = error.splitlines()
    assert line.startswith("kaggle-digits: no credentials for Kaggle were found")


def pushed_by_run(begin, stand_in):
    """Begin `kernel run`; return its process once the kernel has been asked for on Kaggle."""
    process = begin("kernel", "run")
    deadline = time.monotonic() + lives.PATIENCE
    while "Logs" not in stand_in.calls and "ListKernelSessionOutput" not in stand_in.calls:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(lives.POLL_SECONDS)
    return process


def test_run_stopped_while_it_follows_says_how_to_go_on(begin, stand_in):
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    process = pushed_by_run(begin, stand_in)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=lives.PATIENCE)
    assert (process.returncode, error) == (
        130,
        "kaggle-digits: stopped by Ctrl-C; the kernel goes on; repeat the command to wait for its "
        f"end, or fetch it later with kaggle-digits kernel fetch {KERNEL}\n",
    )


def test_run_killed_while_it_follows_and_repeated(begin, command, stand_in, undisturbed, tmp_path):
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    process = pushed_by_run(begin, stand_in)
    process.kill()
    process.communicate()
    stand_in.kernel_states[KERNEL] = ["COMPLETE"]
    expected = put_out(stand_in, undisturbed.run)
    status, output, error = command("kernel", "run")
    assert (status, error) == (0, "")
    assert f"{KERNEL}: is on Kaggle already, with the same code; waiting for its end" in output
    assert content_of(tmp_path / "submissions" / "kaggle-digits-quick") == expected
    assert stand_in.kernels[KERNEL]["version"] == 1
    # What was brought home is not waited for again, nor is a kernel of other code.
    shutil.rmtree(tmp_path / "submissions" / "kaggle-digits-quick")
    assert command("kernel", "run")[0] == 0
    assert stand_in.kernels[KERNEL]["version"] == 2


def test_run_fetches_what_a_failed_kernel_has_left(command, stand_in, undisturbed, tmp_path):
    expected = put_out(stand_in, undisturbed.home / "cut-off")
    stand_in.kernel_states[KERNEL] = ["COMPLETE", "ERROR"]
    status, output, error = command("kernel", "run")
    assert (status, error) == (1, "")
    assert content_of(tmp_path / "submissions" / "kaggle-digits-quick") == expected
    assert "what it has left is fetched all the same" in output


def test_run_of_a_kernel_that_has_left_nothing(command, stand_in):
    stand_in.outputs[KERNEL] = {}
    stand_in.kernel_states[KERNEL] = ["COMPLETE", "ERROR"]
    status, output, error = command("kernel", "run")
    assert (status, error) == (1, "")
    assert f"WARNING: {KERNEL}: its output holds no run; " in output


def test_run_does_not_forget_a_failed_kernel_that_could_not_be_fetched(
    command, stand_in, undisturbed, tmp_path
):
    expected = put_out(stand_in, undisturbed.home / "cut-off")
    stand_in.kernel_states[KERNEL] = ["COMPLETE", "ERROR"]
    stand_in.plan("GET", Plan(status=404))
    status, _, error = command("kernel", "run")
    assert (status, error.count("\n")) == (2, 1)
    status, output, error = command("kernel", "run")
    assert (status, error) == (1, "")
    assert "is on Kaggle already, with the same code" in output
    assert stand_in.kernels[KERNEL]["version"] == 1
    assert content_of(tmp_path / "submissions" / "kaggle-digits-quick") == expected


def test_run_of_a_torn_summary_says_how_to_make_it_again(command, stand_in, undisturbed):
    put_out(stand_in, undisturbed.run)
    stand_in.outputs[KERNEL]["run/metrics.json"] += b"\n"
    status, output, error = command("kernel", "run")
    assert (status, error) == (0, "")
    place = "submissions/kaggle-digits-quick"
    output = " ".join(output.split())
    assert "WARNING: the kernel seems to have ended while it wrote metrics.json; all" in output
    assert f"kaggle-digits run --config {place}/config.yaml --out {place}" in output


def test_run_whose_place_at_home_is_taken_pushes_nothing(command, stand_in, undisturbed, tmp_path):
    place = tmp_path / "submissions" / "kaggle-digits-quick"
    shutil.copytree(undisturbed.run, place)
    status, _, error = command("kernel", "run", "--set", "seed=7")
    [line] = error.splitlines()
    assert status == 2
    assert "submissions/kaggle-digits-quick: holds a run already" in line
    assert "--name" in line
    assert (stand_in.kernels, stand_in.calls) == ({}, [])
    # What continues it may take its place.
    put_out(stand_in, undisturbed.run)
    status, _, error = command("kernel", "run", "--resume-dataset", "ada/run")
    assert (status, error) == (0, "")
    place.rename(tmp_path / "away")
    place.mkdir()
    (place / "thesis.tex").touch()
    status, _, error = command("kernel", "run")
    assert status == 2
    assert "expected a new or empty folder" in error
    assert stand_in.kernels[KERNEL]["version"] == 1


def test_run_takes_a_kernel_from_its_build_to_a_run_at_home(begin, stand_in, tmp_path):
    """The pretended Kaggle runs what has arrived there; its output comes home."""
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    words = [word for setting in lives.SETTINGS for word in ("--set", setting)]
    process = begin("kernel", "run", *words, "--time-limit", "1h")
    deadline = time.monotonic() + lives.PATIENCE
    while KERNEL not in stand_in.kernels:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(lives.POLL_SECONDS)
    (tmp_path / "arrived.py").write_text(stand_in.kernels[KERNEL]["text"])
    session = Session(tmp_path / "session", MOUNTS[0])
    session.finish(tmp_path / "arrived.py")
    put_out(stand_in, session.run)
    stand_in.kernel_logs[KERNEL] = session.said
    stand_in.kernel_states[KERNEL] = ["COMPLETE"]
    output, error = process.communicate(timeout=lives.PATIENCE)
    assert (process.returncode, error) == (0, "")
    run = RunFolder(tmp_path / "submissions" / "kaggle-digits-quick")
    assert len(submission_csv.check_file(run.submission, 30)) == 30
    assert run.submission.read_bytes() == session.result()[0]
    for line in (
        f"{KERNEL}: version 1 is on Kaggle: https://www.kaggle.com/code/{KERNEL}",
        f"{KERNEL}: complete",
        "kaggle-digits submit submissions/kaggle-digits-quick   submits it",
    ):
        assert line in output.splitlines()
    assert "cnn fold 2 finished: " in output
    # `build` makes the same files.
    before = content_of(tmp_path / "submissions" / "kernels")
    begin("kernel", "build", *words, "--time-limit", "1h").communicate()
    assert content_of(tmp_path / "submissions" / "kernels") == before
