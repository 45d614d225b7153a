"""Complexity measures that cost little: norms of the weights, margins, gradients at the end of training.

Each is a function of a Subject, listed in `measures/names.py`. Equations are those of Jiang et al. 2019,
"Fantastic Generalization Measures" (arXiv 1912.02178), appendix C. W_l are the weights of layer l of d, and
W0_l those before training, batch norm folded in.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import fx
from torch.nn import functional as F

from fusionscope.evaluation import predict
from fusionscope.graph.trace import shape
from fusionscope.measures.parameter.gauss_newton import squared_vjp_norms
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.subject import Subject, fold_batch_norm, layer_weights
from fusionscope.measures.undefined import NotDefined, check_perturbable, refusals_as_undefined


def parameter_norm(subject: Subject) -> float:
    """sum_l norm(W_l)_F^2 (equation 42)."""
    return sum(weight.square().sum().item() for weight in subject.weights)


def distance_from_initialisation(subject: Subject) -> float:
    """sum_l norm(W_l - W0_l)_F^2 (equation 40). Not defined where the initial weights are not known."""
    if subject.origin is None:
        raise NotDefined("its initial weights are not known")
    origin = layer_weights(fold_batch_norm(subject.origin))
    return sum((w - w0).square().sum().item() for w, w0 in zip(subject.weights, origin, strict=True))


def log_spectral_product(subject: Subject) -> float:
    """log prod_l norm(W_l)_2^2, of operator norms at the layer's size of input (equation 32)."""
    return log_product(subject.log_spectral)


def spectral_sum(subject: Subject) -> float:
    """d (prod_l norm(W_l)_2^2)^(1/d) (equation 35)."""
    return sum_over_layers(subject.log_spectral)


def log_frobenius_product(subject: Subject) -> float:
    """log prod_l norm(W_l)_F^2 (equation 37)."""
    return log_product(subject.log_frobenius)


def frobenius_sum(subject: Subject) -> float:
    """d (prod_l norm(W_l)_F^2)^(1/d) (equation 39)."""
    return sum_over_layers(subject.log_frobenius)


def path_norm(subject: Subject) -> float:
    """The sum of outputs for an input of ones with all weights squared (equation 44)."""
    return sum_over_paths(subject.folded)


def inverse_margin(subject: Subject) -> float:
    """1 / margin^2 (equation 22), the margin the 10th percentile over the train set. Not defined below 0."""
    return subject.margin**-2


def log_normalised_inverse_margin(subject: Subject) -> float:
    """log(prod_l norm(W_l)_2^2 / margin^2) (equation 31). Not defined where the margin is not."""
    return log_product(subject.log_spectral) - 2 * math.log(subject.margin)


def gradient_norm(subject: Subject) -> float:
    """norm(g) of the gradient g of the mean loss on the sample (g as in equation 66)."""
    return math.sqrt(subject.gradient_square)


def gradient_variance(subject: Subject) -> float:
    """The mean over images of norm(g_i - g)^2, g_i the gradient of one image's loss (equation 66)."""
    return max(0.0, mean_square_of_single_gradients(subject.landscape) - subject.gradient_square)


def log_product(log_norms: Sequence[float]) -> float:
    """log prod_l norm_l^2."""
    return 2 * sum(log_norms)


def sum_over_layers(log_norms: Sequence[float]) -> float:
    """d (prod_l norm_l^2)^(1/d) over d layers."""
    return len(log_norms) * math.exp(log_product(log_norms) / len(log_norms))


@torch.no_grad()
def sum_over_paths(folded: fx.GraphModule) -> float:
    """Over all paths from an input to an output, the product of squared weights on the way."""
    squared = copy.deepcopy(folded)
    for parameter in squared.parameters():
        parameter.square_()
    image = folded.graph.find_nodes(op="placeholder")[0]
    return squared(torch.ones(shape(image), dtype=torch.float64)).sum().item()


def mean_square_of_single_gradients(landscape: Landscape) -> float:
    """The mean over images of norm(g_i)^2, g_i = J_i^T (p_i - y_i)."""
    check_perturbable(landscape.parameters)
    network, images = landscape.network, landscape.images
    p = predict(network, images, landscape.batch_size).softmax(1)
    residuals = p - F.one_hot(images.labels, p.shape[1])
    try:
        with refusals_as_undefined():  # vmap's, say where the way through the network depends on its numbers
            return squared_vjp_norms(network, images, residuals.unsqueeze(1)).mean().item()
    except NotDefined as error:
        raise NotDefined(f"no gradients of single images can be had ({error})") from error
