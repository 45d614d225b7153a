"""Parents at chance: which are, what is said of them, and where the run finds it again."""

import logging
import math

import pytest
from scipy.stats import binom

from fusionscope.statistics import chance as guessing
from machinery import chance
from machinery.experiment import Experiment


@pytest.mark.parametrize("images", [1, 7, 143, 1000, 10_000])
@pytest.mark.parametrize("p", [0.001, 0.19, 0.55, 0.98])
def test_the_binomial_tail_is_scipys(images, p):
    for hits in {0, 1, images // 3, round(images * p), images - 1, images}:
        expected = binom.sf(hits - 1, images, p)
        assert guessing.binomial_tail(hits, images, p) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_where_all_images_have_one_label_nothing_can_be_learnt():
    assert guessing.binomial_tail(5, 5, 1.0) == 1.0
    assert guessing.is_at_chance(5, 5, 1.0)


@pytest.mark.parametrize(("best_guess", "bar"), [(0.01, 0.02), (0.1, 0.19), (0.5, 0.55), (0.9, 0.91)])
def test_the_bar_is_twice_chance_or_a_tenth_of_the_way_from_it(best_guess, bar):
    assert guessing.bar(best_guess) == pytest.approx(bar)


@pytest.mark.parametrize(
    ("hits", "images", "best_guess", "expected"),
    [
        (15, 143, 0.105, True),  # one class, always
        (32, 143, 0.105, True),  # 0.22: hardly more than that
        (50, 143, 0.105, False),  # 0.35 has learnt something
        (140, 143, 0.105, False),
        (100, 5000, 0.01, True),  # CIFAR100: 0.02
        (150, 5000, 0.01, False),
        (500, 1000, 0.5, True),
        (600, 1000, 0.5, False),
        (900, 1000, 0.9, True),  # nothing but the commonest class
        (950, 1000, 0.9, False),
        (2, 2, 0.5, True),  # so few images are no proof
    ],
)
def test_a_parent_is_at_chance_unless_its_images_prove_more(hits, images, best_guess, expected):
    assert guessing.is_at_chance(hits, images, best_guess) is expected


@pytest.mark.parametrize("best_guess", [0.01, 0.1, 0.5])
def test_a_network_at_the_bar_passes_for_better_as_rarely_as_is_said(best_guess):
    """Summed over what such a network may hit, not simulated."""
    images, bar = 400, guessing.bar(best_guess)
    passes = [hits for hits in range(images + 1) if not guessing.is_at_chance(hits, images, best_guess)]
    assert passes == list(range(passes[0], images + 1))
    probability = math.fsum(binom.pmf(passes, images, bar))
    assert probability <= guessing.ERROR_RATE < probability + binom.pmf(passes[0] - 1, images, bar)


def experiment(name="one", weights="trained", seeds=(1, 2)) -> Experiment:
    return Experiment(name, {"weights": weights, "seeds": list(seeds), "parents": 2})


def job_log(path, accuracy, labels, split="validation") -> None:
    """What a job leaves that found its parent as right as that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = logging.Logger("job")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.info("best epoch: 7")
    chance.warn(log, split, accuracy, labels)
    log.info("work took 1.0 s")
    handler.close()


BALANCED = [label for label in range(10) for _ in range(20)]


def test_what_a_training_finds_is_found_at_the_end_of_the_run(tmp_path):
    job_log(tmp_path / "train/one_seed1_parent_1.log", 0.1, BALANCED)
    job_log(tmp_path / "train/one_seed1_parent_2.log", 0.98, BALANCED)
    job_log(tmp_path / "train/one_seed2_parent_2.log", 0.205, BALANCED)
    job_log(tmp_path / "train/another_seed1_parent_1.log", 0.1, BALANCED)  # is not of this run
    job_log(tmp_path / "measure_prediction/one_seed1_parent_2.log", 0.1, BALANCED, "test")  # nor asked
    found = chance.parents_at_chance([experiment()], tmp_path)
    assert found == [
        "one, seed 1, parent_1: validation accuracy 0.100 on 200 images, where 0.100 is chance",
        "one, seed 2, parent_2: validation accuracy 0.205 on 200 images, where 0.100 is chance",
    ]
    assert chance.summary(found).splitlines()[0] == "WARNING: 2 parents are at chance:"
    assert found[0] in chance.summary(found)
    assert "one parent is at chance" in chance.summary(found[:1])


def test_provided_parents_are_judged_by_their_test_images(tmp_path):
    job_log(tmp_path / "train/one_seed1_parent_1.log", 0.1, BALANCED)  # before they were provided
    job_log(tmp_path / "measure_prediction/one_seed1_parent_2.log", 0.12, BALANCED, "test")
    (found,) = chance.parents_at_chance([experiment(weights="provided")], tmp_path)
    assert found == "one, seed 1, parent_2: test accuracy 0.120 on 200 images, where 0.100 is chance"


def test_the_commonest_class_is_the_best_guess(tmp_path):
    labels = [0] * 800 + [1] * 200
    job_log(tmp_path / "train/one_seed1_parent_1.log", 0.8, labels)
    job_log(tmp_path / "train/one_seed1_parent_2.log", 0.9, labels)
    (found,) = chance.parents_at_chance([experiment()], tmp_path)
    assert found.endswith("parent_1: validation accuracy 0.800 on 1000 images, where 0.800 is chance")


def test_without_logs_nothing_is_said(tmp_path):
    assert chance.parents_at_chance([experiment()], tmp_path / "nowhere") == []
