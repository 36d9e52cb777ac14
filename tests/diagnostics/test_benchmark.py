import io
import math
import subprocess
import sys
import tempfile
from statistics import median

import pytest
import yaml
from rich.console import Console

from kaggle_digits.augmentation import transforms
from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import digits_csv, sources
from kaggle_digits.diagnostics import baselines, benchmark
from kaggle_digits.diagnostics.benchmark import Measurements, Sizes
from kaggle_digits.diagnostics.net_speed import NetSpeed
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import backend

TINY_NET = {
    "folds": {"count": 3},
    "model": {"stages": [{"width": 4, "pool": "first"}]},
    "train": {"epochs": 4, "batch_size": 32},
}


@pytest.fixture(scope="module", autouse=True)
def configured():
    backend.configure(2)


@pytest.fixture
def measurements():
    return Measurements(
        title="toy, member cnn; data: nowhere",
        rows=(42_000, 28_000),
        csv={
            "train.csv, cold": [1.0, 2.0, 6.0],
            "train.csv and test.csv, cold": [3.0, 2.5, 8.0],
        },
        speeds={
            "augmentation bank": {"two processes": [4000.0, 3000.0, 5000.0]},
            "training": {
                baselines.KIT: [1000.0, 2000.0, 6000.0],
                baselines.BARE: [500.0, 2000.0, 2000.0],
            },
            "prediction": {
                baselines.KIT: [3000.0, 3000.0, 3000.0],
                baselines.BARE: [2000.0, 4000.0, 3000.0],
            },
        },
        estimates={
            "long": {"data and bank": 60.0, "training": 7200.0, "prediction": 90.0, "other": 30.0},
            "short": {"data and bank": 10.0, "training": 30.0, "prediction": 5.0, "other": 2.4},
        },
        nets={},
    )


def cells(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_light_import():
    heavy = "tensorflow keras albumentations cv2 pandas sklearn"
    program = (
        "import sys, kaggle_digits.diagnostics.benchmark; "
        f"sys.exit(' '.join(name for name in {heavy.split()} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_estimate_adds_the_parts_of_all_members():
    settings = Config.model_validate(
        TINY_NET
        | {
            "members": {
                "plain": {},
                "longer": {"train": {"epochs": 6, "ema_epochs": 0}},
                "other": {"augment": {"rotate": [-1, 1], "variants": 2}},
                "short": {"train": {"row_fraction": 0.5}},
            }
        }
    )
    nets = {
        "plain": NetSpeed(train=20.0, predict=10.0, overhead=1.5),
        "longer": NetSpeed(train=40.0, predict=20.0, overhead=2.0),
        "other": NetSpeed(train=20.0, predict=10.0, overhead=0.5),
        "short": NetSpeed(train=20.0, predict=10.0, overhead=0.0),
    }

    parts = benchmark.estimate(settings, (60, 30), csv_seconds=2.0, bank_speed=10.0, nets=nets)

    # Banks: one of max(4, 6) variants that three members share, one of 2: 8 x 60 images at 10/s.
    # Training: 4 x 2 x 60 / 20 + 6 x 2 x 60 / 40 + 4 x 2 x 60 / 20 = 24 + 18 + 24,
    # and half of 24.
    # Prediction: 60 held-out rows, 3 x 30 test rows, and 3 x 40 for the statistics:
    # 270 / 10 + 270 / 20 + 270 / 10 = 27 + 13.5 + 27, and 27.
    assert parts == {
        "data and bank": pytest.approx(50.0),
        "training": pytest.approx(78.0),
        "prediction": pytest.approx(94.5),
        "other": pytest.approx(12.0),
    }


def test_estimate_limits_the_rows_of_the_statistics():
    nets = {"cnn": NetSpeed(train=1000.0, predict=1000.0, overhead=0.0)}

    parts = benchmark.estimate(Config.model_validate(TINY_NET), (42_000, 28_000), 0.0, 1000.0, nets)

    # 42,000 held out, and for each of 3 fits 28,000 of test and 8,192 of the 28,000 it trains on.
    assert parts["prediction"] == pytest.approx(42.0 + 3 * (28.0 + 8.192))


@pytest.mark.parametrize(
    ("folds", "fits", "heldout"),
    [
        ({"kind": "holdout", "count": 4, "holdout": 0.25}, 4, 15),
        ({"kind": "kfold", "count": 2, "repeats": 3}, 6, 30),
        ({"kind": "none"}, 1, 0),
    ],
)
def test_estimate_of_other_splits(folds, fits, heldout):
    nets = {"cnn": NetSpeed(train=10.0, predict=20.0, overhead=0.5)}
    settings = Config.model_validate(TINY_NET | {"folds": folds})
    parts = benchmark.estimate(settings, (60, 30), csv_seconds=0.0, bank_speed=10.0, nets=nets)
    trained = 60 - heldout
    assert parts["training"] == pytest.approx(fits * settings.train.epochs * trained / 10)
    # Held-out rows, test rows, and the rows of the statistics.
    assert parts["prediction"] == pytest.approx(fits * (heldout + 30 + trained) / 20)
    assert parts["other"] == pytest.approx(fits * 0.5)


def test_ratio_is_taken_within_each_repetition(measurements):
    # 2, 1 and 3; the ratio of the medians would be 1.
    assert measurements.ratio("training", baselines.BARE) == 2.0


def test_speed_table(measurements):
    table = benchmark.speed_table(measurements)

    assert table.title == "toy, member cnn; data: nowhere"
    assert "3 interleaved repetitions" in table.caption
    assert cells(table) == [
        ("train.csv, cold", "2.00 s", "1.00 to 6.00", ""),
        ("train.csv and test.csv, cold", "3.00 s", "2.50 to 8.00", ""),
        ("augmentation bank: two processes", "4,000 images/s", "3,000 to 5,000", ""),
        (f"training: {baselines.KIT}", "2,000 images/s", "1,000 to 6,000", ""),
        (f"training: {baselines.BARE}", "2,000 images/s", "500 to 2,000", "2.00"),
        (f"prediction: {baselines.KIT}", "3,000 images/s", "3,000 to 3,000", ""),
        (f"prediction: {baselines.BARE}", "3,000 images/s", "2,000 to 4,000", "1.00"),
    ]


def test_estimate_table_has_the_shortest_first(measurements):
    table = benchmark.estimate_table(measurements)

    assert "42,000 training and 28,000 test rows" in table.title
    assert cells(table) == [
        ("short", "10 s", "30 s", "5 s", "2 s", "47 s"),
        ("long", "1 min 0 s", "2 h 0 min", "1 min 30 s", "30 s", "2 h 3 min"),
    ]


def test_deotte_net_is_the_published_one():
    net = baselines.deotte_net()

    convolutions = [  # side of the kernel, channels in, channels out, side of the output map
        (3, 1, 32, 26),
        (3, 32, 32, 24),
        (5, 32, 32, 12),
        (3, 32, 64, 10),
        (3, 64, 64, 8),
        (5, 64, 64, 4),
        (4, 64, 128, 1),
    ]
    weights = sum(k * k * i * o + o for k, i, o, _ in convolutions)
    batch_norm = 4 * (3 * 32 + 3 * 64 + 128)
    assert net.count_params() == weights + batch_norm + 128 * 10 + 10 == 327_242

    found = [layer for layer in net.layers if "conv2d" in layer.name]
    products = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3]) for layer in found
    )
    expected = sum(k * k * i * o * side * side for k, i, o, side in convolutions)
    assert products == expected == 15_161_472  # 30 MFLOP with an addition for each
    assert net.input_shape == (None, 28, 28, 1)
    assert net.output_shape == (None, 10)
    assert [layer.rate for layer in net.layers if "dropout" in layer.name] == [0.4, 0.4, 0.4]


def test_deotte_ranges_are_one_affine_step():
    [step] = transforms.build_transform(baselines.DEOTTE_RANGES).transforms

    assert type(step).__name__ == "Affine"
    assert step.rotate == (-10, 10)
    assert step.scale == {"x": (0.9, 1.1), "y": (0.9, 1.1)}
    assert step.translate_percent == {"x": (-0.1, 0.1), "y": (-0.1, 0.1)}
    assert step.shear == {"x": (0, 0), "y": (0, 0)}


def test_csv_is_parsed_when_cold_and_not_from_the_cache(tmp_path, monkeypatch):
    parsed = []
    parse = digits_csv.parse_csv

    def timed_io(content, where, **options):
        parsed.append(where)
        return parse(content, where, **options)

    monkeypatch.setattr(digits_csv, "parse_csv", timed_io)
    source = sources.Source("demo", demo=True)
    for _ in ("cold", "from cache"):
        train_seconds, both_seconds = benchmark.measure_csv(source, tmp_path)
        assert 0 < train_seconds < both_seconds
        assert parsed == ["demo data:train.csv", "demo data:test.csv"]


def test_run_on_the_demo_data(tmp_path, monkeypatch):
    shipped, temporary = tmp_path / "configs", tmp_path / "temporary"
    (shipped / "peers").mkdir(parents=True)
    temporary.mkdir()
    one = TINY_NET | {"members": {"a": {}, "b": {"train": {"epochs": 8}}}}
    (shipped / "one.yaml").write_text(yaml.safe_dump(one))
    (shipped / "two.yaml").write_text(yaml.safe_dump(TINY_NET | {"folds": {"count": 5}}))
    monkeypatch.setattr(loading, "shipped_folder", lambda: shipped)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("KAGGLE_DIGITS_DATA", "")
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    sizes = Sizes(repetitions=2, bank_rows=160, train_images=140, predict_images=50, net_images=64)

    found = benchmark.run(loading.load("one"), "one", None, Reporter(Console(file=output)), sizes)

    # Estimates are for the competition's files, which take longer to read too.
    assert found.rows == (42_000, 28_000)
    seconds = found.estimates["two"]["data and bank"]
    assert seconds > median(found.csv[benchmark.CSV_COLD]) * 70_000 / 1797
    assert list(found.csv) == [
        "train.csv, cold",
        "train.csv and test.csv, cold",
        "train.csv, from cache",
        "train.csv and test.csv, from cache",
    ]
    assert {stage: list(rows) for stage, rows in found.speeds.items()} == {
        benchmark.BANK: [benchmark.BANK_ROW],
        "training": [
            baselines.KIT,
            baselines.BARE,
            baselines.DEOTTE_SINGLE,
            baselines.DEOTTE_64,
            baselines.DEOTTE_128,
        ],
        "prediction": [baselines.KIT, baselines.BARE, baselines.DEOTTE],
    }
    series = [*found.csv.values(), *(s for rows in found.speeds.values() for s in rows.values())]
    assert all(len(values) == 2 and min(values) > 0 for values in series)
    assert set(found.estimates) == {"one", "two"}
    text = output.getvalue()
    measured = [line for line in text.splitlines() if line.startswith("a short fit of")]
    assert measured == ["a short fit of one, member a"]  # b and config two have the same net
    [speed] = {*found.nets["one"].values(), *found.nets["two"].values()}
    assert min(speed.over_deotte, speed.of_convolutions, speed.overhead) > 0
    for part in ("one, member a", "demo data", backend.name(), "numpy", "memory: ", "kit / this"):
        assert part in text
    assert list(temporary.iterdir()) == []
