"""No alignment: neuron i of one network for neuron i of the other."""

from fusionscope.fusion.options import AverageOptions
from fusionscope.fusion.pair import Pair
from fusionscope.images import Images


class Average(AverageOptions):
    """All neurons stay where they are, whatever the architecture: the study's `naive_fused`."""

    def align(self, pair: Pair, images: Images | None, seed: int) -> None:
        """Nothing is matched."""
