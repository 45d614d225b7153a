"""What config.yaml may leave out, where both the workflow and the library have to know it."""

DEFAULT_REFERENCE = 2  # number of the parent that the others are aligned to
DEFAULT_IMAGES = 512  # of the train set, for fusions that look at some
