"""The study's networks by name: the class that makes each, and with which options. Imports no torch."""

MODEL_TYPES: dict[str, tuple[str, dict[str, bool]]] = {
    name + suffix: (network, {"bias": bias, "batch_norm": batch_norm})
    for name, network in (
        ("VGG11", "fusionscope.networks.vgg:VGG11"),
        ("RESNET18", "fusionscope.networks.resnet:ResNet18"),
    )
    for suffix, bias, batch_norm in (
        ("", True, True),
        ("_NOBIAS", False, True),
        ("_NOBN", True, False),
        ("_NOBIAS_NOBN", False, False),
    )
}
