"""The configs of other systems: what their nets are, layer by layer, counted by hand."""

import keras
import pytest
from typer.testing import CliRunner

from kaggle_digits.cli import app
from kaggle_digits.config import loading
from kaggle_digits.training import models

PEERS = loading.peer_names()


def convolution(kernel, channels, width):
    """Weights and biases."""
    return kernel * kernel * channels * width + width


def dense(inputs, width):
    return inputs * width + width


def norm(width):
    """Scale, offset, moving mean and variance."""
    return 4 * width


def simple_cnn(kernel, widths, side):
    """Neither biases; a batch norm for each convolution and for the logits."""
    channels = (1, *widths)
    weights = sum(kernel**2 * a * b for a, b in zip(channels, widths, strict=False))
    return weights + sum(map(norm, widths)) + side * side * widths[-1] * 10 + norm(10)


M3 = simple_cnn(3, (32, 48, 64, 80, 96, 112, 128, 144, 160, 176), 28 - 10 * 2)
M5 = simple_cnn(5, (32, 64, 96, 128, 160), 28 - 5 * 4)
M7 = simple_cnn(7, (48, 96, 144, 192), 28 - 4 * 6)

# Of each member.
PARAMETERS = {
    "peers/mnist-in-csv": [
        convolution(3, 1, 32)  # 28 -> 26
        + convolution(3, 32, 64)  # 24, pooled 12
        + dense(12 * 12 * 64, 128)
        + dense(128, 10)
    ],
    "peers/basic-cnn": [
        convolution(3, 1, 28)  # 26, pooled 13
        + dense(13 * 13 * 28, 128)
        + dense(128, 10)
    ],
    "peers/deep-bn-cnn": [
        convolution(3, 1, 64)
        + convolution(3, 64, 64)
        + 2 * norm(64)  # 28, pooled 14
        + convolution(3, 64, 128)
        + convolution(3, 128, 128)
        + 2 * norm(128)  # 14, pooled 7
        + convolution(3, 128, 256)
        + norm(256)  # 7, pooled 3
        + dense(3 * 3 * 256, 256)
        + norm(256)
        + dense(256, 128)
        + norm(128)
        + dense(128, 64)
        + norm(64)
        + dense(64, 32)
        + norm(32)
        + dense(32, 10)
    ],
    "peers/five-fold-cnn": [
        convolution(3, 1, 32)  # 26, pooled 13
        + convolution(3, 32, 64)  # 11
        + convolution(3, 64, 64)  # 9, pooled 4
        + dense(4 * 4 * 64, 100)
        + dense(100, 10)
    ],
    "peers/train-test-evaluate": [
        convolution(3, 1, 32)  # 26, pooled 13
        + convolution(3, 32, 64)  # 11, pooled 5
        + dense(5 * 5 * 64, 128)
        + dense(128, 10)
    ],
    "peers/deotte-15": [
        convolution(3, 1, 32)  # 26
        + convolution(3, 32, 32)  # 24
        + convolution(5, 32, 32)  # 12
        + convolution(3, 32, 64)  # 10
        + convolution(3, 64, 64)  # 8
        + convolution(5, 64, 64)  # 4
        + convolution(4, 64, 128)  # 1
        + 3 * norm(32)
        + 3 * norm(64)
        + norm(128)
        + dense(128, 10)
    ],
    "peers/simple-cnn-m3": [M3],
    "peers/simple-cnn-m5": [M5],
    "peers/simple-cnn-m7": [M7],
    "peers/simple-cnn-vote": [M3, M5, M7],
}


def nets(name):
    config = loading.load(name)
    return [models.build(config.member(member).model, seed=1) for member in config.members]


@pytest.mark.parametrize("name", PEERS)
def test_parameters_by_hand(name):
    assert [net.count_params() for net in nets(name)] == PARAMETERS[name]


def kinds(net):
    """The kinds of a net's layers behind its input, with the widths that they have."""
    short = {"BatchNormalization": "BN", "MaxPooling2D": "pool", "Flatten": "flatten"}
    words = []
    for layer in net.layers[3:]:
        kind = short.get(type(layer).__name__, type(layer).__name__)
        if isinstance(layer, keras.layers.Conv2D):
            (size, _), (step, _) = layer.kernel_size, layer.strides
            kind = f"C{layer.filters}k{size}" + (f"s{step}" if step > 1 else "")
            kind += "" if layer.padding == "valid" else "p"
        if isinstance(layer, keras.layers.Dense):
            kind = f"D{layer.units}"
        if isinstance(layer, keras.layers.Dropout):
            kind = f"drop{layer.rate:g}"
        words.append(kind)
    return " ".join(words)


ORDERS = {
    "peers/mnist-in-csv": "C32k3 ReLU C64k3 ReLU pool drop0.25 flatten D128 ReLU drop0.5 D10",
    "peers/basic-cnn": "C28k3 ReLU pool flatten D128 ReLU drop0.2 D10",
    "peers/deep-bn-cnn": "C64k3p ReLU BN C64k3p ReLU BN pool C128k3p ReLU BN C128k3p ReLU BN pool "
    "C256k3p ReLU BN pool drop0.25 flatten D256 ReLU BN drop0.5 D128 ReLU BN drop0.5 "
    "D64 ReLU BN drop0.5 D32 ReLU BN drop0.5 D10",
    "peers/five-fold-cnn": "C32k3 ReLU pool C64k3 ReLU C64k3 ReLU pool flatten drop0 D100 ReLU "
    "drop0 D10",
    "peers/train-test-evaluate": "C32k3 ReLU pool C64k3 ReLU pool flatten D128 ReLU drop0.5 D10",
    "peers/deotte-15": "C32k3 ReLU BN C32k3 ReLU BN C32k5s2p ReLU BN drop0.4 "
    "C64k3 ReLU BN C64k3 ReLU BN C64k5s2p ReLU BN drop0.4 C128k4 ReLU BN flatten drop0.4 D10",
    "peers/simple-cnn-m5": "C32k5 BN ReLU C64k5 BN ReLU C96k5 BN ReLU C128k5 BN ReLU "
    "C160k5 BN ReLU flatten drop0 D10 BN",
}


@pytest.mark.parametrize("name", ORDERS)
def test_layers_in_order(name):
    (net,) = nets(name)
    assert kinds(net) == ORDERS[name]


def test_biases_and_penalties():
    for name in PEERS:
        is_simple = "simple" in name
        for net in nets(name):
            layers = [layer for layer in net.layers if hasattr(layer, "kernel")]
            assert {layer.use_bias for layer in layers} == {not is_simple}
            penalties = [layer.kernel_regularizer for layer in layers]
            convolutions = [isinstance(layer, keras.layers.Conv2D) for layer in layers]
            is_deep = name == "peers/deep-bn-cnn"
            assert [bool(each) for each in penalties] == [is_deep and each for each in convolutions]


# Optimizer, rate, schedule, epochs, batch, held-out rows that are looked at, splits.
TRAINING = {
    "peers/mnist-in-csv": (1e-3, "constant", 12, 128, False, ("holdout", 1)),
    "peers/basic-cnn": (1e-3, "constant", 10, 32, False, ("holdout", 1)),
    "peers/deep-bn-cnn": (1e-4, "plateau", 200, 64, True, ("holdout", 1)),
    "peers/five-fold-cnn": (1e-3, "constant", 10, 32, False, ("kfold", 5)),
    "peers/train-test-evaluate": (1e-3, "constant", 20, 128, True, ("holdout", 1)),
    "peers/deotte-15": (1e-3, "exponential", 45, 64, False, ("holdout", 15)),
    "peers/simple-cnn-m3": (1e-3, "exponential", 150, 120, False, ("holdout", 1)),
    "peers/simple-cnn-m5": (1e-3, "exponential", 150, 120, False, ("holdout", 1)),
    "peers/simple-cnn-m7": (1e-3, "exponential", 150, 120, False, ("holdout", 1)),
    "peers/simple-cnn-vote": (1e-3, "exponential", 150, 120, False, ("holdout", 1)),
}


@pytest.mark.parametrize("name", PEERS)
def test_training(name):
    config = loading.load(name)
    for member in config.members:
        train = config.member(member).train
        assert (train.optimizer, train.label_smoothing) == ("adam", 0)
        found = train.learning_rate, train.schedule, train.epochs, train.batch_size
        splits = config.folds.kind, config.folds.count
        assert (*found, train.picks_on_heldout, splits) == TRAINING[name]
        is_simple = "simple" in name
        assert (train.averages, train.ema_warmup) == (is_simple, is_simple)
        has_norm = config.member(member).model.norm != "none"
        assert not has_norm or train.norm_statistics == "moving"


@pytest.mark.parametrize("name", PEERS)
def test_augmentation(name):
    augment = loading.load(name).augment.canonical()
    ranges = [augment.rotate[1], augment.scale[1], augment.translate[1], augment.shear[1]]
    assert (augment.elastic.p, augment.grid.p) == (0, 0)
    if name in ("peers/deotte-15", "peers/deep-bn-cnn"):
        assert (
            ranges
            == {
                "peers/deotte-15": [10, 1.1, 0.1, 0],
                "peers/deep-bn-cnn": [20, 1.1, 0.05, 0],
            }[name]
        )
    elif "simple" in name:
        assert ranges == [20, 1, 0.2, 0]
    else:
        assert (augment.affine_probability, augment.variants) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_an_epoch_on_demo_data(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAGGLE_DIGITS_DATA", raising=False)
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", str(tmp_path / "cache"))
    options = ["--set", "train.epochs=1", "--set", "augment.variants=1", "--out", "run"]
    done = CliRunner().invoke(app, ["run", "--config", name, *options])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "submission.csv").is_file()
