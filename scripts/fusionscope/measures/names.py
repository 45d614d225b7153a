"""Every metric by name: how people call it, what it means and where it comes from. Imports nothing heavy.

In the definitions, w are the weights, w0 the initial weights (for a child: the parent farther from it), ω is
the number of parameters, m the size of the train set, L the mean cross-entropy, f the logits as a function of
the normalised image; W are the weights of a convolution or linear layer, batch norm folded in, W0 those
before training; ε = 0.001, δ = 0.05. Perturbations are of weights in eval mode, on a fixed sample of the
train set.
"""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

from dataclasses import dataclass

INPUT, PARAMETER = "input_space", "parameter_space"
PREDICTION, CONNECTIVITY, PAIR = "prediction_space", "connectivity_space", "pair_space"

PARENTS = "parents"  # the model in rows that are about all parents of a seed together

PERCENT, POINTS, NATS = "%", "%\N{NO-BREAK SPACE}points", "nats"
HIGHER, LOWER = "higher", "lower"
UPPER_BOUND, LOWER_BOUND = "upper", "lower"
ACCURACY, GAP, BARRIER = "accuracy", "gap", "barrier"
ALL_OUTCOMES = (ACCURACY, GAP, BARRIER)

JIANG = "Jiang et al. 2019, arXiv 1912.02178"
COMPLEXITY = "fusionscope.measures.parameter.complexity"


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before it is measured."""

    label: str  # for people, on axes and in tables
    space: str  # as in the column of the measured CSV files
    definition: str
    source: str  # paper and equation
    truth: str  # what it is tested against, and the test in brackets
    unit: str | None = None  # PERCENT and POINTS: the CSV files hold shares, plots show 100 times as much
    direction: str | None = None  # HIGHER or LOWER: what should go with good accuracy or generalisation
    restates: tuple[str, ...] = ()  # outcomes that it says in other words, so that it cannot predict them
    bound: str | None = None  # UPPER_BOUND or LOWER_BOUND, if by definition it bounds what its name says
    bounds_gap: bool = False  # sqrt(value / (m - 1)) bounds the gap (Jiang et al. 2019, section C)
    compute: str | None = None  # module:function of a Subject; only of the measures under `complexity:`


METRICS: dict[str, Metric] = {
    # input space
    "lipschitz_constant": Metric(
        label="Lipschitz constant, lower bound",
        space=INPUT,
        direction=LOWER,
        bound=LOWER_BOUND,
        definition="largest norm(f(v) − f(0)) over unit v that an ascent from several starts finds, with "
        "twice the iterations until that adds less than 1 %: a lower bound of the Lipschitz constant",
        source="the study's number",
        truth="operator norm of an affine network, slope of a ridge function, upper bound "
        "(tests/fusionscope/measures/input/test_lipschitz.py)",
    ),
    "local_lipschitz_max": Metric(
        label="local Lipschitz max",
        space=INPUT,
        direction=LOWER,
        bound=LOWER_BOUND,
        definition="largest spectral norm of the Jacobian df/dx at test images; exact up to twice as many "
        "classes as `power_iterations`, else from below",
        source="fusionscope",
        truth="singular values of the dense Jacobian; operator norm of an affine network "
        "(tests/fusionscope/measures/input/test_lipschitz.py)",
    ),
    "local_lipschitz_mean": Metric(
        label="local Lipschitz mean",
        space=INPUT,
        direction=LOWER,
        definition="mean spectral norm of the Jacobian df/dx at test images; exact up to twice as many "
        "classes as `power_iterations`, else from below",
        source="fusionscope",
        truth="singular values of the dense Jacobian; operator norm of an affine network "
        "(tests/fusionscope/measures/input/test_lipschitz.py)",
    ),
    "lipschitz_upper_bound": Metric(
        label="Lipschitz upper bound",
        space=INPUT,
        direction=LOWER,
        bound=UPPER_BOUND,
        definition="product over layers of operator norms at the layer's input size, batch norm folded in; "
        "of a residual block: branch + shortcut",
        source="Szegedy et al. 2014, arXiv 1312.6199",
        truth="dense matrices of layers; chains and residual blocks by hand; networks without ReLU "
        "(tests/fusionscope/measures/input/test_lipschitz.py)",
    ),
    # parameter space: the Hessian
    "hessian_top_eigenvalue": Metric(
        label="Hessian top eigenvalue",
        space=PARAMETER,
        direction=LOWER,
        definition="the largest eigenvalue of the Hessian of L, signed, by Lanczos",
        source="fusionscope",
        truth="dense Hessian of a small network (tests/fusionscope/measures/parameter/test_hessian.py)",
    ),
    "hessian_trace": Metric(
        label="Hessian trace",
        space=PARAMETER,
        direction=LOWER,
        definition="of networks that are piecewise linear in each weight: mean over images of "
        "Σ_c p_c norm(∇L(x, c))², exact up to 20 classes; of others Hutch++ on the Lanczos basis. The error "
        "is that of the draws on the images that are measured",
        source="Kunstner et al. 2019, arXiv 1905.12558; Meyer et al. 2021, arXiv 2010.09649",
        truth="dense Hessian of a small network (tests/fusionscope/measures/parameter/test_gauss_newton.py)",
    ),
    # parameter space: how far weights can be perturbed
    "pac_bayes_sigma": Metric(
        label="PAC-Bayes σ",
        space=PARAMETER,
        direction=HIGHER,
        definition="largest σ at which Gaussian noise of deviation σ costs 0.1 of accuracy on average; "
        "undefined where the accuracy is at most 0.1 above chance",
        source=f"{JIANG}, section C",
        truth="linear classifier, in closed form (tests/fusionscope/measures/parameter/test_scales.py)",
    ),
    "pac_bayes_mag_sigma": Metric(
        label="PAC-Bayes mag σ′",
        space=PARAMETER,
        direction=HIGHER,
        definition="largest σ′ at which Gaussian noise of deviation √(σ′²w² + ε²) costs 0.1 of "
        "accuracy on average; undefined where the accuracy is at most 0.1 above chance",
        source=f"{JIANG}, section C",
        truth="linear classifier, in closed form (tests/fusionscope/measures/parameter/test_scales.py)",
    ),
    "sharpness_alpha": Metric(
        label="sharpness α",
        space=PARAMETER,
        direction=HIGHER,
        bound=UPPER_BOUND,
        definition="smallest α at which an attack finds a perturbation in the box α that costs more than 0.1 "
        "of accuracy; undefined where the accuracy is at most 0.1",
        source=f"{JIANG}, section C",
        truth="linear classifier, in closed form (tests/fusionscope/measures/parameter/test_scales.py)",
    ),
    "sharpness_mag_alpha": Metric(
        label="sharpness mag α′",
        space=PARAMETER,
        direction=HIGHER,
        bound=UPPER_BOUND,
        definition="smallest α′ at which an attack finds a perturbation in the box α′|w| + ε that costs more "
        "than 0.1 of accuracy; undefined where the accuracy is at most 0.1",
        source=f"{JIANG}, section C",
        truth="linear classifier, in closed form (tests/fusionscope/measures/parameter/test_scales.py)",
    ),
    # parameter space: the twelve measures
    "pac_bayes_flatness": Metric(
        label="PAC-Bayes flatness",
        space=PARAMETER,
        direction=LOWER,
        definition="1/σ²",
        source=f"{JIANG}, equations 48–53",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "pac_bayes_mag_flat": Metric(
        label="PAC-Bayes mag flat",
        space=PARAMETER,
        direction=LOWER,
        definition="1/σ′²",
        source=f"{JIANG}, equations 54–62",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_flatness": Metric(
        label="sharpness flatness",
        space=PARAMETER,
        direction=LOWER,
        bound=LOWER_BOUND,
        definition="1/α²",
        source=f"{JIANG}, equations 48–53",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_mag_flat": Metric(
        label="sharpness mag flat",
        space=PARAMETER,
        direction=LOWER,
        bound=LOWER_BOUND,
        definition="1/α′²",
        source=f"{JIANG}, equations 54–62",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "flatness_orig": Metric(
        label="flatness orig",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="norm(w)²/(4σ²) + log(m/σ) + 10",
        source=f"{JIANG}, equations 48–53",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "flatness_mag_orig": Metric(
        label="flatness mag orig",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="¼ Σᵢ log[(ε² + (σ′² + 1) norm(w)²/ω)/(ε² + σ′² wᵢ²)] + log(m/σ′) + 10",
        source=f"{JIANG}, equations 54–62; the denominator takes w where equation 57 prints w − w0",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_orig": Metric(
        label="sharpness orig",
        space=PARAMETER,
        direction=LOWER,
        bound=LOWER_BOUND,
        bounds_gap=True,
        definition="norm(w)² log(2ω)/(4α²) + log(m/α) + 10",
        source=f"{JIANG}, equations 48–53; the log takes α where the paper prints σ",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_mag_orig": Metric(
        label="sharpness mag orig",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="¼ Σᵢ log[(ε² + (α′² + 4 log(2ω/δ)) norm(w)²/ω)/(ε² + α′² wᵢ²)] + log(m/α′) + 10; "
        "from α′, an upper bound, in which it falls or rises by network",
        source=f"{JIANG}, equations 54–62; the log takes α′, the denominator w",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "flatness_init": Metric(
        label="flatness init",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="flatness_orig with w − w0 for w",
        source=f"{JIANG}, equations 48–53",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "flatness_mag_init": Metric(
        label="flatness mag init",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="flatness_mag_orig with w − w0 for w",
        source=f"{JIANG}, equations 54–62",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_init": Metric(
        label="sharpness init",
        space=PARAMETER,
        direction=LOWER,
        bound=LOWER_BOUND,
        bounds_gap=True,
        definition="sharpness_orig with w − w0 for w",
        source=f"{JIANG}, equations 48–53",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    "sharpness_mag_init": Metric(
        label="sharpness mag init",
        space=PARAMETER,
        direction=LOWER,
        bounds_gap=True,
        definition="sharpness_mag_orig with w − w0 for w",
        source=f"{JIANG}, equations 54–62",
        truth="published formula, written out over single weights "
        "(tests/fusionscope/measures/parameter/test_twelve.py)",
    ),
    # parameter space: complexity that costs little
    "parameter_norm": Metric(
        label="parameter norm",
        space=PARAMETER,
        direction=LOWER,
        definition="Σ norm(W)_F² over layers",
        source=f"{JIANG}, equation 42",
        compute=f"{COMPLEXITY}:parameter_norm",
        truth="formula on weights folded by hand (tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "distance_from_initialisation": Metric(
        label="distance from initialisation",
        space=PARAMETER,
        direction=LOWER,
        definition="Σ norm(W − W0)_F² over layers",
        source=f"{JIANG}, equation 40",
        compute=f"{COMPLEXITY}:distance_from_initialisation",
        truth="formula on weights folded by hand (tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "log_spectral_product": Metric(
        label="log spectral product",
        space=PARAMETER,
        direction=LOWER,
        definition="log Π norm(W)₂² over layers, norm(W)₂ the operator norm at the layer's input size",
        source=f"{JIANG}, equation 32",
        compute=f"{COMPLEXITY}:log_spectral_product",
        truth="singular values of the layers' dense matrices "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "spectral_sum": Metric(
        label="spectral sum",
        space=PARAMETER,
        direction=LOWER,
        definition="d (Π norm(W)₂²)^(1/d) over d layers",
        source=f"{JIANG}, equation 35",
        compute=f"{COMPLEXITY}:spectral_sum",
        truth="singular values of the layers' dense matrices "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "log_frobenius_product": Metric(
        label="log Frobenius product",
        space=PARAMETER,
        direction=LOWER,
        definition="log Π norm(W)_F² over layers",
        source=f"{JIANG}, equation 37",
        compute=f"{COMPLEXITY}:log_frobenius_product",
        truth="formula on weights folded by hand (tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "frobenius_sum": Metric(
        label="Frobenius sum",
        space=PARAMETER,
        direction=LOWER,
        definition="d (Π norm(W)_F²)^(1/d) over d layers",
        source=f"{JIANG}, equation 39",
        compute=f"{COMPLEXITY}:frobenius_sum",
        truth="formula on weights folded by hand (tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "path_norm": Metric(
        label="path norm",
        space=PARAMETER,
        direction=LOWER,
        definition="sum of the outputs for an input of ones with all weights squared",
        source=f"{JIANG}, equation 44",
        compute=f"{COMPLEXITY}:path_norm",
        truth="sum over all paths of small networks "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "inverse_margin": Metric(
        label="inverse margin",
        space=PARAMETER,
        direction=LOWER,
        definition="1/γ², γ the 10th percentile over the train set of f(x)_y − max of the other logits; "
        "undefined where γ ≤ 0",
        source=f"{JIANG}, equation 22",
        compute=f"{COMPLEXITY}:inverse_margin",
        truth="margins image by image, NumPy's percentile "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "log_normalised_inverse_margin": Metric(
        label="log normalised inverse margin",
        space=PARAMETER,
        direction=LOWER,
        definition="log(Π norm(W)₂² / γ²); undefined where γ ≤ 0",
        source=f"{JIANG}, equation 31",
        compute=f"{COMPLEXITY}:log_normalised_inverse_margin",
        truth="margins image by image, singular values of dense matrices "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "gradient_norm": Metric(
        label="gradient norm",
        space=PARAMETER,
        direction=LOWER,
        definition="norm of the gradient g of L on the sample",
        source=f"g as in {JIANG}, equation 66",
        compute=f"{COMPLEXITY}:gradient_norm",
        truth="gradients of single images by autograd "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    "gradient_variance": Metric(
        label="gradient variance",
        space=PARAMETER,
        direction=LOWER,
        definition="mean over the images of the sample of norm(gᵢ − g)², gᵢ the gradient of one image's loss",
        source=f"{JIANG}, equation 66",
        compute=f"{COMPLEXITY}:gradient_variance",
        truth="gradients of single images by autograd "
        "(tests/fusionscope/measures/parameter/test_complexity.py)",
    ),
    # prediction space
    "accuracy": Metric(
        label="test accuracy",
        space=PREDICTION,
        unit=PERCENT,
        direction=HIGHER,
        restates=ALL_OUTCOMES,
        definition="share of test images whose largest logit is that of their class",
        source="the study's number",
        truth="plain loop over the images (tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "train_accuracy": Metric(
        label="train accuracy",
        space=PREDICTION,
        unit=PERCENT,
        direction=HIGHER,
        restates=ALL_OUTCOMES,
        definition="the same of the train set",
        source="the study's number",
        truth="plain loop over the images (tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "test_loss": Metric(
        label="test loss",
        space=PREDICTION,
        unit=NATS,
        direction=LOWER,
        restates=ALL_OUTCOMES,
        definition="mean cross-entropy on the test set",
        source="the study's number",
        truth="plain loop over the images (tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "train_loss": Metric(
        label="train loss",
        space=PREDICTION,
        unit=NATS,
        direction=LOWER,
        restates=ALL_OUTCOMES,
        definition="mean cross-entropy on the train set",
        source="the study's number",
        truth="plain loop over the images (tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "generalisation_gap": Metric(
        label="generalisation gap",
        space=PREDICTION,
        unit=POINTS,
        direction=LOWER,
        restates=ALL_OUTCOMES,
        definition="train accuracy − test accuracy, signed",
        source="the study's number",
        truth="difference of the two accuracies, whose sign is forced "
        "(tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "expected_calibration_error": Metric(
        label="calibration error",
        space=PREDICTION,
        unit=POINTS,
        direction=LOWER,
        definition="mean over bins of confidence, weighted by their test images, of "
        "abs(accuracy − confidence)",
        source="Guo et al. 2017, arXiv 1706.04599",
        truth="plain loop over the bins; a case by hand "
        "(tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    "parents_ensemble_accuracy": Metric(
        label="ensemble of the parents",
        space=PREDICTION,
        unit=PERCENT,
        direction=HIGHER,
        restates=(ACCURACY,),
        definition="of a child: test accuracy of the mean of its parents' predicted probabilities",
        source="fusionscope",
        truth="probabilities by hand, where votes and mean logits go another way "
        "(tests/fusionscope/measures/prediction/test_prediction.py)",
    ),
    # connectivity space: v(s) on the straight line from the aligned parent to the reference, at its share s
    "loss_barrier": Metric(
        label="test loss barrier",
        space=CONNECTIVITY,
        unit=NATS,
        direction=LOWER,
        restates=(ACCURACY, BARRIER),
        definition="largest v(s) − [(1 − s) v(0) + s v(1)], v(s) the test loss at the reference's share s "
        "of the line between the aligned parents",
        source="Entezari et al. 2022, arXiv 2110.06296, definition 1; "
        "Jordan et al. 2023, arXiv 2211.08403, equation 1",
        truth="one weight, in closed form (tests/fusionscope/measures/connectivity/test_paths.py)",
    ),
    "loss_barrier_above_mean": Metric(
        label="test loss barrier above the mean",
        space=CONNECTIVITY,
        unit=NATS,
        direction=LOWER,
        restates=(ACCURACY, BARRIER),
        definition="largest v(s) − (v(0) + v(1))/2, v(s) as in loss_barrier",
        source="Ainsworth et al. 2023, arXiv 2209.04836, definition 2.2",
        truth="one weight, in closed form (tests/fusionscope/measures/connectivity/test_paths.py)",
    ),
    "accuracy_barrier": Metric(
        label="test accuracy barrier",
        space=CONNECTIVITY,
        unit=POINTS,
        direction=LOWER,
        restates=(ACCURACY, BARRIER),
        definition="loss_barrier with the test error for the loss: the largest drop of accuracy below the "
        "line between the ends",
        source="as loss_barrier",
        truth="one weight, in closed form; a path by hand "
        "(tests/fusionscope/measures/connectivity/test_paths.py)",
    ),
    "mean_cka": Metric(
        label="mean linear CKA",
        space=CONNECTIVITY,
        direction=HIGHER,
        definition="linear CKA of child and parents, test images as examples, debiased; mean over alignment "
        "groups and parents",
        source="Kornblith et al. 2019, arXiv 1905.00414; Nguyen et al. 2021, arXiv 2010.15327, equation 3",
        truth="dense Gram matrices; a mean by hand "
        "(tests/fusionscope/measures/connectivity/test_similarity.py)",
    ),
    "activation_variance_ratio": Metric(
        label="activation variance ratio",
        space=CONNECTIVITY,
        direction=HIGHER,
        definition="variance of the child's pre-activations over test images and places, mean over a layer's "
        "neurons, over the same of its parents; geometric mean over layers",
        source="after Jordan et al. 2023, arXiv 2211.08403 (variance collapse)",
        truth="scaled layers; the mean of independent linear layers "
        "(tests/fusionscope/measures/connectivity/test_variance.py)",
    ),
    # pair space, of the parents of a seed: before anything is aligned; of more than two the mean over pairs
    "parents_gradient_cosine": Metric(
        label="cosine of the parents' gradients",
        space=PAIR,
        definition="⟨g₁, g₂⟩ / (norm(g₁) norm(g₂)) of the parents' gradients g of L on the same images of "
        "the train set, parameter by parameter; undefined where the parents differ in width",
        source="after Yu et al. 2020, arXiv 2001.06782, definition 1",
        truth="softmax regression in closed form, automatic differentiation "
        "(tests/fusionscope/measures/pair/test_gradients.py)",
    ),
    "parents_cka": Metric(
        label="mean linear CKA of the parents",
        space=PAIR,
        definition="linear CKA of the parents, test images as examples, debiased; mean over alignment groups",
        source="Kornblith et al. 2019, arXiv 1905.00414; Nguyen et al. 2021, arXiv 2010.15327, equation 3",
        truth="a permuted copy; activations by hand, features centred and multiplied out "
        "(tests/fusionscope/measures/pair/test_parents.py)",
    ),
    "parents_disagreement": Metric(
        label="disagreement of the parents",
        space=PAIR,
        unit=PERCENT,
        definition="share of test images that the parents put into different classes",
        source="after Kuncheva & Whitaker 2003, Machine Learning 51, 181–207 (disagreement measure)",
        truth="direct count (tests/fusionscope/measures/pair/test_predictions.py)",
    ),
    "parents_loss_difference": Metric(
        label="difference of the parents' test losses",
        space=PAIR,
        unit=NATS,
        definition="abs(L₁ − L₂), the mean cross-entropies on the test set",
        source="fusionscope",
        truth="losses image by image (tests/fusionscope/measures/pair/test_predictions.py)",
    ),
    "parents_weight_distance": Metric(
        label="distance of the parents' weights",
        space=PAIR,
        definition="norm(w₁ − w₂) / √(norm(w₁)² + norm(w₂)²): 0 for equal, 1 for orthogonal weights; "
        "undefined where the parents differ in width",
        source="fusionscope",
        truth="weights by hand, NumPy (tests/fusionscope/measures/pair/test_distance.py)",
    ),
    # pair space, of a fusion that aligns: each parent beside the reference; of more than two the mean
    "aligned_gradient_cosine": Metric(
        label="cosine of the aligned parents' gradients",
        space=PAIR,
        definition="parents_gradient_cosine of the aligned parent and the reference, on the same images",
        source="after Yu et al. 2020, arXiv 2001.06782, definition 1",
        truth="a permuted copy: 1; the unaligned gradient, permuted by hand "
        "(tests/fusionscope/measures/pair/test_aligned.py)",
    ),
    "aligned_weight_distance": Metric(
        label="distance of the aligned parents' weights",
        space=PAIR,
        definition="parents_weight_distance of the aligned parent and the reference",
        source="fusionscope",
        truth="a permuted copy: 0; NumPy (tests/fusionscope/measures/pair/test_aligned.py)",
    ),
    "matching_cost_before": Metric(
        label="matching cost before alignment",
        space=PAIR,
        definition="sum over alignment groups of the mean over neurons of the fusion's own ground cost from "
        "neuron i of the parent to neuron i of the reference, all other groups being as they are matched; "
        "undefined where the parents differ in width",
        source="fusionscope",
        truth="costs by hand, sums of a written file (tests/fusionscope/measures/pair/test_cost.py)",
    ),
    "matching_cost_after": Metric(
        label="matching cost after alignment",
        space=PAIR,
        definition="the same along the coupling T that was found: sum over alignment groups of ⟨T, cost⟩",
        source="the objective of Singh & Jaggi 2020, arXiv 1910.05653, for exact transport",
        truth="a permuted copy: 0; costs by hand (tests/fusionscope/measures/pair/test_cost.py)",
    ),
}
