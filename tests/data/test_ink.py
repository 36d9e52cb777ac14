import numpy as np
import pytest

from kaggle_digits.data import ink

RNG = np.random.default_rng(3)


def page(height=200, width=300, light=200):
    return np.full((height, width), light, np.uint8)


@pytest.mark.parametrize("is_dark", [True, False])
def test_polarity_and_contrast(is_dark):
    grey = page()
    grey[50:150, 100:112] = 50  # a quarter of the paper's grey
    contrast = ink.contrast(grey if is_dark else 255 - grey)
    assert ink.ink_is_dark(grey if is_dark else 255 - grey) is is_dark
    assert contrast.dtype == np.float32
    np.testing.assert_allclose(contrast[60:140, 103:109], 0.75, atol=0.01)
    assert contrast[:40].max() < 0.01


def test_light_that_falls_off_makes_no_ink():
    light = np.linspace(1, 0.3, 300)
    grey = page() * light
    grey[50:150, 40:50] *= 0.3
    grey[50:150, 250:260] *= 0.3
    mask = ink.mask_of(ink.contrast(grey.astype(np.uint8)))
    columns = np.flatnonzero(mask.any(axis=0))
    assert set(columns) <= {*range(39, 51), *range(249, 261)}
    assert mask[60:140, 42:48].all()
    assert mask[60:140, 252:258].all()


def test_an_empty_page_has_no_ink():
    assert not ink.mask_of(ink.contrast(page())).any()
    noisy = np.clip(RNG.normal(200, 12, (200, 300)), 0, 255).astype(np.uint8)
    assert not ink.mask_of(ink.contrast(noisy)).any()


def test_a_stroke_goes_on_where_it_is_faint():
    grey = page()
    grey[40:90, 100:110] = 40
    grey[90:140, 100:110] = 140  # a third of that contrast, connected
    grey[40:140, 200:210] = 140  # as faint, and connected with nothing
    mask = ink.mask_of(ink.contrast(grey))
    assert mask[45:135, 103:107].all()
    assert not mask[:, 190:220].any()


def test_printed_lines_are_no_ink_and_strokes_across_them_are():
    mask = np.zeros((600, 800), bool)
    mask[100:102] = True
    mask[:, 300:302] = True
    mask[40:160, 500:512] = True  # across the level line
    printed = ink.ruling(mask)
    left = mask & ~printed
    assert left[40:160, 500:512].all()
    assert left.sum() <= 120 * 12 + 16  # and where both lines cross


def test_a_long_thick_stroke_is_no_printed_line():
    mask = np.zeros((600, 800), bool)
    mask[100:112, 50:750] = True
    assert not ink.ruling(mask).any()


def test_a_table_around_the_sheet_is_no_ink():
    grey = np.full((400, 400), 50, np.uint8)
    grey[60:340, 60:340] = 210
    grey[150:250, 190:202] = 60
    mask = ink.mask_of(ink.contrast(grey))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((150, 249), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((190, 201), abs=1)
