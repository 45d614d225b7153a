"""The pair space of a seed: how alike its parents are before anything is aligned or merged."""

import logging
from collections.abc import Sequence

from torch import nn

from fusionscope.errors import InputError
from fusionscope.evaluation import predict
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.connectivity.similarity import cka_by_group, gram_matrices, mean_similarity
from fusionscope.measures.pair.distance import weight_distance
from fusionscope.measures.pair.gradients import gradient_cosine
from fusionscope.measures.pair.pairs import Places, all_pairs
from fusionscope.measures.pair.predictions import disagreement, loss_difference
from fusionscope.weights import weights_of


def measure_parents(
    parents: Sequence[nn.Module],
    *,
    train_images: Images,
    similarity_images: Images,
    test_images: Images,
    batch_size: int,
) -> dict[str, Measurement]:
    """All metrics of two or more `parents`, of more than two the mean over pairs.

    Their gradients are compared on `train_images`, their hidden layers on `similarity_images`, their answers
    on `test_images`. Raises InputError where the outputs of one are not finite.
    """
    pairs = all_pairs(len(parents))
    logits = [predict(parent, test_images, batch_size) for parent in parents]
    return {
        "parents_gradient_cosine": gradient_cosine(parents, pairs, train_images, batch_size),
        "parents_cka": similarity(parents, pairs, similarity_images, batch_size),
        "parents_disagreement": disagreement(logits, pairs),
        "parents_loss_difference": loss_difference(logits, test_images.labels, pairs),
        "parents_weight_distance": weight_distance(parents, pairs),
    }


def similarity(parents: Sequence[nn.Module], pairs: Places, images: Images, batch_size: int) -> Measurement:
    """Debiased linear CKA, mean over alignment groups and pairs.

    Undefined, and a warning in the log, for networks without groups, which can still be averaged.
    """
    try:
        grams = [gram_matrices(parent, weights_of(parent), images, batch_size) for parent in parents]
    except InputError as error:
        logging.getLogger("fusionscope").warning("no similarity of the parents: %s", error)
        return mean_similarity({})["mean_cka"]
    found = {f"{p}, {q}": cka_by_group(grams[p], grams[q]) for p, q in pairs}
    return mean_similarity(found)["mean_cka"]
