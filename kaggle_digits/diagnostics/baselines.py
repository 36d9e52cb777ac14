"""What `bench` compares the kit's training and prediction with: bare Keras and Deotte's net.

Every baseline is traced before it is timed, over as many images as the kit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.augmentation import transforms
from kaggle_digits.config.schema import Augment, Elastic, MemberSettings
from kaggle_digits.config.train_section import Precision
from kaggle_digits.scoring.ensemble import CLASSES

if TYPE_CHECKING:
    import keras

# Rows of the benchmark's table.
KIT = "kaggle-digits, the config's net"
BARE = "bare Keras, the same net, from memory"
DEOTTE_SINGLE = "Deotte's net, one image at a time, batch 64"
DEOTTE_64 = "Deotte's net, from memory, batch 64"
DEOTTE_128 = "Deotte's net, from memory, batch 128"
DEOTTE = "Deotte's net, from memory"

# Rotation 10 degrees, zoom and shift .1, nothing else.
DEOTTE_RANGES = Augment(
    rotate=(-10, 10), scale=(0.9, 1.1), translate=(-0.1, 0.1), shear=(0, 0), elastic=Elastic(p=0)
)

# Forward, the gradient of what comes in and that of the kernels cost alike.
TRAINING_FLOPS = 3

Measure = Callable[[], float]  # measures once; returns how much per second


def seconds_of(work: Callable[[], object]) -> float:
    """Run something and return how many seconds it took."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def training_baselines(
    settings: MemberSettings, images: np.ndarray, labels: np.ndarray, seed: int
) -> dict[str, Measure]:
    """Make the trainings that the kit's is compared with.

    Args:
        settings: of the member whose net is measured.
        images: (n, 28, 28) uint8, the images of an epoch.
        labels: (n,) integers 0..9.
        seed: seed of weights and augmentation.

    Returns:
        Row of the table -> a measure of its training speed.
    """
    import keras

    from kaggle_digits.training import models

    bare = models.build(settings.model, seed, precision=settings.train.precision)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    bare.compile("adam", loss, metrics=["accuracy"])
    scaled, targets = _scaled(images), np.eye(CLASSES, dtype=np.float32)[labels]
    return {
        BARE: _from_memory(bare, images.astype(np.float32), labels, settings.train.batch_size),
        DEOTTE_SINGLE: deotte_one_at_a_time(images, labels, seed),
        DEOTTE_64: _from_memory(deotte_net(), scaled, targets, 64),
        DEOTTE_128: _from_memory(deotte_net(), scaled, targets, 128),
    }


def _from_memory(net: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int) -> Measure:
    whole = len(x) // batch_size * batch_size or len(x)  # as the kit's training
    return _traced(net, whole, x[:whole], y[:whole], batch_size=batch_size)


def deotte_one_at_a_time(images: np.ndarray, labels: np.ndarray, seed: int) -> Measure:
    """Feed Deotte's net as he does: a generator that augments image by image, batches of 64.

    Args:
        images: (n, 28, 28) uint8, the images of an epoch.
        labels: (n,) integers 0..9.
        seed: seed of the augmentation.

    Returns:
        A measure of the training speed, images per second.
    """
    import keras

    transform = transforms.build_transform(DEOTTE_RANGES)
    transform.set_random_seed(seed)
    size = min(64, len(images))
    targets = np.eye(CLASSES, dtype=np.float32)[labels]

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(images) // size

        def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
            rows = slice(step * size, (step + 1) * size)
            batch = [transform(image=image[..., None])["image"][..., 0] for image in images[rows]]
            return _scaled(np.stack(batch)), targets[rows]

    batches = Batches()
    return _traced(deotte_net(), len(batches) * size, batches)


def convolutions_alone(precision: Precision, batch_size: int, images: int) -> Measure:
    """Train convolutions with nothing between them: how fast this machine can be.

    Args:
        precision: what they are computed in.
        batch_size: images a step.
        images: images of an epoch.

    Returns:
        A measure of floating-point operations per second.
    """
    import keras
    from keras import layers, ops

    from kaggle_digits.training import models

    net = keras.Sequential([keras.Input((14, 14, 64))], name="convolutions")
    for _ in range(4):
        net.add(
            layers.Conv2D(64, 3, padding="same", use_bias=False, dtype=models.POLICIES[precision])
        )
    # Nothing is learnt: the gradients are computed as those of any loss.
    net.compile(keras.optimizers.SGD(0.0), loss=lambda wanted, found: ops.mean(found))
    size = min(batch_size, images)
    whole = images // size * size
    maps = np.random.default_rng(0).random((whole, *net.input_shape[1:]), np.float32)
    measure = _traced(net, whole, maps, np.zeros(whole, np.float32), batch_size=size)
    _, flops = models.cost(net)
    # The first of the four layers has no gradient of its input to compute.
    return lambda: (TRAINING_FLOPS - 1 / 4) * flops * measure()


def _traced(net: keras.Model, images: int, *fit_data, **fit_options) -> Measure:
    """Train one step, which traces; return a measure that trains an epoch of that many images."""
    net.fit(*fit_data, **fit_options, steps_per_epoch=1, verbose=0)
    return lambda: images / _epoch_seconds(net, *fit_data, **fit_options)


def _epoch_seconds(net: keras.Model, *fit_data, **fit_options) -> float:
    """Time an epoch from its beginning to its end, as the kit's training does."""
    import keras

    marks = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: marks.append(time.monotonic()),
        on_epoch_end=lambda epoch, logs: marks.append(time.monotonic()),
    )
    net.fit(*fit_data, **fit_options, verbose=0, callbacks=[clock])
    begin, end = marks
    return end - begin


def _scaled(images: np.ndarray) -> np.ndarray:
    """Return (n, 28, 28, 1) float32 in 0..1, the input of Deotte's net."""
    return images[..., None].astype(np.float32) / 255


def deotte_net() -> keras.Model:
    """Build and compile the net of C. Deotte, "25 Million Images! [0.99757] MNIST" (Kaggle).

    Returns:
        A model from (n, 28, 28, 1) float32 in 0..1 to (n, 10) probabilities.
    """
    import keras
    from keras import layers

    net = keras.Sequential([keras.Input((28, 28, 1))], name="deotte")
    for width in (32, 64):
        for kernel, options in ((3, {}), (3, {}), (5, {"strides": 2, "padding": "same"})):
            net.add(layers.Conv2D(width, kernel, activation="relu", **options))
            net.add(layers.BatchNormalization())
        net.add(layers.Dropout(0.4))
    net.add(layers.Conv2D(128, 4, activation="relu"))
    net.add(layers.BatchNormalization())
    net.add(layers.Flatten())
    net.add(layers.Dropout(0.4))
    net.add(layers.Dense(10, activation="softmax"))
    net.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return net


def predictors(settings: MemberSettings, images: np.ndarray, seed: int) -> dict[str, Measure]:
    """Make the predictions that are compared, the kit's among them.

    Args:
        settings: of the member whose net is measured.
        images: (n, 28, 28) uint8.
        seed: seed of the weights.

    Returns:
        Row of the table -> a measure of its prediction speed.
    """
    from kaggle_digits.training import models, train

    net, bare = models.build(settings.model, seed), models.build(settings.model, seed)
    options = {"batch_size": train.PREDICT_BATCH, "verbose": 0}
    calls = {
        KIT: partial(train.predict, net, images),
        BARE: partial(bare.predict, images.astype(np.float32), **options),
        DEOTTE: partial(deotte_net().predict, _scaled(images), **options),
    }
    for call in calls.values():
        call()
    return {row: lambda call=call: len(images) / seconds_of(call) for row, call in calls.items()}
