"""Config -> `keras.Model`: the family of deep batch-norm CNNs, written with `keras` alone.

What costs time on a CPU is not the convolutions but batch norm, ReLU and Dropout on large maps.
So by default the first convolution halves the map, pooling comes before normalising, and Dropout
is in the head only.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import keras
import numpy as np
from keras import layers

from kaggle_digits.config.schema import Model
from kaggle_digits.config.train_section import FLOAT32, Precision
from kaggle_digits.results.run_report import Layer, NetSummary
from kaggle_digits.training.backend import fused_batch_norm
from kaggle_digits.training.deslant import deslanted

LAST_LAYER = "logits"
# Keras's policies: weights are float32, inputs and outputs of a layer are what they are named for.
POLICIES = {FLOAT32: FLOAT32, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


class FusedBatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on the backend's fused kernel, where it has one.

    Same weights, same formula, about half the time on a CPU. Only used while training: exported
    models hold the stock layer (see `build`).
    """

    def call(self, inputs, training=None, mask=None):
        """Normalise; in training also move the running mean and variance."""
        if training and self.trainable and mask is None:
            fused = fused_batch_norm(inputs, self.gamma, self.beta, self.epsilon)
            if fused is not None:
                outputs, mean, variance = fused
                for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                    moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
                return outputs
        return super().call(inputs, training=training, mask=mask)


def _seeds(seed: int) -> Iterator[int]:
    """Draw one 31-bit seed after the other; layers further down do not change those above."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def build(
    config: Model, seed: int, fused: bool = False, precision: Precision = FLOAT32
) -> keras.Model:
    """Build a net with fresh weights.

    Args:
        config: the `model` section.
        seed: start of the weights' and Dropout's random numbers.
        fused: use the faster batch norm; its weights fit the stock one in the same order, so that a
            saved model needs nothing but Keras to be loaded.
        precision: what the large maps are computed in. All weights are float32, and so is what is
            small and loses by rounding: statistics, means over a map, Dropout's rates, logits.

    Returns:
        A model from (n, 28, 28) uint8 pixels to (n, 10) float32 logits.

    Residual blocks are those of K. He et al. (2016), Deep residual learning for image recognition:
    batch norm, then the sum, then ReLU. Squeeze-and-excitation is that of J. Hu et al. (2018): in a
    residual block it scales the branch before the sum.
    """
    batch_norm = FusedBatchNormalization if fused else layers.BatchNormalization
    low = POLICIES[precision]
    initializer = {
        "he_normal": keras.initializers.HeNormal,
        "he_uniform": keras.initializers.HeUniform,
        "glorot_uniform": keras.initializers.GlorotUniform,
    }[config.initializer]
    seeds = _seeds(seed)

    def norm(name: str, dtype: str = low) -> layers.Layer:
        return batch_norm(
            momentum=config.norm_momentum,
            epsilon=config.norm_epsilon,
            dtype=dtype,
            name=f"{name}_norm",
        )

    def activated(
        x: keras.KerasTensor,
        name: str,
        pool: bool = False,
        join: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
    ) -> keras.KerasTensor:
        """Add what follows a convolution or a hidden layer, in the config's order.

        `join` ends a residual block. It comes right before the ReLU, and pooling after it: maps of
        one size are added.
        """
        relu = layers.ReLU(dtype=low, name=f"{name}_relu")
        follow = [join, relu] if join else [relu]
        if config.norm != "none":
            follow.insert(0 if config.norm == "before" else len(follow), norm(name))
        if pool:
            early = follow.index(join) + 1 if join else 0
            place = early if config.pool_place == "early" else len(follow)
            follow.insert(place, layers.MaxPooling2D(2, dtype=low, name=f"{name}_pool"))
        for layer in follow:
            x = layer(x)
        return x

    def squeezed(x: keras.KerasTensor, ratio: int, name: str) -> keras.KerasTensor:
        """Scale channels by weights that follow from the means of all of them; ratio 0: do not."""
        if not ratio:
            return x
        channels = x.shape[-1]
        weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
        for width, activation, part in (
            (max(1, channels // ratio), "relu", "reduce"),
            (channels, "sigmoid", "excite"),
        ):
            weights = layers.Dense(
                width,
                activation=activation,
                use_bias=False,
                kernel_initializer=initializer(seed=next(seeds)),
                name=f"{name}_{part}",
            )(weights)
        return layers.Multiply(dtype=low, name=f"{name}_scale")([x, weights])

    def joined(
        branch: keras.KerasTensor, bypass: keras.KerasTensor, ratio: int, name: str
    ) -> keras.KerasTensor:
        return layers.Add(dtype=low, name=f"{name}_sum")([bypass, squeezed(branch, ratio, name)])

    def dropout(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
        return layers.Dropout(rate, seed=next(seeds), name=f"{name}_dropout")(x)

    inputs = keras.Input((28, 28), dtype="uint8", name="pixels")
    x = inputs
    if config.deslant:
        # A model in itself, so that it has a name among the layers.
        pixels = keras.Input((28, 28), dtype="uint8")
        x = keras.Model(pixels, deslanted(pixels), name="deslant")(x)
    scaling = {"unit": (1 / 255, 0.0), "symmetric": (2 / 255, -1.0)}[config.input]
    x = layers.Rescaling(*scaling, name="rescale")(x)
    x = layers.Reshape((28, 28, 1), name="channel")(x)
    for number, stage in enumerate(config.stages, 1):
        join = None
        for position in range(1, stage.depth + 1):
            name = f"stage{number}_{position}"
            if stage.residual and position == 2:
                join = partial(joined, bypass=x, ratio=stage.squeeze, name=f"stage{number}")
            x = layers.Conv2D(
                stage.width,
                stage.kernel,
                strides=stage.stride if position == 1 else 1,
                padding=stage.padding,
                use_bias=config.bias,
                kernel_initializer=initializer(seed=next(seeds)),
                kernel_regularizer=keras.regularizers.L2(config.l2) if config.l2 else None,
                dtype=low,
                name=f"{name}_conv",
            )(x)
            pool = (stage.pool, position) in (("first", 1), ("last", stage.depth))
            x = activated(x, name, pool, join if position == stage.depth else None)
        if join is None:
            x = squeezed(x, stage.squeeze, f"stage{number}")
        if stage.dropout:
            x = dropout(x, stage.dropout, f"stage{number}")
    head, dtype = {
        "flatten": (layers.Flatten, low),
        "average": (layers.GlobalAveragePooling2D, FLOAT32),
        "max": (layers.GlobalMaxPooling2D, low),
    }[config.pooling]
    x = head(dtype=dtype, name="head")(x)
    drops_before = config.dropout_place == "before"
    for number, width in enumerate(config.dense, 1):
        name = f"dense{number}"
        if drops_before:
            x = dropout(x, config.dropout, name)
        x = layers.Dense(
            width,
            use_bias=config.bias,
            kernel_initializer=initializer(seed=next(seeds)),
            dtype=low,
            name=name,
        )(x)
        x = activated(x, name)
        if not drops_before:
            x = dropout(x, config.dropout, name)
    if drops_before:
        x = dropout(x, config.dropout, "logits")
    outputs = layers.Dense(
        10,
        use_bias=not config.logits_norm,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        dtype=FLOAT32,
        name=LAST_LAYER,
    )(x)
    if config.logits_norm:
        outputs = norm("logits", FLOAT32)(outputs)
    return keras.Model(inputs, outputs, name="digits_cnn")


def cost(model: keras.Model) -> tuple[int, int]:
    """Count what a net costs.

    Args:
        model: built by `build`.

    Returns:
        (parameters; floating-point operations of one image's forward pass through convolutions and
        dense layers, which are nearly all, a multiplication and an addition counted as two).
    """
    flops = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Dense):
            places = math.prod(layer.output.shape[1:-1])
            flops += 2 * places * math.prod(layer.kernel.shape)
    return model.count_params(), flops


def summary(model: keras.Model) -> NetSummary:
    """Describe a net, layer by layer.

    Args:
        model: built by `build`.
    """
    found = tuple(
        Layer(
            name=layer.name,
            kind=type(layer).__name__,
            output=tuple(layer.output.shape[1:]),
            parameters=layer.count_params(),
        )
        for layer in model.layers
    )
    return NetSummary(found, *cost(model))
