"""The optimizer of a fit and its learning-rate schedule."""

from __future__ import annotations

import keras

from kaggle_digits.config.schema import Train
from kaggle_digits.training import backend, models


class KernelMuon(keras.optimizers.Muon):
    """Keras's Muon, for the kernels of convolutions too.

    Keras's own updates matrices and leaves kernels with four axes to AdamW. Here these are taken as
    matrices (height * width * inputs, outputs), also for the scale of the update; AdamW has the
    last layer, biases and batch norm.

    Sources: K. Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks;
    J. Liu et al. (2025), Muon is scalable for LLM training, arXiv 2502.16982, for that scale.
    """

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 2 or variable.path.startswith(f"{models.LAST_LAYER}/")

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """Return the nearest orthogonal matrix to a kernel's update, about, in the kernel's shape.

        In each iteration Keras multiplies the matrix X itself by a polynomial of X^T X. The product
        of these polynomials depends on X^T X alone, which is much smaller where X has many more
        rows than columns, as kernels of convolutions have: 0.3 to 0.5 times the operations with
        the shipped nets. It takes a real float32: squares of small singular values are lost in the
        rounding of TensorFloat-32 and bfloat16, which devices other than processors multiply in.

        Args:
            x: a kernel's update, its last axis the outputs.
            steps: number of Newton-Schulz iterations, at least 1.
        """
        matrix = _matrix(x)
        rows, columns = matrix.shape
        if rows < 2 * columns or not backend.multiplies_in_float32():
            return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)
        gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        # So that the matrix's largest singular value is at most 1.
        scale = 1 / (keras.ops.sqrt(keras.ops.trace(gram)) + 1e-7)
        gram *= scale * scale
        identity = keras.ops.eye(columns, dtype=gram.dtype)
        product = None
        for step in range(steps):
            squared = keras.ops.matmul(gram, gram)
            factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * squared
            product = scale * factor if product is None else keras.ops.matmul(factor, product)
            if step < steps - 1:
                gram = keras.ops.matmul(factor, keras.ops.matmul(gram, factor))
        return keras.ops.reshape(keras.ops.matmul(matrix, product), x.shape)

    def lr_adjust(self, x):
        """Scale an update to about the size of AdamW's."""
        return keras.ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return keras.ops.reshape(kernel, (-1, kernel.shape[-1]))


class _WarmingAverage:
    """Makes the average of the weights shorter at first: momentum min(m, (1 + n) / (10 + n)).

    n is the number of steps before this one; the average begins with the weights after the first.
    A mixin for optimizers of Keras, which has a constant momentum. Its own steps count n, so that
    nothing more is in a checkpoint and the graph of a step is the same for all steps.

    Source: S. An et al. (2020), An ensemble of simple convolutional neural network models for MNIST
    digit recognition, arXiv 2008.10400.
    """

    @property
    def ema_momentum(self):
        """The momentum of this step, a scalar tensor."""
        steps = keras.ops.cast(self.iterations, "float32")
        return keras.ops.minimum(self._final_momentum, (1.0 + steps) / (10.0 + steps))

    @ema_momentum.setter
    def ema_momentum(self, momentum: float) -> None:
        self._final_momentum = momentum


def make_optimizer(config: Train, steps_per_epoch: int) -> keras.Optimizer:
    """Make the optimizer with its schedule.

    Args:
        config: the `train` section.
        steps_per_epoch: batches in an epoch.

    Returns:
        AdamW (Loshchilov & Hutter 2019), Adam, SGD with Nesterov momentum, or Muon; weight decay
        is decoupled and leaves batch norm and biases alone. The weights are averaged with
        `ema_momentum`, or else with 1 - 1 / (ema_epochs * steps_per_epoch). In float16, whose
        smallest gradients would be 0, the loss is scaled (Micikevicius et al. 2018, mixed precision
        training): doubled after 2,000 steps, halved at a gradient that is not finite.
    """
    # An average over fewer than two steps is no average, and its momentum would leave [0, 1).
    span = config.ema_epochs * steps_per_epoch
    common = {
        "learning_rate": make_schedule(config, steps_per_epoch),
        "use_ema": config.ema_momentum is not None or span >= 2,
        "ema_momentum": config.ema_momentum or 1 - 1 / max(span, 2),
    }
    kind, options = {
        "adamw": (keras.optimizers.AdamW, {"weight_decay": config.weight_decay}),
        "adam": (keras.optimizers.Adam, {}),
        "sgd": (
            keras.optimizers.SGD,
            {
                "momentum": config.momentum,
                "nesterov": True,
                "weight_decay": config.weight_decay or None,
            },
        ),
        "muon": (
            KernelMuon,
            {
                "momentum": config.momentum,
                "weight_decay": config.weight_decay,
                "adam_weight_decay": config.weight_decay,
            },
        ),
    }[config.optimizer]
    if config.ema_warmup:
        kind = type(kind.__name__, (_WarmingAverage, kind), {})
    optimizer = kind(**options, **common)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    backend.leave_out_replicas(optimizer)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def make_schedule(
    config: Train, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """Make the learning-rate schedule: a linear rise over the warm-up, then a cosine to zero.

    Source: I. Loshchilov, F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts,
    without the restarts.

    Args:
        config: the `train` section; `learning_rate` is the top of the schedule.
        steps_per_epoch: batches in an epoch.

    Returns:
        The schedule by step. Of any other than cosine the first epoch's learning rate: it changes
        between epochs only, see `monitoring.learning_rate`.
    """
    if config.schedule != "cosine":
        return config.learning_rate
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
