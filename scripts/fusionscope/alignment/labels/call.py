"""One call of an operation, as the functions see it that label its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from fusionscope.alignment.labels.records import Labels


@dataclass(frozen=True)
class Call:
    """A node of the graph that has just been run."""

    node: fx.Node
    sources: Sequence[Labels]  # of the activations that it reads, in their order
    value: Any  # what it gave: a tensor, or several of them where it moves elements
    labels: Mapping[fx.Node, object]  # of all nodes that are still needed
    run: fx.Interpreter

    @property
    def source(self) -> Labels:
        return self.sources[0]

    @property
    def name(self) -> str:
        """Of the module that is called, as in the state dict."""
        return str(self.node.target)

    @property
    def module(self) -> Any:
        """The module that is called; the table of operations has said which kind it is."""
        return self.run.fetch_attr(self.name)

    def arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """What it was called with, values in the place of nodes."""
        return self.run.fetch_args_kwargs_from_env(self.node)

    def given(self, *names: str) -> dict[str, Any]:
        """The arguments by name, nodes as they are; `names`: of those that may be given by position."""
        return dict(zip(names, self.node.args, strict=False)) | self.node.kwargs

    def labels_of(self, argument: object) -> Labels:
        """Those of an argument that is the node of one tensor."""
        labels = self.labels[argument]  # type: ignore[index]  # any object may be asked for
        assert isinstance(labels, Labels)
        return labels

    def value_of(self, argument: Any) -> Any:
        """An argument of the node, with values in the place of nodes."""
        return fx.node.map_arg(argument, lambda source: self.run.env[source])

    def rerun(self, part: str) -> Any:
        """The operation itself on labels (`part`: 'neuron' or 'place') instead of values."""

        def look_up(source: fx.Node) -> Any:
            # contiguous, as labels may be expanded where a view of the activation itself is possible
            if source in self.labels:
                return getattr(self.labels[source], part).contiguous()
            return self.run.env[source]

        arguments = fx.node.map_arg(self.node.args, look_up)
        options = fx.node.map_arg(self.node.kwargs, look_up)
        return getattr(self.run, self.node.op)(self.node.target, arguments, options)
