"""What plots are given."""

import numpy as np

from fusionscope.report.chance import Chance
from fusionscope.report.plot_inputs import read_input


def test_every_table_bears_the_experiment_s_name(tmp_path):
    (tmp_path / "without.csv").write_text("seed,parent\n1,2\n")
    (tmp_path / "with.csv").write_text("experiment,seed\nother,1\n")
    table = read_input("learning_curves", [str(tmp_path / "without.csv")], "mine")
    assert table.to_dict("list") == {"seed": [1], "parent": [2], "experiment": ["mine"]}
    assert list(read_input("measurements", [str(tmp_path / "with.csv")], "mine").experiment) == ["other"]


def test_chance_is_read_from_the_prepared_data(tmp_path):
    np.savez(tmp_path / "data.npz", test_labels=np.array([0, 1, 1]), num_classes=np.int64(2))
    assert read_input("chance", [str(tmp_path / "data.npz")], "mine") == Chance(3, 2, 2)
