"""What metrics are called in plots."""

import pytest

from fusionscope.report.metric_labels import space_name, with_unit

pytestmark = pytest.mark.filterwarnings("error")


def test_barriers_have_names_and_units():
    assert with_unit("loss_barrier") == "test loss barrier (nats)"
    assert with_unit("loss_barrier_above_mean") == "test loss barrier above the mean (nats)"
    assert with_unit("accuracy_barrier") == "test accuracy barrier (%\N{NO-BREAK SPACE}points)"
    assert space_name("connectivity_space") == "connectivity space"
