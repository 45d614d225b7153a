"""Networks that people write, odd in one way each: state, wrappers, what PyTorch refuses."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from fusionscope.images import Images

CLASSES, SIZE = 3, 6


class Usual(nn.Module):
    """Two convolutions and a linear layer; what is odd is added by `more` and done between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.head = nn.Linear(5, CLASSES)
        self.input_shape = (3, SIZE, SIZE)
        self.more()
        self.eval()

    def more(self) -> None:
        """Nothing."""

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(F.relu(self.one(x)))
        return self.head(F.relu(self.two(x)).mean((2, 3)))


# What is in the state dict or in attributes


class UnusedHead(Usual):
    def more(self):
        self.auxiliary, self.spare = nn.Linear(7, 2), nn.Parameter(torch.ones(3))


class UnusedBuffer(Usual):
    def more(self):
        self.register_buffer("classes_seen", torch.tensor([1.0, 2.0, 3.0]))


class Counts(Usual):
    def more(self):
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def middle(self, x):
        self.calls += 1
        return x


class CountsAnew(Counts):
    """Assigns another tensor to its buffer."""

    def middle(self, x):
        self.calls = self.calls + 1
        return x


class CountsInPlace(Counts):
    def middle(self, x):
        self.calls.add_(1)
        return x


class KeepsActivations(Usual):
    def more(self):
        self.seen: list[Tensor] = []

    def middle(self, x):
        self.seen.append(x)
        self.last = x
        return x


class SlashInAName(Usual):
    def more(self):
        self.add_module("branch/a", nn.Conv2d(4, 4, 1))

    def middle(self, x):
        return F.relu(getattr(self, "branch/a")(x))


class ExtraState(Usual):
    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


class ExtraStateOfTensors(ExtraState):
    def get_extra_state(self):
        return torch.ones(2)


class BufferThatIsNone(Usual):
    def more(self):
        self.register_buffer("scale", None)

    def middle(self, x):
        return x if self.scale is None else x * self.scale


class TableOfIndices(Usual):
    """Whole numbers, one of them too large for float64."""

    def more(self):
        self.register_buffer("order", torch.tensor([2, 0, 1, 3]))
        self.register_buffer("key", torch.tensor(2**60 + 1))

    def middle(self, x):
        return x[:, self.order]


class ConstantInForward(Usual):
    """Makes tensors that torch.fx keeps in the network."""

    def middle(self, x):
        return x + torch.tensor([0.5, -1.0, 2.0, 0.1]).view(4, 1, 1).to(x)


class ListsOfParameters(Usual):
    def more(self):
        self.scales = nn.ParameterList([torch.rand(4, 1, 1) for _ in range(2)])
        self.shifts = nn.ParameterDict({"7": torch.rand(4, 1, 1), "a_b": torch.rand(4, 1, 1)})

    def middle(self, x):
        return x * self.scales[0] * self.scales[1] + self.shifts["7"] + self.shifts["a_b"]


class SharedLayer(Usual):
    def more(self):
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight

    def middle(self, x):
        return F.relu(self.second(F.relu(self.first(x))))


class SpectralNorm(Usual):
    def more(self):
        self.two = parametrizations.spectral_norm(self.two)


class Pruned(Usual):
    """Its weight is computed in a hook, from a parameter and a mask."""

    def more(self):
        prune.l1_unstructured(self.two, "weight", amount=0.4)


class ComplexBuffer(Usual):
    def more(self):
        self.register_buffer("phase", torch.tensor([1j, 1 + 1j, 2.0, 1 - 2j]).view(4, 1, 1))

    def middle(self, x):
        return x * self.phase.abs()


STATES = (
    UnusedHead, UnusedBuffer, Counts, CountsAnew, CountsInPlace, KeepsActivations, SlashInAName, ExtraState,
    ExtraStateOfTensors, BufferThatIsNone, TableOfIndices, ConstantInForward, ListsOfParameters, SharedLayer,
    SpectralNorm, Pruned, ComplexBuffer,
)  # fmt: skip


# What PyTorch refuses


class ClampByHand(torch.autograd.Function):
    """A function of one's own, as it is written without torch.func in mind."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (x > 0)


class OwnFunction(Usual):
    def middle(self, x):
        return ClampByHand.apply(x)


class Branches(Usual):
    def middle(self, x):
        return x * 2 if x.sum() > 0 else x


class ThroughNumPy(Usual):
    def middle(self, x):
        return x + torch.from_numpy(x.detach().numpy()).sum() * 0


class CutsGradients(Usual):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class Frozen(Usual):
    def more(self):
        self.requires_grad_(False)


class NoParameters(nn.Module):
    input_shape = (3, SIZE, SIZE)

    def forward(self, x):
        return x.mean((2, 3))


class InDouble(Usual):
    def more(self):
        self.double()

    def forward(self, x):
        return super().forward(x.double())


class OneChannel(Usual):
    def more(self):
        self.one = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        return super().forward(x.mean(1, keepdim=True))


class ComplexParameter(Usual):
    def more(self):
        self.phase = nn.Parameter(torch.tensor([1j, 1 + 1j, 2.0, 1 - 2j]).view(4, 1, 1))

    def middle(self, x):
        return x * self.phase.real


class NormOfTheBatch(Usual):
    def more(self):
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def middle(self, x):
        return self.norm(x)


class SingleOnly(Usual):
    """Makes a tensor in single precision, whatever the network is in."""

    def middle(self, x):
        made = torch.zeros(x.shape)
        made[:] = x
        return made


class MaskOfBool(Usual):
    def more(self):
        self.register_buffer("mask", torch.tensor([True, False, True, True]).view(4, 1, 1))

    def middle(self, x):
        return x * self.mask


def with_rrelu() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.RReLU(), nn.Flatten(), nn.Linear(64, CLASSES))
    network.input_shape = (3, SIZE, SIZE)
    return network.eval()


def data_parallel() -> nn.Module:
    network = nn.DataParallel(Usual())
    network.input_shape = (3, SIZE, SIZE)
    return network.eval()


def torch_script() -> nn.Module:
    network = torch.jit.trace(Usual(), torch.zeros(1, 3, SIZE, SIZE))
    network.input_shape = (3, SIZE, SIZE)
    return network


REFUSED = (
    OwnFunction, Branches, ThroughNumPy, CutsGradients, Frozen, NoParameters, InDouble, OneChannel,
    ComplexParameter, NormOfTheBatch, SingleOnly, MaskOfBool, with_rrelu, data_parallel, torch_script,
)  # fmt: skip


def seeded(make, seed: int) -> nn.Module:
    """A network with weights of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def images(count: int = 24) -> Images:
    random = torch.Generator().manual_seed(3)
    return Images(
        pixels=torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=random),
        labels=torch.randint(0, CLASSES, (count,), generator=random),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        num_classes=CLASSES,
    )
