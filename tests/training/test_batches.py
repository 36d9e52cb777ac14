import numpy as np
import pytest

from kaggle_digits.config.schema import Augment, MemberSettings, Model, Train
from kaggle_digits.training import batches as batches_module
from kaggle_digits.training.batches import Batches, TrainingData, cut_out, mixed, moved, thickened

ROWS = 44
TRAINING = np.arange(4, ROWS)  # the first four are held out
LABELS = np.arange(ROWS) % 10


def make_pixels(seed=1):
    return np.random.default_rng(seed).integers(0, 256, (ROWS, 28, 28), np.uint8)


def make_batches(images=make_pixels, seed=5, mixup=0.0, row_fraction=1.0, stroke=0.0, **augment):
    train = Train(batch_size=10, mixup=mixup, row_fraction=row_fraction)
    settings = MemberSettings(model=Model(), train=train, augment=Augment(stroke=stroke, **augment))
    return Batches(TrainingData(images, LABELS, TRAINING, make_pixels(99)), settings, seed)


def epoch_of(batches, epoch):
    """The images and targets of an epoch, in its order."""
    batches.begin(epoch)
    parts = zip(*map(batches.__getitem__, range(len(batches))), strict=True)
    return [np.concatenate(part) for part in parts]


def test_each_epoch_sees_every_row_once_in_an_order_of_its_own():
    batches, orders = make_batches(), []
    for epoch in range(2):
        pixels, targets = epoch_of(batches, epoch)
        variant = make_pixels(epoch)
        orders.append([int(np.flatnonzero((variant == p).all(axis=(1, 2))).item()) for p in pixels])
        assert sorted(orders[-1]) == TRAINING.tolist()
        assert targets.argmax(axis=1).tolist() == LABELS[orders[-1]].tolist()
        assert (targets.sum(axis=1) == 1).all()
    assert orders[0] != orders[1]


# Short epochs


def rows_of(batches, epoch):
    """The rows of an epoch in their order, found by their pixels."""
    pixels = epoch_of(batches, epoch)[0]
    variant = make_pixels(epoch)
    return [int(np.flatnonzero((variant == p).all(axis=(1, 2))).item()) for p in pixels]


def test_short_epochs_see_all_rows_once_and_then_the_hard_ones_more_often():
    batches = make_batches(row_fraction=0.5)
    assert (len(batches), batches.size, batches.images) == (2, 10, 20)
    assert batches.losses.shape == (40,)
    hard, seen = TRAINING[5:15], []
    for epoch in range(6):
        rows = rows_of(batches, epoch)
        assert len(set(rows)) == 20
        seen.append(rows)
        batches.remember(np.float32([2.0 if row in hard else 0.1 for row in rows]))
    assert sorted(seen[0] + seen[1]) == TRAINING.tolist()
    assert all(set(hard) <= set(rows) for rows in seen[2:])
    # Losses are those of their rows, whatever the order was.
    assert batches.losses == pytest.approx([2.0 if row in hard else 0.1 for row in TRAINING])
    # The order is not that of their losses.
    assert set(seen[2][:10]) != set(hard)


def test_rows_of_a_short_epoch_follow_from_losses_seed_and_epoch():
    one, same, other = (make_batches(row_fraction=0.5, seed=seed) for seed in (5, 5, 6))
    for batches in (one, same, other):
        batches.losses[:] = np.linspace(0, 1, 40)
    assert rows_of(one, 3) == rows_of(same, 3)
    assert set(rows_of(one, 3)) != set(rows_of(one, 4))
    assert set(rows_of(one, 3)) != set(rows_of(other, 3))


def test_rows_that_fill_no_batch_of_a_short_epoch_stay_new():
    batches = make_batches(row_fraction=0.65)  # 26 rows, 2 batches
    rows = rows_of(batches, 0)
    batches.remember(np.ones(20, np.float32))
    assert np.flatnonzero(~np.isnan(batches.losses)).tolist() == sorted(
        TRAINING.tolist().index(row) for row in rows
    )


def test_whole_epochs_remember_nothing():
    assert make_batches().losses.shape == (0,)


# Moves


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        ((0, 0), [[1, 2, 3], [4, 5, 6]]),
        ((1, 0), [[0, 0, 0], [1, 2, 3]]),
        ((0, -1), [[2, 3, 0], [5, 6, 0]]),
        ((-1, 2), [[0, 0, 4], [0, 0, 0]]),
        ((-2, -2), [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_moved_by_hand(move, expected):
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    images, moves = np.stack([image, image]), np.array([move, (0, 0)])
    found = moved(images, moves, 2)
    assert found.dtype == np.uint8
    assert found.tolist() == [expected, image.tolist()]


def moves_of(batches, epoch):
    """How a single bright pixel in the middle of each image is moved."""
    pixels = epoch_of(batches, epoch)[0]
    assert (np.count_nonzero(pixels, axis=(1, 2)) == 1).all()
    return np.argwhere(pixels)[:, 1:] - 14


def bright_pixels(epoch):
    pixels = np.zeros((ROWS, 28, 28), np.uint8)
    pixels[:, 14, 14] = 255
    return pixels


def test_each_image_of_an_epoch_is_moved_by_itself():
    batches = make_batches(bright_pixels, shift=2)
    first, second = moves_of(batches, 0), moves_of(batches, 1)
    for moves in (first, second):
        assert {*moves[:, 0]} == {*moves[:, 1]} == {-2, -1, 0, 1, 2}
        assert len({*map(tuple, moves)}) > 10
    assert (first != second).any()
    # They follow from the seed and the epoch, whatever was before.
    assert (moves_of(make_batches(bright_pixels, shift=2), 1) == second).all()
    assert (moves_of(make_batches(bright_pixels, seed=6, shift=2), 1) != second).any()


def test_moves_leave_the_order_as_it_is():
    plain, shifted = epoch_of(make_batches(), 0), epoch_of(make_batches(shift=1), 0)
    assert (plain[1] == shifted[1]).all()
    stay = [(a == b).all() for a, b in zip(plain[0], shifted[0], strict=True)]
    assert 0 < np.sum(stay) < 15  # a ninth of 40 is not moved


# Strokes


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, [[0, 100, 0], [20, 200, 0], [0, 60, 0]]),
        # The largest of each pixel and its four neighbours, and half way there.
        (1, [[100, 200, 100], [200, 200, 200], [60, 200, 60]]),
        (0.5, [[50, 150, 50], [110, 200, 100], [30, 130, 30]]),
        # The smallest, with background around the image.
        (-1, [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        (-0.25, [[0, 75, 0], [15, 150, 0], [0, 45, 0]]),
    ],
)
def test_thickened_by_hand(amount, expected):
    image = np.array([[0, 100, 0], [20, 200, 0], [0, 60, 0]], np.uint8)
    found = thickened(np.stack([image, image]), np.array([amount, 0]))
    assert found.dtype == np.uint8
    assert found.tolist() == [expected, image.tolist()]


def strokes_of(batches, epoch):
    """How much thicker each image is, from what its only pixel has become and its neighbours."""
    pixels = epoch_of(batches, epoch)[0].astype(int)
    return (pixels[:, 14, 13] - (255 - pixels[:, 14, 14])) / 255


def test_each_image_of_an_epoch_has_strokes_of_its_own():
    batches = make_batches(bright_pixels, stroke=0.6)
    first, second = strokes_of(batches, 0), strokes_of(batches, 1)
    for strokes in (first, second):
        assert len({*strokes}) > 30
        assert -0.6 <= strokes.min() < -0.4
        assert 0.4 < strokes.max() <= 0.6
    assert (first != second).any()
    assert (strokes_of(make_batches(bright_pixels, stroke=0.6), 1) == second).all()
    assert (strokes_of(make_batches(bright_pixels, seed=6, stroke=0.6), 1) != second).any()


def test_strokes_leave_the_order_and_the_moves_as_they_are():
    plain, thick = (make_batches(bright_pixels, shift=2, **more) for more in ({}, {"stroke": 0.4}))
    moves = moves_of(plain, 1)
    images, targets = epoch_of(thick, 1)
    assert (epoch_of(plain, 1)[1] == targets).all()
    # The brightest pixel of each image is still where it was moved to.
    brightest = images.reshape(len(images), -1).argmax(axis=1)
    assert (np.stack(np.divmod(brightest, 28), axis=1) - 14 == moves).all()


# Cutouts


def test_cut_out_by_hand():
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], np.uint8)
    found = cut_out(np.stack([image, image]), np.array([(0, 1), (1, 2)]), 2)
    assert found.dtype == np.uint8
    assert found[0].tolist() == [[1, 0, 0, 4], [5, 0, 0, 8], [9, 10, 11, 12]]
    assert found[1].tolist() == [[1, 2, 3, 4], [5, 6, 0, 0], [9, 10, 0, 0]]


def white_pixels(epoch):
    return np.full((ROWS, 28, 28), 255, np.uint8)


def corners_of(batches, epoch):
    """Where the square of each white image begins; there is one of 10 by 10, all else is white."""
    black = epoch_of(batches, epoch)[0] == 0
    assert (black.sum(axis=(1, 2)) == 10 * 10).all()
    corners = np.stack([black.any(axis=2).argmax(axis=1), black.any(axis=1).argmax(axis=1)], axis=1)
    assert all(b[r : r + 10, c : c + 10].all() for b, (r, c) in zip(black, corners, strict=True))
    return corners


def test_each_image_of_an_epoch_loses_a_square_in_its_middle():
    batches = make_batches(white_pixels, cutout=10)
    first, second = corners_of(batches, 0), corners_of(batches, 1)
    for corners in (first, second):
        assert {*corners.ravel()} == {*range(4, 15)}  # 4 + 10 to 14 + 10 = 24
        assert len({*map(tuple, corners)}) > 20
    assert (first != second).any()
    assert (corners_of(make_batches(white_pixels, cutout=10), 1) == second).all()
    assert (corners_of(make_batches(white_pixels, seed=6, cutout=10), 1) != second).any()


def test_cutouts_leave_the_order_and_the_strokes_as_they_are():
    plain, cut = (make_batches(stroke=0.6, **more) for more in ({}, {"cutout": 4}))
    (images, targets), (left, same) = epoch_of(plain, 1), epoch_of(cut, 1)
    assert (targets == same).all()
    differ = (images != left).sum(axis=(1, 2))
    assert (left[images != left] == 0).all()
    assert differ.max() <= 16
    assert differ.min() >= 8  # of 16 pixels; the others were black before


# Clean epochs


def test_in_the_last_epochs_about_half_of_the_images_are_as_they_came():
    more = {"shift": 2, "stroke": 0.6, "cutout": 4, "clean_epochs": 2}  # of 10
    batches, without = make_batches(**more), make_batches(**{**more, "clean_epochs": 0})
    clean, seen = make_pixels(99), []
    for epoch in (7, 8, 9):
        (images, targets), (changed, same) = epoch_of(batches, epoch), epoch_of(without, epoch)
        assert (targets == same).all()
        found = (images[:, None] == clean).all(axis=(2, 3))  # image by row
        is_clean = found.any(axis=1)
        assert (targets[is_clean].argmax(axis=1) == LABELS[found[is_clean].argmax(axis=1)]).all()
        assert (images[~is_clean] == changed[~is_clean]).all()
        seen.append(is_clean)
    assert not seen[0].any()
    assert all(10 < is_clean.sum() < 30 for is_clean in seen[1:])
    assert (seen[1] != seen[2]).any()
    assert (epoch_of(make_batches(**more), 9)[0] == images).all()
    images = epoch_of(make_batches(seed=6, **more), 8)[0]
    other = (images[:, None] == clean).all(axis=(2, 3)).any(axis=1)
    assert (other != seen[1]).any()


def test_clean_images_of_short_epochs_and_mixed_ones():
    short = make_batches(row_fraction=0.5, clean_epochs=1)
    images = epoch_of(short, 9)[0]
    assert len(images) == 20
    assert 0 < np.sum((images[:, None] == make_pixels(99)).all(axis=(2, 3))) < 20
    # They are mixed like all others.
    blended = epoch_of(make_batches(mixup=0.4, clean_epochs=1), 9)[0]
    assert not (blended[:, None] == make_pixels(99)).all(axis=(2, 3)).any()


# Mixing


def test_mixed_by_hand():
    values = np.array([[0, 100], [200, 10], [40, 255]], np.uint8)
    found = mixed(values, 0.75)
    assert found.dtype == np.float32
    # The first with the last, the others with the one before.
    assert found.tolist() == [[10.0, 138.75], [150.0, 32.5], [80.0, 193.75]]
    assert mixed(values, 1.0).tolist() == values.tolist()


def test_images_and_labels_of_a_batch_are_mixed_alike():
    plain, batches = epoch_of(make_batches(shift=1), 1), make_batches(mixup=0.5, shift=1)
    found, repeated = epoch_of(batches, 1), epoch_of(make_batches(mixup=0.5, shift=1), 1)
    shares = []
    for batch in range(4):
        pixels, targets, mixed_pixels, mixed_targets = (
            values[10 * batch : 10 * batch + 10] for values in (*plain, *found)
        )
        before = np.arange(-1, 9)
        own = targets.argmax(axis=1)
        row = int(np.flatnonzero(own != own[before])[0])
        share = mixed_targets[row, own[row]]
        expected = share * targets + (1 - share) * targets[before]
        np.testing.assert_allclose(mixed_targets, expected, atol=1e-6)
        np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, rtol=1e-6)
        between = share * pixels + (1 - share) * pixels[before]
        assert np.abs(mixed_pixels - between).max() < 0.5001
        shares.append(share)
    assert len(set(shares)) == 4
    assert found[0].dtype == np.uint8
    assert all((one == other).all() for one, other in zip(found, repeated, strict=True))


def test_images_are_changed_alike_in_chunks_of_any_size(monkeypatch):
    more = {"shift": 2, "stroke": 0.6, "cutout": 4, "clean_epochs": 2}  # of 10
    for epoch in (0, 9):
        whole, _ = epoch_of(make_batches(**more), epoch)
        with monkeypatch.context() as patch:
            patch.setattr(batches_module, "CHUNK", 7)
            in_chunks, _ = epoch_of(make_batches(**more), epoch)
        np.testing.assert_array_equal(in_chunks, whole)
