"""Provided weights are read before the first job, once, by another process."""

import os
from pathlib import Path

import pytest
import torch
from studies import study_of, tiny_settings
from torch import nn

from fusionscope.errors import InputError
from fusionscope.networks.build import build
from machinery import provided_weights
from machinery.study import Study

FOLDER = Path("experiments/tiny/tiny_seed1")
SPEC = {"model_type": "VGG11_NOBIAS", "width": 0.0625}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> None:
    """A folder of a study in which both parents of the one seed lie."""
    monkeypatch.chdir(tmp_path)
    Path(".snakemake").mkdir()
    FOLDER.mkdir(parents=True)
    for model in ("parent_1", "parent_2"):
        save(model, build(10, **SPEC).state_dict())


def save(model: str, content: object) -> None:
    torch.save(content, FOLDER / f"{model}.pth")


def study(**changed) -> Study:
    settings = tiny_settings(weights="provided", seeds=1, **changed)
    return study_of(settings, map(str, Path("experiments").rglob("*.pth")))


def check(of: Study, storage: str | None = None) -> None:
    provided_weights.check(of, os.path.exists, str, storage)


def said(of: Study) -> list[str]:
    """The sentences, without the folder that all files are in."""
    with pytest.raises(InputError) as caught:
        check(of)
    return [line.removeprefix(f"{FOLDER}/") for line in str(caught.value).splitlines()]


def no_process(unread: list) -> None:
    raise AssertionError(f"read again: {[subject['file'] for subject in unread]}")


def test_all_bad_files_are_named_at_once_and_only_they_are_read_again(monkeypatch):
    save("naive_fused", build(100, **SPEC).state_dict())
    save("parent_2_initial_weights", nn.Linear(2, 2))
    shapes, objects = said(study())
    assert shapes.startswith("naive_fused.pth: classifier.weight is (100, 32), expected (10, 32)")
    assert "parent_2_initial_weights.pth: cannot be read" in objects
    assert "torch.nn.modules.linear.Linear" in objects

    save("naive_fused", nn.DataParallel(build(10, **SPEC)).state_dict())
    read = []
    monkeypatch.setattr(provided_weights, "read_elsewhere", lambda unread: read.extend(unread) or {})
    check(study())
    assert [Path(subject["file"]).name for subject in read] == [
        "naive_fused.pth",
        "parent_2_initial_weights.pth",
    ]


def test_good_files_are_read_again_only_after_a_change(monkeypatch):
    check(study())
    monkeypatch.setattr(provided_weights, "read_elsewhere", no_process)
    check(study())
    with pytest.raises(AssertionError, match=r"parent_1\.pth', .*parent_2\.pth'"):
        check(study(width=0.125))
    os.utime(FOLDER / "parent_2.pth")
    with pytest.raises(AssertionError, match=r"again: \['[^,]*parent_2\.pth'\]"):
        check(study())


def test_nothing_is_remembered_where_nothing_can_be_written():
    Path(".snakemake").rmdir()
    check(study())
    assert not Path(".snakemake").exists()


def test_files_in_a_storage_are_not_read(monkeypatch):
    monkeypatch.setattr(provided_weights, "read_elsewhere", no_process)
    check(study(), storage="fs")


def test_files_are_read_for_a_network_of_ones_own():
    Path("own_net.py").write_text(
        "from torch import nn\n"
        "print('this network talks')\n"
        "def make(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    own = tiny_settings(weights="provided", seeds=1, architecture="own_net:make")
    for key in ("model_type", "width"):
        del own["experiments"]["tiny"][key]
    sentences = said(study_of(own, map(str, FOLDER.iterdir())))
    assert len(sentences) == 2
    assert "1.weight is missing and features.0.weight is not part of this network" in sentences[0]


def test_the_classes_of_an_image_folder_are_counted():
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            Path("photos", split, name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(Path("photos", split, name, "1.png"))
    first, _ = said(study(dataset="image_folder", image_folder="photos"))
    assert "classifier.weight is (10, 32), expected (2, 32)" in first


def test_a_process_that_dies_is_told_and_leaves_the_files_to_the_jobs(caplog):
    Path("deadly.py").write_text("import os\ndef make(num_classes):\n    os._exit(3)\n")
    own = tiny_settings(weights="provided", seeds=1, architecture="deadly:make")
    for key in ("model_type", "width"):
        del own["experiments"]["tiny"][key]
    provided_weights.logger.addHandler(caplog.handler)
    try:
        check(study_of(own, map(str, FOLDER.iterdir())))
    finally:
        provided_weights.logger.removeHandler(caplog.handler)
    assert "The provided weights could not be read before the first job: it ended with 3" in caplog.messages
    assert list(Path(".snakemake").iterdir()) == []
