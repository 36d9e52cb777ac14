import subprocess
import sys

import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model, Stage
from kaggle_digits.training import backend, models
from kaggle_digits.training.digit_shape import SCALES, WIDTH, normalized


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


def as_array(images, normalize):
    return keras.ops.convert_to_numpy(normalized(images, normalize))


def spread(image):
    """Return (x, y, standard deviation of x, covariance) of the ink's places."""
    y, x = np.mgrid[:28, :28]
    weights = image / image.sum()
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    deviation = np.sqrt((weights * (x - mean_x) ** 2).sum())
    return mean_x, mean_y, deviation, (weights * (x - mean_x) * (y - mean_y)).sum()


def slanted_bar():
    """A bar of three pixels, a pixel further right in each row, centred at (14, 13)."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(9, 18):
        image[row, row : row + 3] = 200
    return image


def test_slanted_bar_is_set_upright():
    [upright] = as_array(slanted_bar()[None], "slant")
    expected = np.zeros((28, 28), np.float32)
    expected[9:18, 13:16] = 200  # each row moved to where the middle one is
    np.testing.assert_allclose(upright, expected, atol=1e-2)


def test_half_a_pixel_is_interpolated():
    # Two rows, a pixel each, one pixel apart: each moves by half a pixel.
    image = np.zeros((28, 28), np.uint8)
    image[10, 10] = image[11, 11] = 100
    [upright] = as_array(image[None], "slant")
    assert upright[10:12, 10:12] == pytest.approx(np.full((2, 2), 50), abs=1e-2)
    assert upright.sum() == pytest.approx(200, abs=1e-1)


def test_wide_bar_is_narrowed_about_its_centre():
    image = np.zeros((28, 28), np.uint8)
    image[10:18, 4:24] = 250  # standard deviation sqrt((20^2 - 1) / 12) = 5.77
    [narrow] = as_array(image[None], "width")
    x, y, deviation, _ = spread(narrow)
    assert (x, y) == pytest.approx((13.5, 13.5), abs=1e-3)
    assert deviation == pytest.approx(WIDTH, abs=0.1)


def test_thin_stroke_is_not_widened_beyond_a_limit():
    image = np.zeros((28, 28), np.uint8)
    image[5:23, 13:15] = 250  # standard deviation 0.5
    [wide] = as_array(image[None], "width")
    # Two pixels, 1 / 0.4 times as wide, with interpolated borders.
    assert wide[14].sum() / 250 == pytest.approx(2 / SCALES[0], rel=0.1)


def test_both_sets_upright_and_scales():
    [both] = as_array(slanted_bar()[None], "both")
    x, y, deviation, covariance = spread(both)
    assert (x, y) == pytest.approx((14, 13), abs=1e-2)
    assert covariance == pytest.approx(0, abs=1e-2)
    assert deviation > 1.5  # of the upright bar 0.8


def test_empty_image_stays_empty():
    empty = np.zeros((2, 28, 28), np.uint8)
    for normalize in ("slant", "width", "both"):
        assert not as_array(empty, normalize).any()


def test_moved_image_is_normalised_alike():
    # `test_shift` looks at moved copies: the centre of mass stays, so a move stays a move.
    image = slanted_bar()
    [here, there] = as_array(np.stack([image, np.roll(image, (2, -3), (0, 1))]), "both")
    np.testing.assert_allclose(np.roll(here, (2, -3), (0, 1)), there, atol=0.05)


def test_none_leaves_images_as_they_are():
    images = np.zeros((2, 28, 28), np.uint8)
    assert normalized(images, "none") is images


def test_net_normalises_before_it_scales():
    config = Model(stages=(Stage(width=1, kernel=1),), dropout=0.0, normalize="slant")
    model = models.build(config, seed=1)
    scaled = keras.Model(model.input, model.get_layer("rescale").output)
    [found] = keras.ops.convert_to_numpy(scaled(slanted_bar()[None]))
    assert found.max() == pytest.approx(200 / 255, abs=1e-3)
    assert found[9, 13:16] == pytest.approx(200 / 255, abs=1e-3)
    assert model.count_params() == models.build(Model(stages=config.stages), 1).count_params()


def test_stock_keras_loads_a_net_that_normalises(tmp_path):
    config = Model(stages=(Stage(width=2, kernel=5, stride=2),), dropout=0.0, normalize="both")
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
