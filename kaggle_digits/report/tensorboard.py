"""Record of a search -> a log that TensorBoard's HParams tab shows, without TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.report.importance import is_number
from kaggle_digits.results.search_records import SearchRecord, TrialResult
from kaggle_digits.storage import files

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tensorboard.compat.proto.summary_pb2 import Summary

EVENT_FILE = "events.out.tfevents.search"
METRICS = ("accuracy", "log_loss", "seconds_per_fit", "parameters")


def write_log(record: SearchRecord, folder: Path) -> None:
    """Write a log that TensorBoard's HParams tab shows: a folder for each trial that has ended.

    A file that has not changed is left alone, so this can be called repeatedly. A running
    TensorBoard reads each file once: it shows new trials, but changed ones only after a restart.

    Args:
        record: what has been found so far.
        folder: of the log; made if it does not exist.

    Raises:
        UserError: the log cannot be written.
    """
    _write_events(folder, [_experiment(record)])
    for trial in record.trials:
        if trial.status != "running":
            _write_events(folder / f"trial-{trial.trial}", _session(record, trial), trial.folds)


def _write_events(folder: Path, summaries: Sequence[Summary], step: int = 0) -> None:
    """Write an event file with a fixed name; equal summaries give equal bytes."""
    from tensorboard.compat.proto.event_pb2 import Event

    # Not EventFileWriter: it imports TensorFlow where that is installed, even for a search on JAX,
    # and begins another file with each call.
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in (Event(file_version="brain.Event:2"), *(Event(summary=s) for s in summaries)):
        event.step = step
        writer.write(event.SerializeToString(deterministic=True))
    path = folder / EVENT_FILE
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        files.write_bytes(path, buffer.getvalue())


def _experiment(record: SearchRecord) -> Summary:
    """Describe the settings, by the values that trials have tried, and the metrics."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    experiment = api_pb2.Experiment()
    for key in record.keys:
        values = _hparam_values(record, key).values()
        info = experiment.hparam_infos.add(name=key, differs=len(set(values)) > 1)
        if all(map(is_number, values)):
            info.type = api_pb2.DATA_TYPE_FLOAT64
            info.domain_interval.min_value = min(values, default=0)
            info.domain_interval.max_value = max(values, default=0)
        else:
            are_flags = all(isinstance(value, bool) for value in values)
            info.type = api_pb2.DATA_TYPE_BOOL if are_flags else api_pb2.DATA_TYPE_STRING
            info.domain_discrete.extend(sorted(set(values)))
    for tag in METRICS:
        experiment.metric_infos.add(
            name=api_pb2.MetricName(tag=tag), display_name=tag.replace("_", " ")
        )
    return _hparams_summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _hparam_values(record: SearchRecord, key: str) -> dict[str, float | bool | str]:
    """Return trial -> a setting's value, all of one type, as TensorBoard requires."""
    values = {t.trial: t.settings[key] for t in record.trials if key in t.settings}
    are_flags = all(isinstance(value, bool) for value in values.values())
    if are_flags or all(map(is_number, values.values())):
        return values
    return {trial: str(value) for trial, value in values.items()}


def _session(record: SearchRecord, trial: TrialResult) -> list[Summary]:
    """Describe one trial: its settings, what it reached, how it ended."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    # A trial does not know when it began, so each begins at time 0.
    start = plugin_data_pb2.SessionStartInfo(group_name=trial.trial, start_time_secs=0)
    for key in record.keys:
        if key in trial.settings:
            value = _hparam_values(record, key)[trial.trial]
            kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[key], kind, value)
    failed = trial.status in ("failed", "out of bounds")
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS,
        end_time_secs=trial.seconds,
    )
    figures = {tag: getattr(trial, tag) for tag in METRICS}
    return [
        _hparams_summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        *(
            Summary(value=[Summary.Value(tag=tag, simple_value=figure)])
            for tag, figure in figures.items()
            if figure is not None
        ),
        _hparams_summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    ]


def _hparams_summary(tag: str, **info: Message) -> Summary:
    """Wrap data for the HParams tab in a summary."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **info)
    about = metadata.create_summary_metadata(data)
    # Serialised again, because the order of a map's entries otherwise differs between processes.
    about.plugin_data.content = data.SerializeToString(deterministic=True)
    value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])
