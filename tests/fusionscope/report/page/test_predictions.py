"""Sentences about what tells how good a fusion is."""

import pandas as pd

from fusionscope.report.page.predictions import prediction_sentences
from fusionscope.report.predictors import PREDICTOR_COLUMNS

SHARED = {"study": "mine", "model": "naive_fused", "outcome": "accuracy", "restates": False, "n_seeds": 3}


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([SHARED | row for row in rows], columns=PREDICTOR_COLUMNS)


def predictor(metric: str, of: str = "pair", **columns: object) -> dict:
    return {"metric": metric, "of": of, "low": -0.9, "high": -0.2} | columns


def test_what_is_shown_is_named_with_its_way_and_interval():
    [sentence] = prediction_sentences(
        table(
            predictor(
                "parents_weight_distance", tau=-0.8, verdict="lower goes with better (adjusted p 0.01)"
            ),
            predictor("parameter_norm", "parents' mean", tau=0.1, verdict="not shown"),
        )
    )
    assert sentence == (
        "Over the seeds, a better child goes with lower distance of the parents' weights "
        "(τ -0.80, 95 % interval -0.90 to -0.20), of naive fused."
    )


def test_few_seeds_say_how_many_would_do():
    verdict = "cannot be shown with 3 seeds (7 would do)"
    [sentence] = prediction_sentences(table(predictor("parents_cka", tau=0.3, verdict=verdict)))
    assert sentence == (
        "Of naive fused, no property of parents or pairs is shown to go with a better child: "
        "3 seeds cannot show it, 7 would do."
    )


def test_outcomes_of_which_nothing_is_shown_share_a_sentence_and_the_seeds_that_do_for_all():
    def cannot(seeds: int) -> dict:
        return {"tau": 0.3, "verdict": f"cannot be shown with 3 seeds ({seeds} would do)"}

    shown = predictor("parents_cka", tau=0.9, verdict="higher goes with better (adjusted p 0.01)")
    assert prediction_sentences(
        table(
            shown | {"model": "geometric_fused"},
            predictor("parents_cka", **cannot(7)),
            predictor("parents_cka", **cannot(6)) | {"outcome": "relative_accuracy"},
            predictor("parents_cka", **cannot(8)) | {"outcome": "loss_barrier"},
        )
    )[1:] == [
        "Of naive fused, no property of parents or pairs is shown to go with a better child, a child better "
        "beside its parents or a lower loss barrier: 3 seeds cannot show it, 8 would do."
    ]


def test_over_settings_granulated_kendall_decides_and_what_restates_is_silent():
    shown = {"granulated_tau": 0.7, "granulated_low": 0.4, "granulated_high": 0.9, "tau": 0.0}
    [sentence] = prediction_sentences(
        table(
            predictor("parents_cka", **shown, settings_verdict="higher goes with better"),
            predictor("parents_ensemble_accuracy", **shown, restates=True, settings_verdict=""),
        )
    )
    assert sentence.startswith("Over the settings, a better child goes with higher mean linear CKA of the")
    assert "granulated τ 0.70, 95 % interval 0.40 to 0.90" in sentence
