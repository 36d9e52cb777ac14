"""Which format is at a place, and that every one of them has all that it needs."""

from typing import get_args

import numpy as np
import pytest
from drawn import images, write

from kaggle_digits.data import image_folder, numpy_file, other_formats
from kaggle_digits.errors import UserError


def test_numpy_files(tmp_path):
    both, one, alone = (tmp_path / name for name in ("both.npz", "one.npz", "alone.npy"))
    np.savez(both, x_train=images(1), y_train=[1], x_test=images(1))
    np.savez(one, images=images(1), labels=[1])
    np.save(alone, images(1))
    assert other_formats.find(both) == ("numpy", both, both)
    assert other_formats.find(one) == ("numpy", one, None)
    assert other_formats.find(alone) == ("numpy", None, alone)


def test_image_folders(tmp_path):
    write(tmp_path / "train" / "1" / "a.png", images(1)[0])
    assert other_formats.find(tmp_path) == ("images", tmp_path / "train", None)


def test_nothing_of_the_kind(tmp_path):
    (tmp_path / "train.csv").write_text("label")
    assert other_formats.find(tmp_path) is None
    assert other_formats.find(tmp_path / "train.csv") is None
    assert other_formats.find(tmp_path / "absent.npz") is None


def test_what_looks_like_one_but_is_damaged_is_an_error(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"a\.npz: expected a NumPy file"):
        other_formats.find(tmp_path / "a.npz")


@pytest.mark.parametrize("format", get_args(other_formats.Format))
def test_every_format_is_complete(format):
    reader = other_formats.reader(format)
    assert reader in (numpy_file, image_folder)
    assert reader.VERSION >= 1
    assert other_formats.LAYOUTS[format] == reader.LAYOUT
    assert other_formats.NOT_FOR_UPLOAD[format].startswith("trained on ")
