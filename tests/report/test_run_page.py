"""The page of a run made by hand."""

import itertools
import re
import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
from reported import LABELS, METRICS, PREDICTIONS, PROVISIONAL, REPORT

from kaggle_digits.report import run_page
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.scoring.ensemble import Score


@pytest.fixture(scope="module")
def whole():
    return run_page.page(REPORT)


def text_of(page):
    """All that is shown, its spaces as they are drawn."""
    shown = re.sub(r"<(style|script|title).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", shown).split())


def rows_of(table):
    return [[cell.text for cell in cells] for cells in table.rows]


def test_equal_reports_give_equal_pages(whole):
    assert run_page.page(REPORT) == whole


def test_page_refers_to_nothing_outside(whole):
    for address in ("http:", "https:", "//", "@import"):
        assert address not in re.sub(r"data:image/png;base64,[\w+/=]*", "", whole)
    assert set(re.findall(r'src="([^:]*):', whole)) == {"data"}
    ids = re.findall(r'\bid="([^"]*)"', whole)
    assert len(set(ids)) == len(ids)
    references = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]*)', whole)
    assert references
    assert set(references) <= set(ids)


def test_all_sections_are_there_and_can_be_reached(whole):
    headings = re.findall(r"<h[12][^>]*>(.*?)</h", whole)
    assert headings == [
        "Run quick-1",
        "Score",
        "Mistakes",
        "Learning",
        "Ensembling",
        "Suspected labels",
        "Uncertain test digits",
        "Costs",
        "Nets and fits",
        "Settings and data",
    ]
    assert re.findall(r'<li><a href="#[a-z]+">(.*?)</a>', whole) == headings[1:]
    levels = [int(level) for level in re.findall(r"<h(\d)", whole)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_everybody_can_read_it(whole):
    # Charts and pictures in words, headings of lines and columns, and what scrolls can be reached.
    assert whole.count("<svg ") == whole.count('<svg role="img" aria-label="') == 8
    assert all("alt=" in image for image in re.findall(r"<img [^>]*>", whole))
    for table in re.findall(r"<table.*?</table>", whole, re.DOTALL):
        assert '<th scope="col"' in table
        assert '<th scope="row"' in table
    scrolled = re.findall(r'<(?:div class="wide|pre)[^>]*>', whole)
    assert scrolled
    for each in scrolled:
        assert 'role="region"' in each
        assert 'tabindex="0"' in each
        assert "aria-label" in each


# On top


def test_cards():
    cards = list(run_page._cards(REPORT))
    assert [(card.title, card.figure) for card in cards] == [
        ("out-of-fold accuracy", "0.95000"),
        ("expected leaderboard", "0.9000\N{EN DASH}0.9800"),
        ("nets trained", "4 of 4"),
    ]
    assert cards[0].notes == ("1 of 20 rows wrong", "95 % interval 0.76387 to 0.99112")
    assert cards[2].notes == ("20 s in all", "150 images/s in training")


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.89, ("bad", "below the expected band")),
        (0.95, ("good", "within the expected band")),
        (0.99, ("good", "above the expected band")),
    ],
)
def test_kaggles_newest_score_beside_the_expected_ones(score, verdict):
    report = replace(REPORT, kaggle_scores=(0.1, score))
    card = next(card for card in run_page._cards(report) if card.title == "score on Kaggle")
    assert (card.figure, card.verdicts) == (f"{score:.5f}", (verdict,))


def test_optimistic_figures_say_so():
    unseen = Score(0, 10, 1.0, (0.7, 1.0))
    metrics = replace(METRICS, optimistic=True, holdout=unseen)
    report = replace(REPORT, metrics=metrics)
    titles = {card.title: card.notes for card in run_page._cards(report)}
    assert titles["out-of-fold accuracy"][-1] == "optimistic: see above"
    assert "accuracy on rows that no search saw" in titles
    assert "OPTIMISTIC" in dict(run_page._warnings(metrics))


def test_unfinished_runs_say_so():
    metrics = replace(METRICS, complete=False, fits_finished=3, skipped={"b fold 2": "loss is nan"})
    assert list(run_page._warnings(metrics)) == [
        ("UNFINISHED", "3 of 4 fits finished so far; all figures are of these"),
        ("SKIPPED", "b fold 2 diverged: loss is nan"),
    ]


def test_demo_data_is_said_and_nothing_is_expected():
    page = run_page.page(replace(REPORT, metrics=replace(METRICS, demo_data=True)))
    assert "<title>DEMO DATA: Run quick-1</title>" in page
    text = text_of(page)
    assert "the submission is NOT for upload" in text
    assert text.count("DEMO DATA") == 1
    assert "No score at Kaggle is expected: that needs the competition" in text
    assert "leaderboard 0.9" not in text


def test_a_run_that_is_not_for_upload_is_not_shown_beside_known_scores():
    reason = "trained on MNIST"
    metrics = replace(METRICS, not_for_upload=reason)
    text = text_of(run_page.page(replace(REPORT, metrics=metrics, kaggle_scores=(0.9,))))
    assert f"Nothing is expected: the submission is not for upload, {reason}." in text
    for words in ("never does", "expected band", "0.9000\N{EN DASH}", "of the demo data"):
        assert words not in text


@pytest.mark.parametrize(
    ("holdout", "is_optimistic"), [(None, True), (Score(0, 10, 1.0, (0.7, 1.0)), False)]
)
def test_a_forecast_of_rows_that_choices_were_made_by_is_optimistic(holdout, is_optimistic):
    metrics = replace(METRICS, optimistic=True, holdout=holdout)
    cards = {card.title: card for card in run_page._cards(replace(REPORT, metrics=metrics))}
    notes = cards["expected leaderboard"].notes
    assert ("optimistic: see above" in notes) is is_optimistic


def test_next_step(whole):
    assert "Next, upload it: kaggle-digits submit submissions/quick-1" in text_of(whole)


# What was predicted


def test_many_mistakes_are_shown_when_asked_for():
    oof = np.repeat(np.roll(np.eye(10, dtype=np.float32), 1, axis=1)[None], 4, axis=0)
    report = replace(
        REPORT,
        labels=np.tile(LABELS, 2),
        folds=np.arange(40) % 2,
        oof=oof.reshape(40, 10),
        train_images=np.zeros((40, 28, 28), np.uint8),
        predictions=(),
        fits=(),
        test=np.zeros((0, 10)),
    )
    text = text_of(run_page.page(report))
    assert "16 more" in text
    assert text.count("100.0 % sure") == 40


# Costs, nets, settings


def test_where_the_seconds_went():
    assert run_page._seconds(REPORT) == {
        "training": 8.0,
        "predicting": 2.0,
        "drawing images": 3.0,
        "saving, hashing": 1.0,
        "reports": 2.0,
        "other": 4.0,
    }
    # Fits of an earlier folder may have taken more than this run.
    short = replace(REPORT, metrics=replace(METRICS, wall_seconds=1.0))
    assert run_page._seconds(short)["other"] == 0.0


def test_members_with_one_net_share_its_summary(whole):
    assert "a, b: 7,850 parameters, 0.02 MFLOP an image" in text_of(whole)
    assert "logits Dense 10 7,850" in text_of(whole)
    earlier = replace(REPORT, fits=tuple(replace(fit, net=None) for fit in REPORT.fits))
    ((names, cost, net),) = run_page._nets(earlier)
    assert (names, cost, net) == ("a, b", "", None)
    assert "an earlier version did not note the layers" in text_of(run_page.page(earlier))


def test_rows_that_are_covered_only_in_part():
    (card, *_) = run_page._cards(replace(REPORT, metrics=replace(METRICS, train_rows=30)))
    assert card.notes[-1] == "20 of 30 rows covered"


def test_mean_and_deviation_of_a_members_nets():
    members = {"a": replace(METRICS.members["a"], fold_mean=0.95, fold_std=0.05)}
    found = run_page._spreads(replace(METRICS, members=members))
    assert list(found) == ["a: mean=95.000 std=5.000, n=2"]
    assert list(run_page._spreads(METRICS)) == []


def test_table_of_all_fits():
    first, *_, last = rows_of(run_page._fits(REPORT))
    assert first[:4] == ["a fold 1", "1", "10", "0.90000"]
    assert first[6:] == ["2", "0.2500", "2.0", "150"]
    assert last[:2] == ["b fold 2", "1"]
    fits = tuple(replace(each, kept_epoch=1) for each in REPORT.fits)
    first, *_ = rows_of(run_page._fits(replace(REPORT, fits=fits)))
    assert first[6:8] == ["2, kept 1", "0.5000"]  # the loss of the weights that are kept


def test_settings_and_facts(whole):
    text = text_of(whole)
    assert "train.epochs 7 2" in text
    assert "seed: 7" in text
    assert "processor Some CPU, 2 cores" in text
    assert "All settings are those of quick." in text_of(run_page.page(replace(REPORT, changes={})))


def test_text_of_others_is_escaped():
    page = run_page.page(replace(REPORT, name="<b>", config="x: <script>", facts={"<i>": "&"}))
    assert "<b>&lt;b&gt;" not in page
    assert "&lt;script&gt;" in page
    assert "<i>" not in page


# Little is known


def test_provisional_submission():
    text = text_of(run_page.page(PROVISIONAL))
    assert "UNFINISHED 0 of 4 fits finished so far" in text
    assert "PROVISIONAL" in text
    assert "a fold 1, 1.5 epochs so far" in text
    assert text.count("Not known: no row is predicted by a net that never saw it.") >= 4
    assert "No fit is finished." in text
    assert run_page.pictures(PROVISIONAL) == {}


def test_nets_that_hold_nothing_out():
    nothing = replace(PREDICTIONS[0], heldout_rows=np.array([], int), heldout=np.zeros((0, 10)))
    member = MemberScore(0, 0, None, None, {"fold1": None})
    metrics = RunMetrics(True, False, 1, 1, members={"a": member}, holds_rows_out=False)
    report = replace(
        REPORT,
        metrics=metrics,
        predictions=(nothing,),
        fits=REPORT.fits[:1],
        oof=np.full((20, 10), np.nan, np.float32),
        folds=None,
    )
    text = text_of(run_page.page(report))
    assert "out-of-fold accuracy none no rows held out, so there is no figure" in text
    assert "Not known: no row is predicted by a net that never saw it." in text
    assert "Least certain test digits" in text


def test_data_that_is_gone():
    text = text_of(run_page.page(replace(REPORT, train_images=None, test_images=None)))
    assert "the data is not there any more" in text
    assert "1 by 2, 7 by 2" in text


# Pictures


def test_pictures_are_sound_and_the_same_each_time():
    pictures = run_page.pictures(REPORT)
    assert list(pictures) == ["learning_curves.png", "confusion_matrix.png", "misclassified.png"]
    assert run_page.pictures(REPORT) == pictures
    for content in pictures.values():
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1] == 832  # 5.2 inches
        assert (image[0, 0] > 250).all()
    assert "misclassified.png" not in run_page.pictures(replace(REPORT, train_images=None))


# In a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")
def test_a_browser_has_nothing_to_complain_of(tmp_path, whole):
    page = tmp_path / "report.html"
    page.write_text(whole, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    command = [BROWSER, *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "CONSOLE" not in done.stderr
    assert "<h1>Run quick-1</h1>" in done.stdout
