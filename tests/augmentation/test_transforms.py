from functools import partial

import albumentations
import numpy as np
import pytest

from kaggle_digits.augmentation import transforms
from kaggle_digits.config.schema import Augment, Elastic, Grid

NEVER = Augment(affine_probability=0, elastic=Elastic(p=0), grid=Grid(p=0))


def draw(images, seed=1, variant=0, config=None):
    return transforms.draw_variant(images, config or Augment(), seed, variant)


@pytest.mark.parametrize("name", ["Affine", "ElasticTransform", "GridDistortion"])
def test_a_misspelt_argument_is_an_error(monkeypatch, name):
    misspelt = partial(getattr(albumentations, name), rotat=3)
    monkeypatch.setattr(albumentations, name, misspelt)
    with pytest.raises(ValueError, match="rotat"):
        transforms.build_transform(Augment(grid=Grid(p=0.5)))


def test_every_setting_arrives_at_its_transform():
    config = Augment(
        rotate=(-1, 2),
        scale=(0.5, 0.75),
        translate=(-0.25, 0.125),
        shear=(-3, 4),
        affine_probability=0.9,
        elastic=Elastic(p=0.8, alpha=7, sigma=6),
        grid=Grid(p=0.7, steps=5, limit=0.2),
    )
    affine, elastic, grid = transforms.build_transform(config).transforms
    assert affine.rotate == (-1, 2)
    assert affine.scale == {"x": (0.5, 0.75), "y": (0.5, 0.75)}
    assert affine.translate_percent == {"x": (-0.25, 0.125), "y": (-0.25, 0.125)}
    assert affine.shear == {"x": (-3, 4), "y": (0, 0)}
    assert not affine.keep_ratio
    assert (elastic.alpha, elastic.sigma) == (7, 6)
    assert (grid.num_steps, grid.distort_limit) == (5, (-0.2, 0.2))
    assert (affine.p, elastic.p, grid.p) == (0.9, 0.8, 0.7)


def test_without_any_transform_images_stay_as_they_are(tiny_images):
    np.testing.assert_array_equal(draw(tiny_images, config=NEVER), tiny_images)


def test_shift_by_hand():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10, 12] = 200
    still = {"rotate": (0, 0), "scale": (1, 1), "shear": (0, 0), "elastic": Elastic(p=0)}
    moved = draw(image, config=Augment(translate=(0.25, 0.25), **still))  # 7 of 28 pixels
    assert np.argwhere(moved).tolist() == [[0, 17, 19]]
    assert moved.max() == 200
    # What leaves the image is gone and background comes in from the other side.
    assert not draw(image, config=Augment(translate=(0.75, 0.75), **still)).any()


def test_images_keep_shape_and_type_and_the_originals_stay(tiny_images):
    before = tiny_images.copy()
    tiny_images.flags.writeable = False  # as the bank's workers get them from the cache
    out = draw(tiny_images)
    assert (out.shape, out.dtype) == ((40, 28, 28), np.uint8)
    np.testing.assert_array_equal(tiny_images, before)
    assert (out != before).any(axis=(1, 2)).all()


def test_bytes_follow_from_seed_and_variant(tiny_images):
    first = draw(tiny_images)
    np.random.seed(99)  # a global stream must have no influence
    np.testing.assert_array_equal(draw(tiny_images), first)
    assert (draw(tiny_images, seed=2) != first).any()
    assert (draw(tiny_images, variant=1) != first).any()
    # Seed 1, variant 2 is not seed 2, variant 1.
    assert (draw(tiny_images, seed=1, variant=2) != draw(tiny_images, seed=2, variant=1)).any()


def test_every_image_gets_random_numbers_of_its_own(tiny_images):
    copies = draw(np.repeat(tiny_images[:1], 40, axis=0))
    assert len(np.unique(copies, axis=0)) == 40


def test_variant_of_the_first_rows_does_not_depend_on_the_rows_after_them(tiny_images):
    assert transforms.CHUNK_ROWS == 1024
    affine_only = Augment(elastic=Elastic(p=0))
    rows = np.resize(tiny_images, (1030, 28, 28))
    whole = draw(rows, config=affine_only)
    np.testing.assert_array_equal(whole[:1024], draw(rows[:1024], config=affine_only))
    # A chunk of its own: the stream starts again and is another one.
    assert (whole[1024:] != draw(rows[1024:], config=affine_only)).any()


def skewness_signs(images):
    """Signs of the third central moments (down, across): shift and zoom leave them alone."""
    signs = []
    for image in images:
        weights = image / image.sum()
        moments = []
        for axis in (1, 0):
            profile = weights.sum(axis=axis)
            offset = np.arange(28) - (np.arange(28) * profile).sum()
            moments.append((offset**3 * profile).sum())
        signs.append(np.sign(moments))
    return np.array(signs)


def test_no_image_is_mirrored():
    corner = np.zeros((28, 28), np.uint8)  # an L upside down: heavy at the top and on the left
    corner[6:9, 6:22] = corner[6:22, 6:9] = 255
    np.testing.assert_array_equal(
        skewness_signs([corner, corner[:, ::-1], corner[::-1]]), [[1, 1], [1, -1], [-1, 1]]
    )
    copies = draw(np.repeat(corner[None], 300, axis=0), config=Augment(grid=Grid(p=0.5)))
    assert (skewness_signs(copies) == 1).all()


def test_key_names_everything_but_what_fits_do_with_variants(monkeypatch):
    key = transforms.transform_key(Augment())
    of_fits = Augment(
        variants=7, variant_order="own", shift=2, stroke=0.5, cutout=4, clean_epochs=2
    )
    assert transforms.transform_key(of_fits) == key
    changes = {
        "rotate": (-1, 1),
        "scale": (1, 1),
        "translate": (0, 0),
        "shear": (0, 0),
        "affine_probability": 0.5,
        "elastic": Elastic(sigma=4),
        "grid": Grid(p=0.2),
    }
    assert set(changes) | Augment.of_fits == set(Augment.model_fields)
    for name, value in changes.items():
        assert transforms.transform_key(Augment(**{name: value})) != key, name
    # Settings of a change that never happens change no image.
    never = {"p": 0.0, "limit": 0.1, "steps": 3}
    assert transforms.transform_key(Augment(grid=Grid(**never))) == key
    assert transforms.transform_key(Augment(grid=Grid(**never | {"p": 0.2}))) != key
    assert key["albumentations"] == albumentations.__version__
    monkeypatch.setattr("cv2.__version__", "0.0.1")
    assert transforms.transform_key(Augment()) == key | {"opencv": "0.0.1"}
