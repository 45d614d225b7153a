"""Whether an accuracy is better than that of guessing."""

import math

ERROR_RATE = 0.01  # of taking a network that is right as often as the bar for one that is above it


def bar(chance: float) -> float:
    """The accuracy that a network which has learnt anything is above; `chance` is that of the best guess.

    Twice that, or a tenth of the way from it to 1, whichever is less: with 100 classes 0.02, with ten 0.19,
    with two 0.55.
    """
    return min(2 * chance, chance + (1 - chance) / 10)


def is_at_chance(hits: int, images: int, chance: float) -> bool:
    """Whether `hits` right answers to so many `images` are no proof of an accuracy above the bar.

    An exact one-sided binomial test: at the bar itself, as many hits would be likelier than ERROR_RATE.
    """
    return binomial_tail(hits, images, bar(chance)) > ERROR_RATE


def binomial_tail(hits: int, images: int, p: float) -> float:
    """The probability of at least `hits` successes in so many `images`, each with probability `p` > 0."""
    if p >= 1:
        return 1.0
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (
        math.lgamma(images + 1)
        - math.lgamma(k + 1)
        - math.lgamma(images - k + 1)
        + k * log_p
        + (images - k) * log_q
        for k in range(hits, images + 1)
    )
    return math.fsum(map(math.exp, terms))
