"""What a notebook wants in one call: train a network, measure one thing."""

import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy as share_right
from fusionscope.evaluation import predict
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.names import METRICS
from fusionscope.options import check, suggest
from fusionscope.registry import resolve
from fusionscope.seeding import generator, seed_for
from fusionscope.weights import Weights, set_weights

BATCH_SIZE = 256  # images evaluated at once: changes speed and memory, no result
FUNCTIONS = {  # of a network and images, and of options; all other metrics are functions of a Subject
    "accuracy": "fusionscope.notebook:accuracy",
    "hessian_top_eigenvalue": "fusionscope.measures.parameter.hessian:hessian_top_eigenvalue",
    "hessian_trace": "fusionscope.measures.parameter.hessian:hessian_trace",
    "pac_bayes_sigma": "fusionscope.measures.parameter.scales:sigma",
    "pac_bayes_mag_sigma": "fusionscope.measures.parameter.scales:sigma_mag",
    "sharpness_alpha": "fusionscope.measures.parameter.scales:alpha",
    "sharpness_mag_alpha": "fusionscope.measures.parameter.scales:alpha_mag",
}


def train(
    network: nn.Module, images: Images, validation_images: Images, *, seed: int = 0, **recipe: object
) -> Weights:
    """Train `network` in place by SGD and return its weights in the epoch of the smallest validation loss.

    `recipe`: the options of TrainingRecipe, such as epochs and learning_rate; what is not given is as in the
    study; with `initialisation: network`, the default, training sets out from the weights that `network` has.
    `seed` drives drawn weights, the order of the images, augmentation and dropout. Raises InputError for
    options that are not right, and when the loss stops being finite.
    """
    from fusionscope.networks.initialise import redraw
    from fusionscope.training.recipes import TrainingRecipe
    from fusionscope.training.train import train as train_by_sgd

    options = check(TrainingRecipe, recipe, "train").model_dump()
    redraw(network, options.pop("initialisation"), generator(seed, "initial weights"))
    torch.manual_seed(seed_for(seed, "dropout"))
    order = generator(seed, "order")
    best = train_by_sgd(network, images, validation_images, order=order, **options).best_weights
    set_weights(network, best)
    network.eval()
    return best


def accuracy(network: nn.Module, images: Images, *, batch_size: int = BATCH_SIZE) -> Measurement:
    """The share of `images`, from 0 to 1, that `network` classifies correctly, with its binomial error."""
    from fusionscope.measures.prediction.prediction import accuracy_error

    share = share_right(predict(network, images, batch_size), images.labels)
    return Measurement(share, accuracy_error(share, len(images)))


def measure(
    network: nn.Module,
    images: Images,
    name: str,
    *,
    batch_size: int = BATCH_SIZE,
    **options: object,
) -> Measurement:
    """The metric `name` of a network, on images: those of the train set, except for the accuracy.

    Known are those of FUNCTIONS, with their `options` (and a `seed`), and the complexity measures of
    measures/names.py, which have none. Raises InputError for another name, for options that are not right,
    and where the network does not have what is measured.
    """
    if name in FUNCTIONS:
        return resolve(FUNCTIONS[name])(network, images, batch_size=batch_size, **options)
    entries = {metric: entry.compute for metric, entry in METRICS.items() if entry.compute is not None}
    if name not in entries:
        raise InputError(f"measure: '{name}' is not known; {suggest(name, [*FUNCTIONS, *entries])}")
    if options:
        raise InputError(f"measure: '{name}' has no options; leave out {', '.join(options)}")
    return complexity(network, images, name, batch_size)


def complexity(network: nn.Module, images: Images, name: str, batch_size: int) -> Measurement:
    """One of the complexity measures."""
    from fusionscope.measures.input.operator_norms import NoBound
    from fusionscope.measures.parameter.landscape import Landscape
    from fusionscope.measures.parameter.subject import Subject
    from fusionscope.measures.undefined import NotDefined, refusals_as_undefined

    subject = Subject(Landscape(network, images, batch_size), images, None)
    try:
        with refusals_as_undefined():
            return Measurement(resolve(METRICS[name].compute or "")(subject))
    except (NotDefined, NoBound) as error:
        raise InputError(f"measure: there is no {name} of this network: {error}") from error
