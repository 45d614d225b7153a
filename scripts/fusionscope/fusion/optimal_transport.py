"""Neurons matched by optimal transport, by their weights or by what they answer to images."""

from functools import partial

from fusionscope.alignment.move import make_map
from fusionscope.errors import InputError
from fusionscope.fusion.by_activations import activation_moments, by_activations
from fusionscope.fusion.by_weights import by_weights
from fusionscope.fusion.options import OptimalTransportOptions
from fusionscope.fusion.pair import Match, Pair, ToMap
from fusionscope.fusion.transport import Solver, exact, sinkhorn
from fusionscope.images import Images


class OptimalTransport(OptimalTransportOptions):
    """After Singh & Jaggi 2020 (arXiv 1910.05653, section 4); by default the study's `geometric_fused`.

    `align_by` 'weights': see `by_weights`; 'activations' on images: see `by_activations`. `mass` of a
    neuron: 'uniform', or 'importance' (the norm of its incoming weights; the root mean square of its
    activations).
    """

    def align(self, pair: Pair, images: Images | None, seed: int) -> Match:
        """The neurons of A matched to those of B. Raises InputError where images are needed and missing."""
        assert self.ground_metric is not None  # filled in with the options' checks, as below
        if self.align_by == "weights":
            assert self.sides is not None
            assert self.rows is not None
            return by_weights(
                pair,
                self.solver_function(),
                self.map_function(),
                mass=self.mass,
                ground_metric=self.ground_metric,
                sides=self.sides,
                rows=self.rows,
            )
        assert self.activations is not None
        if images is None:
            raise InputError("align_by 'activations' needs images: give 'images', or align by weights")
        return by_activations(
            activation_moments(pair, self.activations, images),
            self.solver_function(),
            self.map_function(),
            mass=self.mass,
            ground_metric=self.ground_metric,
        )

    def solver_function(self) -> Solver:
        return exact if self.reg is None else partial(sinkhorn, reg=self.reg)

    def map_function(self) -> ToMap:
        return partial(make_map, reader_normalisation=self.reader_normalisation)
