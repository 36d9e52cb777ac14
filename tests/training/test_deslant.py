import subprocess
import sys

import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model, Stage
from kaggle_digits.training import backend, models
from kaggle_digits.training.deslant import deslanted

POINT = (Stage(width=1, kernel=1),)


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


def upright(*images):
    return keras.ops.convert_to_numpy(deslanted(np.stack(images)))


def slanted_bar():
    """A bar of three pixels, a pixel further right in each row, centred at (14, 13)."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(9, 18):
        image[row, row : row + 3] = 200
    return image


def upright_bar():
    """The same, each row moved to where the middle one is."""
    image = np.zeros((28, 28), np.float32)
    image[9:18, 13:16] = 200
    return image


def test_slanted_bar_is_set_upright():
    for step in (1, -1):  # leaning to either side
        [found] = upright(slanted_bar()[:, ::step])
        np.testing.assert_allclose(found, upright_bar()[:, ::step], atol=1e-2)


def test_half_a_pixel_is_interpolated():
    # Two rows, a pixel each, one pixel apart: each moves by half a pixel.
    image = np.zeros((28, 28), np.uint8)
    image[10, 10] = image[11, 11] = 100
    [found] = upright(image)
    assert found[10:12, 10:12] == pytest.approx(np.full((2, 2), 50), abs=1e-2)
    assert found.sum() == pytest.approx(200, abs=1e-1)


def test_each_image_by_itself_and_none_for_an_empty_one():
    bar, straight, empty = (
        slanted_bar(),
        upright_bar().astype(np.uint8),
        np.zeros((28, 28), "uint8"),
    )
    found = upright(empty, straight, bar)
    assert not found[0].any()
    np.testing.assert_allclose(found[1:], [straight, upright_bar()], atol=1e-2)


def test_dash_stays_a_dash():
    # Its covariance is far larger than its height's variance, but nobody wrote it as a stroke.
    image = np.zeros((28, 28), np.uint8)
    image[14, 4:14] = image[15, 14:24] = 250
    [found] = upright(image)
    assert np.count_nonzero(found.max(axis=0) > 50) >= 18


def test_moved_image_is_set_upright_alike():
    # `test_shift` looks at moved copies: the centre of mass stays, so a move stays a move.
    image = slanted_bar()
    here, there = upright(image, np.roll(image, (2, -3), (0, 1)))
    np.testing.assert_allclose(np.roll(here, (2, -3), (0, 1)), there, atol=0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_net_sets_digits_upright_before_it_scales(precision):
    config = Model(stages=POINT, dropout=0.0, deslant=True)
    model = models.build(config, seed=1, precision=precision)
    scaled = keras.Model(model.input, model.get_layer("rescale").output)
    found = keras.ops.convert_to_numpy(scaled(slanted_bar()[None]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], upright_bar() / 255, atol=1e-4)
    assert "deslant" in [layer.name for layer in models.summary(model).layers]
    assert models.cost(model) == models.cost(models.build(Model(stages=POINT), seed=1))


def test_stock_keras_loads_such_a_net(tmp_path):
    config = Model(
        stages=(Stage(width=2, kernel=5, stride=2),), dropout=0.0, deslant=True, input="symmetric"
    )
    model = models.build(config, seed=1)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 28, 28), np.uint8)
    model.save(tmp_path / "net.keras")
    np.save(tmp_path / "pixels.npy", pixels)
    script = (
        "import keras, numpy as np; net = keras.models.load_model('net.keras'); "
        "np.save('logits.npy', net.predict(np.load('pixels.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, model.predict(pixels, verbose=0), atol=1e-5)
