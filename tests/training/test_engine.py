import math
import pickle
import signal
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from fake_training import (
    CONFIG,
    EPOCHS,
    FIRST,
    RESERVE,
    SECOND,
    STEPS,
    TEST_LABELS,
    FakeTraining,
    checkpoint_after,
    epochs_before,
    sure,
)

from kaggle_digits.config.schema import Augment
from kaggle_digits.config.train_section import EarlyStopping
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.time_budget import Stopped
from kaggle_digits.training import engine, fit, resume
from kaggle_digits.training.engine import EngineOptions, FitOutcome, Provisional, Workplace
from kaggle_digits.tuning.trial_fits import SearchProgress, TrialFailed, TrialFits

SECOND_RETRY, FIRST_RETRY = ("a fold 2", 2), ("a fold 1", 2)


# Fits that take their time by a clock of the test


class Run(FakeTraining):
    """Runs the engine and keeps all that comes out of it."""

    def __init__(self, path, **options):
        super().__init__(path, **options)
        self.outcomes, self.lines, self.heard = [], [], []

    def say(self, text):
        self.lines.append(text)

    def progress(self, progress):
        self.heard.append(progress)

    def outcomes_of(self, **options):
        return engine.run(
            self.specs,
            self.inputs,
            Workplace(self.folder, self.cache),
            self.budget,
            self,
            EngineOptions(**{"reserve": RESERVE, "draw_seconds": 0.0} | options),
        )

    def fit(self, **options):
        """Run what is to do; return the names of the fits that are not done."""
        with self.signals.watched(), closing(self.outcomes_of(**options)) as outcomes:
            self.outcomes.extend(outcomes)
        return [spec.name for spec in self.specs if spec.name not in self.done()]

    def done(self):
        return [o.spec.name for o in self.outcomes if o.status in ("finished", "skipped")]

    def ended(self):
        """Return (name, attempt, status) of each outcome."""
        return [(o.spec.name, o.spec.attempt, o.status) for o in self.outcomes]

    def diverged(self, fold):
        return resume.diverged_attempts(self.folder, self.specs[fold])


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Make a run whose clock and whose training are the test's."""

    def make(**options):
        run = Run(tmp_path, **options)
        run.install(monkeypatch)
        return run

    return make


def test_without_a_limit_all_fits_are_done(make_run):
    run = make_run()
    assert run.fit() == []
    assert run.begun == [FIRST, SECOND]
    assert run.now == 2 * (2 + 20)
    assert run.predicted == []
    assert run.saved() == [None, None]
    assert run.ended() == [(*FIRST, "finished"), (*SECOND, "finished")]
    assert [outcome.provisional for outcome in run.outcomes] == [None, None]
    assert run.finished() == ["a fold 1", "a fold 2"]
    for spec in run.specs:
        predictions = fit.read_predictions(run.folder, spec)
        assert predictions.test.tobytes() == sure(TEST_LABELS).tobytes()
        assert predictions.heldout_rows.tolist() == list(spec.heldout_rows)
    assert run.lines == []


def test_a_fit_that_early_stopping_ends_is_finished(make_run):
    early = CONFIG.train.model_copy(update={"early_stopping": EarlyStopping(patience=1)})
    run = make_run(config=CONFIG.model_copy(update={"train": early}))
    run.last_epochs = {0: 3}
    assert run.fit() == []
    assert run.ended() == [(*FIRST, "finished"), (*SECOND, "finished")]
    assert run.saved() == [None, None]
    kept = "keeps the weights of epoch 2 (val_loss 0.37500 on the rows that it holds out)"
    assert run.lines == [
        f"a fold 1: trained 3 of 4 epochs, {kept}",
        f"a fold 2: trained 4 of 4 epochs, {kept}",
    ]
    # 15 steps of the first fit and 20 of the second are all there is to do.
    first, second = (p for p in run.heard if p.phase == "predicting")
    assert (first.fraction, second.fraction) == pytest.approx((15 / 35, 1.0))


def test_without_fits_nothing_starts(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr(engine.backend, "configure", lambda threads: pytest.fail("it starts"))
    run.specs = []
    assert run.fit() == []
    assert run.outcomes == []


def test_events_hear_of_every_step_and_epoch(make_run):
    run = make_run()
    run.fit()
    assert [(p.spec.name, p.phase, p.epochs_done) for p in run.heard if p.phase != "training"] == [
        ("a fold 1", "compiling", 0.0),
        ("a fold 1", "predicting", 4.0),
        ("a fold 2", "compiling", 0.0),
        ("a fold 2", "predicting", 4.0),
    ]
    heard = [p for p in run.heard if p.phase == "training" and p.entry is None]
    assert [(p.spec.name, p.epochs_done) for p in heard] == [
        (spec.name, pytest.approx(step / STEPS))
        for spec in run.specs
        for step in range(1, EPOCHS * STEPS + 1)
    ]
    entries = [(p.spec.name, p.epochs_done, p.entry["epoch"]) for p in run.heard if p.entry]
    assert entries == [(spec.name, epoch, epoch) for spec in run.specs for epoch in (1, 2, 3, 4)]
    # The first step is done at 3 s, the first fit's last at 22 s; then 10 images a second are seen.
    compiling, first, last, predicting, second = (
        run.heard[0],
        *run.heard[1:26:23],
        *run.heard[25:27],
    )
    assert (compiling.fraction, compiling.images_per_second) == (0.0, 0.0)
    assert (first.fraction, first.images_per_second, first.seconds_left) == (1 / 40, 0.0, 0.0)
    assert (last.entry["epoch"], last.fraction) == (4, 0.5)
    # 20 s of training, two ends of half of the 16.5 s that are reserved, and a start of 3 s.
    assert (last.images_per_second, last.seconds_left) == pytest.approx((10.0, 39.5))
    # What the bar has reached and the speed stay while the next net is compiled.
    for phase in (predicting, second):
        assert (phase.fraction, phase.images_per_second) == pytest.approx((0.5, 10.0))


def test_facts_of_a_finished_fit(make_run, monkeypatch):
    # What the process has in memory before each fit, and after each of its steps and epochs.
    sizes = iter([7, *range(10, 34), 3, *range(29, 5, -1)])
    memory = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(sizes)))
    monkeypatch.setattr(engine.psutil, "Process", lambda: memory)
    run = make_run()
    run.finish_seconds = 1.5
    run.fit()
    facts = [run.folder.read_fit("a", fold) for fold in (0, 1)]
    assert [fact["peak_memory_bytes"] for fact in facts] == [33, 29]
    assert {fact["train_images"] for fact in facts} == {200}
    assert [fact["seconds"] for fact in facts] == 2 * [{"train": 20.0, "predict": 1.5}]
    assert [fact["digest"] for fact in facts] == [spec.digest for spec in run.specs]


def test_callbacks_reach_the_training_and_no_identity(make_run):
    run = make_run()
    factories = (lambda: None, lambda: None)
    run.fit(callbacks=factories)
    assert run.callbacks == [factories, factories]
    assert [run.folder.read_fit("a", fold)["identity"] for fold in (0, 1)] == [
        spec.identity for spec in run.specs
    ]


# The clock by hand. The first step is done at 3 s. From then on 10 images a second are seen; an
# epoch of 50 takes 5 s. Predictions take 3 s (as the first step: they are compiled too), 10 s for
# the statistics of 100 rows, and half of what training would take for 20 test rows and, for a whole
# fit, 50 held-out rows: 14 s and 16.5 s. 4 s are kept free for the end. So a provisional submission
# needs 18 s, a whole fit's predictions 20.5 s, a further fit's first epoch 4 + 3 + 5 s.


def test_before_the_first_fit_is_whole_it_goes_on_to_the_last_batch(make_run):
    run = make_run(limit=27.5)
    assert run.fit() == ["a fold 1", "a fold 2"]
    # After 7 steps, at 9 s, 18.5 s are left, after 8 only 17.5 s.
    assert (run.steps, run.predicted) == (8, [10.0])
    assert run.saved() == [1, None]
    assert run.ended() == [(*FIRST, "unfinished")]
    provisional = run.outcomes[0].provisional
    assert provisional.epochs == pytest.approx(1.6)
    assert provisional.test.tobytes() == sure(TEST_LABELS).tobytes()


@pytest.mark.parametrize(
    ("missing", "draw_seconds", "steps"),
    [
        (range(EPOCHS), 5.0, 5),  # 20.5 s are left, and 23 s needed
        (range(EPOCHS), 2.0, 8),
        ((), 5.0, 8),
    ],
)
def test_an_epoch_whose_variant_is_not_drawn_yet_takes_longer(
    make_run, missing, draw_seconds, steps
):
    run = make_run(limit=27.5, missing=missing)
    run.fit(draw_seconds=draw_seconds)
    assert (run.steps, run.saved()) == (steps, [1, None])
    assert run.outcomes[0].provisional is not None


@pytest.mark.parametrize(
    ("order", "missing", "begun"),
    [
        # With two cores: three variants in two rounds of 10 s, and 4 s are kept free.
        ("own", (0, 1, 3), []),
        ("own", (0, 1), [FIRST]),
        ("shared", range(EPOCHS), [FIRST]),
    ],
)
def test_no_fit_is_begun_without_time_to_draw_what_its_first_epoch_reads(
    make_run, monkeypatch, order, missing, begun
):
    monkeypatch.setattr(engine.environment, "usable_cores", lambda: 2)
    config = CONFIG.model_copy(update={"augment": Augment(variant_order=order)})
    run = make_run(limit=20.0, config=config, missing=missing)
    run.fit(draw_seconds=10.0)
    assert run.begun == begun
    assert run.ended() == [(*FIRST, "unfinished")]


def test_without_time_for_predictions_nothing_is_predicted(make_run):
    run = make_run(limit=30.0)
    run.at_step = {8: lambda: run.sleep(12.0)}
    assert run.fit() == ["a fold 1", "a fold 2"]
    assert (run.steps, run.predicted, run.saved()) == (8, [], [1, None])
    assert run.ended() == [(*FIRST, "unfinished")]
    assert run.outcomes[0].provisional is None
    assert run.now == 22.0


@pytest.mark.parametrize(("limit", "finished"), [(42.25, False), (42.75, True)])
def test_first_fit_is_finished_only_with_time_for_its_predictions(make_run, limit, finished):
    run = make_run(limit=limit)
    left = run.fit()
    if finished:
        assert left == ["a fold 2"]
        assert run.predicted == []
        assert run.finished() == ["a fold 1"]
        # The rest of the time goes into the next fit's epochs.
        assert (run.begun, run.saved()) == ([FIRST, SECOND], [None, 2])
        assert run.outcomes[1].provisional is None
    else:
        assert left == ["a fold 1", "a fold 2"]
        assert run.begun == [FIRST]
        assert run.predicted == [22.0]
        assert run.saved() == [4, None]
        assert run.outcomes[0].provisional.epochs == 4.0
        assert run.finished() == []


# In the second fit, after k steps at 24 + k s, the speed is (190 + 10 k) / (21 + k): an epoch takes
# 5.35 s after 10 steps, and a whole fit's predictions 3 s and 14.2 s at its end, at 44 s.


@pytest.mark.parametrize(("limit", "epochs"), [(43.0, 2), (43.75, 3)])
def test_no_epoch_is_begun_that_cannot_be_whole(make_run, limit, epochs):
    run = make_run(limit=limit)
    assert run.fit() == ["a fold 2"]
    assert (run.steps, run.saved()) == (20 + STEPS * epochs, [None, epochs])
    # What the first fit has made stays.
    assert run.predicted == []
    assert run.ended() == [(*FIRST, "finished"), (*SECOND, "unfinished")]
    assert run.outcomes[1].provisional is None


def test_a_fit_of_an_earlier_process_is_a_result_too(make_run):
    run = make_run(limit=15.0)
    run.specs = run.specs[1:]
    assert run.fit(has_result=True) == ["a fold 2"]
    # Of 9 s before the end, 10 images a second: at 7 s the next epoch would end at 12 s, too late.
    assert (run.steps, run.predicted, run.saved()) == (5, [], [1])


@pytest.mark.parametrize(("limit", "finished"), [(57.5, False), (58.5, True)])
def test_further_fit_is_finished_only_with_time_for_its_predictions(make_run, limit, finished):
    # Trained at 48 s; to finish the first fit took 4 s, so with the end 4 + 1.5 * 4 are needed.
    run = make_run(limit=limit)
    run.finish_seconds = 4.0
    assert run.fit() == ([] if finished else ["a fold 2"])
    assert run.steps == 40
    assert run.saved() == [None, None if finished else 4]
    assert run.predicted == []
    assert run.finished() == ["a fold 1", "a fold 2"][: 1 + finished]


@pytest.mark.parametrize(("limit", "begun"), [(42.75, [FIRST]), (43.25, [FIRST, SECOND])])
def test_no_fit_is_begun_without_time_for_an_epoch(make_run, limit, begun):
    run = make_run(limit=limit)
    run.finish_seconds = 9.0  # at 31 s the first fit is finished, and 12 s are needed
    assert run.fit() == ["a fold 2"]
    assert run.begun == begun
    assert run.finished() == ["a fold 1"]
    assert run.ended()[1] == (*SECOND, "unfinished")


def test_no_fit_is_begun_whose_start_takes_all_the_time_left(make_run):
    run = make_run(limit=24.5)
    run.start_seconds, run.step_seconds, run.finish_seconds = 8.0, 0.125, 8.0
    assert run.fit() == ["a fold 2"]
    # The first fit is finished at 18.5 s. The second would make its first step at 26.6 s.
    assert run.begun == [FIRST]
    assert run.now == 18.5


def test_no_fit_is_begun_in_the_time_that_is_kept_free(make_run):
    run = make_run(limit=RESERVE)
    assert run.fit() == ["a fold 1", "a fold 2"]
    assert (run.begun, run.ended()) == ([], [(*FIRST, "unfinished")])


def test_an_epoch_that_takes_longer_than_forecast_is_cut_off(make_run):
    run = make_run(limit=43.75)
    run.at_step = {33: lambda: run.sleep(3.0)}
    assert run.fit() == ["a fold 2"]
    # At 40 s, in the middle of the third epoch, 3.75 s are left.
    assert (run.steps, run.now, run.saved()) == (33, 40.0, [None, 2])


@pytest.mark.parametrize(("epochs_before", "kept"), [(0.0, False), (1.6, False), (1.75, True)])
def test_an_earlier_provisional_prediction_is_kept_if_more_epochs_are_behind_it(
    make_run, epochs_before, kept
):
    run = make_run(limit=27.5)
    assert run.fit(provisional_epochs=epochs_before) == ["a fold 1", "a fold 2"]
    # It does not count as a fit: all time goes into the net at hand.
    assert run.steps == 8
    assert run.predicted == ([] if kept else [10.0])
    assert (run.outcomes[0].provisional is None) is kept
    line = "provisional submission: the one before, of more epochs, is kept"
    assert run.lines == [line] * kept


# Resuming


def test_a_fit_resumes_after_its_last_saved_epoch(make_run):
    run = make_run()
    resume.save_checkpoint(run.folder, run.specs[0], checkpoint_after(3, epochs_before(3)))
    assert run.fit() == []
    assert (run.resumed, run.steps) == ([3, 0], 25)
    assert run.lines == ["a fold 1 resumes after epoch 3"]
    lines = run.folder.history_path("a", 0).read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        *([str(epoch), "0.7"] for epoch in (1, 2, 3)),
        ["4", "0.5"],
    ]


def test_epochs_of_other_settings_are_no_start(make_run):
    run = make_run()
    other = run.specs[0].next_attempt()
    resume.save_checkpoint(run.folder, other, checkpoint_after(3, epochs_before(3)))
    assert run.fit() == []
    assert (run.resumed, run.lines) == ([0, 0], [])


def test_damaged_epochs_are_reported_and_the_fit_starts_from_the_beginning(make_run):
    run = make_run()
    resume.save_checkpoint(run.folder, run.specs[0], checkpoint_after(3, epochs_before(3)))
    path = run.folder.state_path("a", 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert run.fit() == []
    assert run.resumed == [0, 0]
    assert run.lines == [
        f"damaged: {path}: its checksum differs; a fold 1 starts from the beginning"
    ]


def test_epochs_of_an_earlier_process_are_behind_a_provisional_prediction(make_run):
    run = make_run(limit=2.0 + RESERVE)
    saved = checkpoint_after(EPOCHS, epochs_before(EPOCHS))
    resume.save_checkpoint(run.folder, run.specs[0], saved)
    # All epochs are done, and at 2 s only the time is left that is kept free.
    assert run.fit(provisional_epochs=3.5) == ["a fold 1", "a fold 2"]
    assert run.outcomes[0].provisional.epochs == EPOCHS


# Signals


def test_signal_before_the_first_fit_is_whole(make_run):
    run = make_run()
    run.at_step = {8: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped) as caught:
        run.fit()
    assert caught.value.number == signal.SIGTERM
    # The batch at hand is the last one, and what it led to makes a submission.
    assert (run.steps, run.predicted, run.saved()) == (8, [10.0], [1, None])
    assert run.ended() == [(*FIRST, "unfinished")]
    assert run.outcomes[0].provisional.epochs == pytest.approx(1.6)


def test_signal_in_a_further_fit(make_run):
    run = make_run()
    run.at_step = {27: lambda: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(Stopped) as caught:
        run.fit()
    assert caught.value.number == signal.SIGINT
    assert (run.steps, run.predicted, run.saved()) == (27, [], [None, 1])
    assert run.ended() == [(*FIRST, "finished"), (*SECOND, "unfinished")]


def test_signal_at_the_first_fits_last_step_lets_it_finish(make_run):
    run = make_run()
    run.start_seconds = 1.0  # so that 19.5 s are needed of the 20 s after a signal
    run.at_step = {20: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert (run.begun, run.predicted) == ([FIRST], [])
    assert run.finished() == ["a fold 1"]


def test_signal_at_a_further_fits_last_step_leaves_it_for_the_next_time(make_run):
    run = make_run()
    run.at_step = {40: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert run.saved() == [None, 4]
    assert run.finished() == ["a fold 1"]


def test_signal_in_a_diverged_attempt(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan}
    run.at_step = {5: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert run.diverged(0) == ["loss is nan in epoch 1"]
    assert not run.folder.finished_fits()


@pytest.mark.parametrize("fits", [1, 2])
def test_signal_while_an_outcome_is_taken_is_raised_when_the_next_is_asked_for(make_run, fits):
    run = make_run()
    with run.signals.watched(), closing(run.outcomes_of()) as outcomes:
        for _ in range(fits):
            outcome = next(outcomes)
        signal.raise_signal(signal.SIGTERM)
        # Whatever is made of the outcome now is not interrupted.
        assert (outcome.spec, outcome.status) == (run.specs[fits - 1], "finished")
        assert run.signals.received == signal.SIGTERM
        with pytest.raises(Stopped):
            next(outcomes)
    assert run.begun == [FIRST, SECOND][:fits]


def test_whoever_asks_for_no_further_outcome_hears_of_a_signal_again(make_run):
    run = make_run()
    with run.signals.watched():
        with closing(run.outcomes_of()) as outcomes:
            next(outcomes)
        # The engine is left: signals are raised where they come.
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


# Diverged fits


def test_a_diverged_fit_is_tried_again(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan, (1, 1): math.nan}
    assert run.fit() == []
    assert run.begun == [FIRST, FIRST_RETRY, SECOND, SECOND_RETRY]
    assert run.lines == [
        f"{name} diverged (loss is nan in epoch 1); retrying with a new seed and learning rate "
        "0.004 (attempt 2 of 2)"
        for name in ("a fold 1", "a fold 2")
    ]
    assert run.ended() == [(*FIRST_RETRY, "finished"), (*SECOND_RETRY, "finished")]
    for spec, outcome in zip(run.specs, run.outcomes, strict=True):
        assert outcome.spec == spec.next_attempt()
        facts = run.folder.read_fit("a", spec.fold)
        assert facts["identity"] == spec.next_attempt().identity
        assert facts["digest"] == spec.next_attempt().digest
        assert run.diverged(spec.fold) == ["loss is nan in epoch 1"]


def test_speed_is_measured_from_the_start_of_a_further_attempt(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan}
    run.fit()
    again = run.specs[0].next_attempt()
    heard = [p for p in run.heard if p.spec == again and p.phase == "training"]
    second = [p.images_per_second for p in heard]
    assert second == [0.0] + [pytest.approx(10.0)] * (EPOCHS * (STEPS + 1) - 1)


NAN_HELDOUT = np.full((50, 10), np.nan, np.float32)
NAN_TEST = np.where(np.arange(20)[:, None] == 7, np.inf, sure(TEST_LABELS)).astype(np.float32)
NOT_FINITE = "its predictions are not finite"


@pytest.mark.parametrize(("kind", "values"), [("heldout", NAN_HELDOUT), ("test", NAN_TEST)])
def test_predictions_that_are_not_finite_are_tried_again(make_run, kind, values):
    run = make_run()
    setattr(run, kind, {(0, 1): values})
    assert run.fit() == []
    assert run.begun == [FIRST, FIRST_RETRY, SECOND]
    assert run.lines == [
        f"a fold 1 diverged ({NOT_FINITE}); retrying with a new seed and learning rate 0.004 "
        "(attempt 2 of 2)"
    ]
    assert run.diverged(0) == [NOT_FINITE]
    assert run.finished() == ["a fold 1", "a fold 2"]
    assert run.folder.read_fit("a", 0)["identity"]["attempt"] == 2


def test_a_fit_that_diverges_in_its_last_attempt_is_skipped(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan, (0, 2): math.inf}
    assert run.fit() == []
    assert run.begun == [FIRST, FIRST_RETRY, SECOND]
    assert run.ended() == [(*FIRST_RETRY, "skipped"), (*SECOND, "finished")]
    assert [outcome.reason for outcome in run.outcomes] == ["loss is inf in epoch 1", ""]
    assert run.diverged(0) == ["loss is nan in epoch 1", "loss is inf in epoch 1"]
    assert run.finished() == ["a fold 2"]


def test_a_fit_that_begins_with_its_second_attempt_has_no_third(make_run):
    run = make_run()
    resume.note_divergence(run.folder, run.specs[0], "loss is nan in epoch 3")
    run.specs[0] = run.specs[0].next_attempt()
    run.heldout = {(0, 2): NAN_HELDOUT}
    assert run.fit() == []
    assert run.begun == [FIRST_RETRY, SECOND]
    assert run.ended()[0] == (*FIRST_RETRY, "skipped")


def test_all_fits_diverge(make_run):
    run = make_run()
    run.losses = dict.fromkeys(((0, 1), (1, 1)), math.nan)
    run.losses |= dict.fromkeys(((0, 2), (1, 2)), math.inf)
    assert run.fit() == []
    assert run.begun == [FIRST, FIRST_RETRY, SECOND, SECOND_RETRY]
    assert [outcome.status for outcome in run.outcomes] == ["skipped", "skipped"]
    assert run.finished() == []


def test_a_diverged_fit_is_not_tried_again_without_time_to_start(make_run):
    run = make_run(limit=24.5)
    run.start_seconds, run.step_seconds = 8.0, 0.125
    run.losses = {(1, 1): math.nan}
    assert run.fit() == ["a fold 2"]
    # The first fit is finished at 10.5 s; the second diverges at 19.125 s, and would start at 27.
    assert run.begun == [FIRST, SECOND]
    assert run.now == 19.125
    # The next process begins with the second attempt.
    assert run.ended()[1] == (*SECOND_RETRY, "unfinished")
    assert run.diverged(1) == ["loss is nan in epoch 1"]


# A search runs its fits with the same engine


@pytest.fixture
def make_search(make_run):
    """Make a search's fits on the rows of a run without test rows."""

    def make(seconds_per_fit=None, **options):
        run = make_run(test_rows=0, **options)
        run.test = {(spec.fold, n): np.zeros((0, 10)) for spec in run.specs for n in (1, 2)}
        progress = SearchProgress(SimpleNamespace(say=run.say))
        return run, TrialFits(
            run.inputs,
            [spec.heldout for spec in run.specs],
            run.cache,
            run.budget,
            lambda: RESERVE,
            progress,
            seconds_per_fit,
        )

    return make


def test_predictions_that_are_not_finite_are_tried_again_in_a_search(make_search):
    run, fits = make_search()
    run.heldout = {(0, 1): NAN_HELDOUT}
    fits.run(run.folder, run.specs, callbacks=())
    assert run.begun == [FIRST, FIRST_RETRY, SECOND]
    assert run.diverged(0) == [NOT_FINITE]
    assert run.finished() == ["a fold 1", "a fold 2"]


def test_predictions_that_are_never_finite_fail_a_trial_and_both_attempts_are_noted(make_search):
    run, fits = make_search()
    run.heldout = {(0, 1): NAN_HELDOUT, (0, 2): NAN_HELDOUT}
    with pytest.raises(TrialFailed, match=f"^a fold 1 diverged: {NOT_FINITE}$"):
        fits.run(run.folder, run.specs, callbacks=())
    assert run.begun == [FIRST, FIRST_RETRY]
    assert run.diverged(0) == [NOT_FINITE, NOT_FINITE]
    # Nobody ever trains it again.
    assert not resume.scan_fits(run.folder, run.specs).fits[0].to_do


# The longest training of one fit. Its first epoch takes 7 s, each other one 5 s: 22 s.


@pytest.mark.parametrize(
    ("limit", "steps", "forecast"),
    [(22.0, 20, None), (21.5, 10, 22), (6.0, 10, 22)],
)
def test_a_fit_that_would_be_too_slow_ends_after_its_second_epoch(make_run, limit, steps, forecast):
    run = make_run()
    run.specs = run.specs[:1]
    run.fit(seconds_per_fit=limit)
    assert run.steps == steps
    if forecast is None:
        assert run.ended() == [(*FIRST, "finished")]
    else:
        assert run.ended() == [(*FIRST, "too slow")]
        expected = f"a fit would train {forecast} s, more than --max-seconds-per-fit {limit:g}"
        assert run.outcomes[0].reason == expected
        assert (run.saved(), run.finished(), run.diverged(0)) == ([2], [], [])


def test_a_fit_that_becomes_slower_is_noticed_in_a_later_epoch(make_run):
    run = make_run()
    run.specs = run.specs[:1]
    run.at_step = {13: lambda: run.sleep(4.0)}  # the third epoch takes 9 s: 7 + 5 + 9 + 9
    run.fit(seconds_per_fit=29.5)
    assert (run.steps, run.outcomes[0].status) == (15, "too slow")
    assert run.outcomes[0].reason.startswith("a fit would train 30 s, ")


def test_after_a_fit_that_is_too_slow_come_the_others(make_run):
    run = make_run()
    run.at_step = {7: lambda: run.sleep(50.0)}
    assert run.fit(seconds_per_fit=22.0) == ["a fold 1"]
    assert run.ended() == [(*FIRST, "too slow"), (*SECOND, "finished")]


def test_a_fit_of_one_epoch_is_judged_by_it(make_run, monkeypatch):
    monkeypatch.setattr("fake_training.EPOCHS", 1)
    train = CONFIG.train.model_copy(update={"epochs": 1, "warmup_epochs": 0.0})
    run = make_run(config=CONFIG.model_copy(update={"train": train}))
    run.fit(seconds_per_fit=6.5)
    assert (run.steps, run.outcomes[0].status) == (10, "too slow")


@pytest.mark.parametrize(("epochs", "begun"), [(1, [FIRST]), (2, [])])
def test_a_fit_that_was_too_slow_is_not_begun_again(make_run, epochs, begun):
    run = make_run()
    run.specs = run.specs[:1]
    saved = checkpoint_after(epochs, epochs_before(epochs, seconds=9.0))
    resume.save_checkpoint(run.folder, run.specs[0], saved)
    run.fit(seconds_per_fit=24.0)
    # After one epoch it gets another chance: 9 + 7 + 2 * 7 s.
    assert (run.begun, run.outcomes[0].status) == (begun, "too slow")
    assert run.predicted == []


def test_a_slow_fit_that_diverges_is_too_slow(make_run):
    run = make_run()
    run.specs = run.specs[:1]
    run.losses = {(0, 1): math.nan}
    run.fit(seconds_per_fit=1.0)
    # It ends in its first epoch, before anybody knows how slow it is; so does its second attempt.
    assert run.diverged(0) == ["loss is nan in epoch 1"]
    assert run.ended() == [(*FIRST_RETRY, "too slow")]


# Memory


@pytest.mark.parametrize("limit", [None, 27.5])
def test_lack_of_memory_for_predictions_is_explained_too(make_run, monkeypatch, limit):
    def fail(*given):
        raise MemoryError

    run = make_run(limit=limit)
    monkeypatch.setattr(fit, "finish_fit", fail)
    monkeypatch.setattr("kaggle_digits.training.train.predict", fail)
    with pytest.raises(fit.OutOfMemory, match=r"^a fold 1: not enough memory for train\.batch_siz"):
        run.fit()


def test_errors_of_training_are_left_alone(make_run, monkeypatch):
    def fail(*given):
        raise ValueError("no such shape")

    run = make_run()
    monkeypatch.setattr(fit, "train_fit", fail)
    with pytest.raises(ValueError, match=r"^no such shape$"):
        run.fit()


def test_full_disk_ends_it(make_run, monkeypatch):
    def fail(*given):
        raise UserError("a-fold1.state: cannot be written (No space left on device)")

    run = make_run()
    monkeypatch.setattr(resume, "save_checkpoint", fail)
    with pytest.raises(UserError, match="No space left"):
        run.fit()


# Another engine


def test_all_that_goes_in_and_comes_out_can_be_pickled(make_run, tmp_path):
    run = make_run(limit=27.5)
    cache = Cache(run.cache.folder, notice=run.say)  # as in a run, which says what is damaged
    workplace = Workplace(RunFolder(tmp_path / "elsewhere"), cache)
    given = run.specs, run.inputs, workplace, EngineOptions(reserve=RESERVE, draw_seconds=0.0)
    specs, inputs, workplace, options = pickle.loads(pickle.dumps(given))
    assert specs == run.specs
    assert [spec.digest for spec in specs] == [spec.digest for spec in run.specs]
    assert inputs.key == run.inputs.key
    assert options == given[3]
    outcomes = list(engine.run(specs, inputs, workplace, run.budget, run, options))
    assert (tmp_path / "elsewhere" / "fits" / "a-fold1.state").is_file()
    (back,) = pickle.loads(pickle.dumps(outcomes))
    assert (back.spec, back.status) == (run.specs[0], "unfinished")
    assert back.provisional.test.tobytes() == outcomes[0].provisional.test.tobytes()
    assert back.provisional.epochs == outcomes[0].provisional.epochs
    progress = pickle.loads(pickle.dumps(run.heard))
    assert progress == run.heard
    for outcome in (
        FitOutcome(specs[0], "skipped", "loss is nan in epoch 1"),
        FitOutcome(specs[0], "unfinished", provisional=Provisional(np.eye(10), 1.5)),
    ):
        back = pickle.loads(pickle.dumps(outcome))
        assert (back.spec, back.status, back.reason) == (specs[0], outcome.status, outcome.reason)
