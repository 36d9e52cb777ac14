"""Arrays -> trained nets: models, optimizers, the training loop, fits and how they resume."""
