import sys
from types import ModuleType

import pytest
from found import START, failed, search, trial

from kaggle_digits.report import tensorboard
from kaggle_digits.results.search_records import TrialResult

MIXED = search(
    trial(0, settings={"lr": 0.001, "flag": True, "kernel": 3}),
    trial(1, 25, 4.0, settings={"lr": 0.01, "flag": False, "kernel": [3, 5], "momentum": 0.9}),
    failed(2),
    TrialResult("3", "candidate3", {"lr": 0.1}, folds=1),
    keys=("lr", "flag", "kernel", "momentum"),
)


@pytest.fixture
def shown(monkeypatch):
    """Read a log with TensorBoard's own code; return (experiment, session groups by name)."""
    # TensorBoard then reads with its own stand-in for TensorFlow.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    def show(folder):
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
        request = RequestContext()
        experiment = context.experiment_from_metadata(
            request,
            "",
            True,
            context.hparams_metadata(request, ""),
            context.hparams_from_data_provider(request, "", None),
        )
        wanted = api_pb2.ListSessionGroupsRequest(
            slice_size=100,
            allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
            col_params=[{"metric": info.name} for info in experiment.metric_infos],
            include_metrics=True,
        )
        handler = list_session_groups.Handler(request, context, "", wanted)
        return experiment, {group.name: group for group in handler.run().session_groups}

    return show


def metrics(group):
    return {each.name.tag: each.value for each in group.metric_values}


def test_tensorboard_shows_the_search(tmp_path, shown):
    from tensorboard.plugins.hparams import api_pb2

    tensorboard.write_log(MIXED, tmp_path)
    experiment, groups = shown(tmp_path)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert infos.keys() == set(MIXED.keys)
    assert infos["lr"].domain_interval.min_value == 0.001
    assert infos["lr"].domain_interval.max_value == 0.1
    assert infos["momentum"].domain_interval.min_value == 0.9
    assert not infos["momentum"].differs
    assert infos["flag"].type == api_pb2.DATA_TYPE_BOOL
    assert list(infos["flag"].domain_discrete) == [False, True]
    assert list(infos["kernel"].domain_discrete) == ["3", "[3, 5]"]
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == ["accuracy", "log_loss", "seconds_per_fit", "parameters"]

    assert sorted(groups) == ["0", "1", "2"]  # trial 3 still runs
    expected = {"accuracy": 0.975, "log_loss": 0.25, "seconds_per_fit": 4, "parameters": 5_001}
    assert metrics(groups["1"]) == pytest.approx(expected)
    assert groups["1"].hparams["lr"].number_value == 0.01
    assert groups["1"].hparams["kernel"].string_value == "[3, 5]"
    assert groups["1"].hparams["momentum"].number_value == 0.9
    assert groups["0"].hparams["flag"].bool_value
    assert "momentum" not in groups["0"].hparams
    assert metrics(groups["2"]) == {}
    (session,) = groups["1"].sessions
    assert session.status == api_pb2.STATUS_SUCCESS
    assert session.end_time_secs - session.start_time_secs == 8
    assert [each.status for each in groups["2"].sessions] == [api_pb2.STATUS_FAILURE]


def test_tensorboard_log_follows_the_search(tmp_path, shown):
    def written():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    tensorboard.write_log(search(trial(0)), tmp_path)
    before = written()
    tensorboard.write_log(search(trial(0)), tmp_path)
    assert written() == before
    tensorboard.write_log(search(trial(0), trial(1, 33), failed(2)), tmp_path)
    after = written()
    assert len(after) == 4
    kept = tmp_path / "trial-0" / tensorboard.EVENT_FILE
    assert after[kept] == before[kept]
    tensorboard.write_log(search(trial(0, 44), trial(1, 33), failed(2)), tmp_path)
    assert len(written()) == 4
    _, groups = shown(tmp_path)
    assert {name: metrics(group).get("accuracy") for name, group in groups.items()} == {
        "0": pytest.approx(0.956),
        "1": pytest.approx(0.967),
        "2": None,
    }
    assert [len(group.sessions) for group in groups.values()] == [1, 1, 1]


@pytest.mark.parametrize("found", [search(), search(failed(0))], ids=["empty", "only failed"])
def test_tensorboard_log_without_a_whole_trial(tmp_path, shown, found):
    tensorboard.write_log(found, tmp_path)
    experiment, groups = shown(tmp_path)
    assert {info.name for info in experiment.hparam_infos} == set(START)
    assert len(groups) == len(found.trials)
