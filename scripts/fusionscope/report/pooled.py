"""What the rows of a table are called that are about all models, or all experiments, at once."""

ALL_MODELS = "all_models"  # correlations over all models of an experiment, one stratum a model
ALL_EXPERIMENTS = "all_experiments"
