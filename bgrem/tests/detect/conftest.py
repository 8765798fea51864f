"""What the tests of detection share."""

import numpy as np
import pytest


def blob(shape, y, x, sigma=1.0, height=1.0):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return height * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2))


@pytest.fixture
def scene():
    """
    A star, a faint star, a large galaxy and a blended pair on rms 1.
    """
    shape = (80, 90)
    centers = [(10, 12), (30, 70), (55, 40), (15, 40), (15, 46)]
    source = (
        blob(shape, 10, 12, 2, 50)
        + blob(shape, 30, 70, 2, 0.2)
        + blob(shape, 55, 40, 6, 30)
        + blob(shape, 15, 40, 1.5, 20)
        + blob(shape, 15, 46, 1.5, 15)
    )
    probability = np.zeros(shape)
    for (y, x), height in zip(centers, [0.99, 0.6, 0.98, 0.95, 0.93], strict=True):
        probability = np.maximum(probability, blob(shape, y, x, 1, height))
    return source, probability.astype(np.float32), centers
