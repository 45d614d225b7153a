"""What a job says and leaves for its next attempt."""

from types import SimpleNamespace

import pytest
import torch

from machinery.job import Job


@pytest.fixture
def job(tmp_path):
    made = Job(SimpleNamespace(log=[str(tmp_path / "job.log")]))
    made.images_at_once = 512
    return made


def test_where_memory_runs_out_the_next_attempt_halves_what_it_looks_at_at_once(job, caplog):
    job.tell_out_of_memory(torch.OutOfMemoryError("20 MiB"))
    assert "the next attempt halves the 512 images evaluated at once (20 MiB)" in caplog.text
    assert job.out_of_memory.read_text() == "512"


def test_where_a_training_step_takes_it_nothing_is_promised(job, caplog):
    error = torch.OutOfMemoryError("20 MiB")
    error.add_note("a training step takes 128 images, the recipe's batch_size")
    job.tell_out_of_memory(error)
    assert (
        "memory: a training step takes 128 images, the recipe's batch_size; the next attempt goes"
        in caplog.text
    )
    assert not job.out_of_memory.exists()
