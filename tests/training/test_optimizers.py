import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model, Stage, Train
from kaggle_digits.training import backend, models
from kaggle_digits.training.optimizers import make_optimizer, make_schedule

NET = Model(stages=(Stage(width=3, kernel=5, stride=2, pool="last"),), dense=(4,))


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("warmup_epochs", "rates"),
    [
        # 10 steps up, then 30 down: a third of them is done at step 20.
        (1.0, {0: 0.0, 5: 0.05, 10: 0.1, 20: 0.05 * (1 + np.cos(np.pi / 3)), 25: 0.05, 40: 0.0}),
        (0.5, {0: 0.0, 1: 0.02, 5: 0.1, 40: 0.0}),
        (0.0, {0: 0.1, 20: 0.05, 40: 0.0}),
    ],
)
def test_learning_rate_rises_and_falls(name, warmup_epochs, rates):
    config = Train(optimizer=name, epochs=4, learning_rate=0.1, warmup_epochs=warmup_epochs)
    optimizer = make_optimizer(config, steps_per_epoch=10)
    found = {}
    for step in rates:
        optimizer.iterations.assign(step)
        found[step] = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    assert found == pytest.approx(rates, abs=1e-7)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_leaves_batch_norm_and_biases_alone(name):
    net = models.build(NET, seed=1)
    net.set_weights([np.full_like(weights, 2.0) for weights in net.get_weights()])
    config = Train(
        optimizer=name,
        learning_rate=0.1,
        weight_decay=0.5,
        warmup_epochs=0,
        ema_epochs=0,
        epochs=1000,
    )
    optimizer = make_optimizer(config, steps_per_epoch=1000)
    optimizer.build(net.trainable_variables)
    nothing = [keras.ops.zeros(variable.shape) for variable in net.trainable_variables]
    optimizer.apply(nothing, net.trainable_variables)
    found = {v.path: keras.ops.convert_to_numpy(v).mean() for v in net.trainable_variables}
    # Decoupled: with no gradient, one step takes learning rate times weight decay of each weight.
    assert found == pytest.approx(
        {path: 2 * (1 - 0.1 * 0.5) if path.endswith("kernel") else 2.0 for path in found}
    )
    assert {path.rpartition("/")[2] for path in found} == {"kernel", "gamma", "beta", "bias"}


def test_no_weight_decay():
    for name in ("adamw", "sgd"):
        config = Train(optimizer=name, weight_decay=0, learning_rate=0.1, warmup_epochs=0)
        optimizer = make_optimizer(config, steps_per_epoch=10)
        variable = keras.Variable(np.float32([3.0]), name="kernel")
        optimizer.build([variable])
        optimizer.apply([keras.ops.zeros(1)], [variable])
        assert keras.ops.convert_to_numpy(variable).item() == 3.0


def test_sgd_has_nesterov_momentum():
    config = Train(
        optimizer="sgd", momentum=0.8, learning_rate=0.5, warmup_epochs=0, weight_decay=0, epochs=10
    )
    optimizer = make_optimizer(config, steps_per_epoch=10**6)
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor(np.float32([1.0]))], [variable])
    # The velocity is -0.5; Nesterov steps by 0.8 of it and once more by -0.5.
    assert keras.ops.convert_to_numpy(variable).item() == pytest.approx(1 - 0.4 - 0.5)


@pytest.mark.parametrize(
    ("ema_epochs", "used", "momentum"),
    [(0.5, True, 1 - 1 / 5), (2.0, True, 1 - 1 / 20), (0.1, False, 0.5), (0.0, False, 0.5)],
)
def test_span_of_the_average(ema_epochs, used, momentum):
    optimizer = make_optimizer(Train(ema_epochs=ema_epochs), steps_per_epoch=10)
    assert optimizer.use_ema is used
    assert optimizer.ema_momentum == pytest.approx(momentum)


def weights_and_average(optimizer, gradients):
    """Apply gradients to a weight that is 1; return (its values, their average)."""
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])
    values = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([gradient]))], [variable])
        values.append(keras.ops.convert_to_numpy(variable).item())
    optimizer.finalize_variable_values([variable])
    return values, keras.ops.convert_to_numpy(variable).item()


PLAIN_SGD = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "schedule": "constant"}


@pytest.mark.parametrize("limit", [0.999, 0.22])
def test_average_with_a_warm_up_by_hand(limit):
    config = Train(**PLAIN_SGD, weight_decay=0, ema_momentum=limit, ema_warmup=True)
    values, average = weights_and_average(make_optimizer(config, 10), [1.0, -2.0, 0.5, 3.0])
    expected = values[0]  # the average begins with the weights after the first step
    for steps, value in enumerate(values[1:], 1):
        momentum = min(limit, (1 + steps) / (10 + steps))  # 2/11, 3/12, 4/13
        expected = momentum * expected + (1 - momentum) * value
    assert average == pytest.approx(expected, rel=1e-5)


def test_momentum_of_the_average_takes_the_place_of_its_epochs():
    optimizer = make_optimizer(Train(ema_epochs=0.0, ema_momentum=0.9), steps_per_epoch=10)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)


def test_adam_decays_no_weights():
    config = Train(optimizer="adam", weight_decay=0.5, schedule="constant", learning_rate=0.1)
    values, _ = weights_and_average(make_optimizer(config, 10), [0.0])
    assert values == [1.0]
    # Adam's first step is the learning rate, whatever the gradient.
    values, _ = weights_and_average(make_optimizer(config, 10), [7.0])
    assert values == pytest.approx([0.9], rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "exponential", "plateau"])
def test_a_rate_that_changes_between_epochs_can_be_set(schedule):
    optimizer = make_optimizer(Train(schedule=schedule, learning_rate=0.25), steps_per_epoch=10)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.25
    optimizer.learning_rate = 0.125
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.125


def test_schedule_ends_at_zero_and_stays_there():
    schedule = make_schedule(Train(epochs=2, learning_rate=0.4, warmup_epochs=1.0), 3)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(8)]
    # Three steps up, three down: 0.2 * (1 + cos(pi / 3)) is 0.3.
    assert rates == pytest.approx([0, 0.4 / 3, 0.8 / 3, 0.4, 0.3, 0.1, 0, 0], abs=1e-7)


def test_warmup_that_would_fill_all_epochs_is_capped():
    # A fifth of ten steps rises, eight fall.
    schedule = make_schedule(Train(epochs=1, learning_rate=0.4, warmup_epochs=1.0), 10)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-7)


def test_schedule_of_a_single_step():
    schedule = make_schedule(Train(epochs=1, learning_rate=0.4, warmup_epochs=0.0), 1)
    assert float(keras.ops.convert_to_numpy(schedule(0))) == pytest.approx(0.4)


# Scaling of the loss


def test_float16_scales_the_loss_and_applies_gradients_as_they_are():
    config = Train(**PLAIN_SGD, weight_decay=0, ema_epochs=0, precision="float16")
    optimizer = make_optimizer(config, 10)
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])

    def step(gradient):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([gradient]))], [variable])
        return keras.ops.convert_to_numpy(variable).item()

    scale = float(optimizer.scale_loss(1.0))
    assert scale == 2.0**15
    assert step(0.25 * scale) == 1 - 0.5 * 0.25
    assert step(np.inf) == 1 - 0.5 * 0.25  # the step is left out,
    assert float(optimizer.scale_loss(1.0)) == scale / 2  # and the next one has more room
    assert step(0.25 * scale / 2) == 1 - 2 * 0.5 * 0.25
    assert keras.ops.convert_to_numpy(optimizer.iterations) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_others_scale_no_loss(precision):
    optimizer = make_optimizer(Train(precision=precision), 10)
    assert not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
