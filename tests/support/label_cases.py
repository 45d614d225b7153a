"""Networks that users might write, each with the channels that should move, worked out by hand."""

from collections.abc import Callable

from alignment_cases import ROUNDING, change_when_permuted, moving, prepared, reasons
from torch import nn
from torch.nn import functional as F


class Cases(dict[str, tuple[type[nn.Module], dict[str, int]]]):
    """A test module's networks by name, with the channels of each layer that move."""

    def case(self, **expected: int) -> Callable[[type[nn.Module]], type[nn.Module]]:
        """Enter a network with what should move (dots written as __)."""

        def enter(network: type[nn.Module]) -> type[nn.Module]:
            self[network.__name__] = (network, {name.replace("__", "."): n for name, n in expected.items()})
            return network

        return enter

    def check(self, name: str) -> None:
        """What moves changes no function, and as much moves as worked out by hand."""
        make, expected = self[name]
        network = prepared(make)
        assert change_when_permuted(network) < ROUNDING
        assert moving(network) == {layer: count for layer, count in expected.items() if count}

    def check_reason(self, name: str, layer: str, reason: str) -> None:
        """What stays says why."""
        assert reason in reasons(prepared(self[name][0]))[layer]


class Net(nn.Module):
    """A convolution, something in between, a convolution and a linear layer over the channels."""

    wide = 8  # channels that come out of the middle

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(self.wide, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.more()

    def more(self):
        pass

    def middle(self, x):
        return F.relu(x)

    def end(self, x):
        return self.head(F.relu(x).mean((2, 3)))

    def forward(self, x):
        return self.end(self.two(self.middle(self.one(x))))
