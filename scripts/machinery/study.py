"""The study: which experiments are built, which files are asked for, and what each job is told.

Rules ask a `Study`. What is asked for one job takes the job's wildcards: anything that has `experiment`,
`seed`, `model` and so on as attributes. Knows no Snakemake: whether a file exists, it is told.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fusionscope.errors import InputError
from fusionscope.options import short
from fusionscope.report.plot_table import (
    CHANCE,
    CORRELATION,
    DENSITIES,
    LEARNING_CURVES,
    MEASUREMENTS,
    PATHS,
    PLOTS,
    SIMILARITIES,
    VARIANCES,
    Plot,
)
from fusionscope.training.normalisation import PUBLISHED
from machinery import entries, pictures
from machinery.code_hashes import METRIC_NAMES, entry_hashes, is_ours
from machinery.entries import Entries, entry_of_metric, plot_of, with_entries
from machinery.experiment import (
    OF_CHILDREN,
    OF_PAIRS,
    PARTS,
    Experiment,
    is_parent,
    parent_name,
    record_file,
)
from machinery.own_code import check_entry
from machinery.plain import plain
from machinery.sweeps import shown

LONG_LIST = 5  # names in a sentence
# Outcomes of a fusion, and the part that measures each.
OUTCOMES = {"accuracy": "prediction", "relative_accuracy": "prediction", "loss_barrier": "connectivity"}
ARCHITECTURE = "architecture"
# Rules whose results say metrics' names for people: the table of these is code to them.
SHOW_NAMES = (
    "correlate",
    "correlate_pooled",
    "collect_measurements",
    "collect_results",
    "summarise",
    "plot",
    "predict",
    "plot_predictors",
    "report",
)

OfWildcards = Callable[[Any], Any]


@dataclass(frozen=True)
class Study:
    """The experiments that are to be built, and the weights in their folders that the user provides."""

    experiments: Mapping[str, Experiment]
    provided: Collection[str] = ()

    @classmethod
    def read(cls, resolved: Mapping[str, Mapping], exists: Callable[[str], bool]) -> "Study":
        """From what `settings.resolve_experiments` gives; `exists` looks where results are kept."""
        experiments = {name: Experiment(name, settings) for name, settings in resolved.items()}
        untrained = [experiment for experiment in experiments.values() if not experiment.trained]
        provided = [path for experiment in untrained for path in provided_weights(experiment, exists)]
        initial = [e.initial_weights(seed, p) for e in untrained for seed in e.seeds for p in e.parents]
        return cls(experiments, frozenset([*provided, *filter(exists, initial)]))

    # what there is

    @property
    def fusions(self) -> list[str]:
        return list(dict.fromkeys(name for e in self.experiments.values() for name in e.fusions))

    @property
    def parents(self) -> list[str]:
        return max((e.parents for e in self.experiments.values()), key=len)

    @property
    def trained(self) -> list[str]:
        return [name for name, experiment in self.experiments.items() if experiment.trained]

    @property
    def correlated(self) -> list[str]:
        """The experiments that have a correlation space."""
        return [name for name, e in self.experiments.items() if e.measures("correlation")]

    @property
    def sweeps(self) -> dict[str, list[Experiment]]:
        """The sweeps by name, each with the experiments that are its settings."""
        found: dict[str, list[Experiment]] = {}
        for experiment in self.experiments.values():
            if experiment.sweep is not None:
                found.setdefault(experiment.sweep, []).append(experiment)
        return found

    def settings_of_sweeps(self) -> dict[str, str]:
        """The experiments that are settings of a sweep, and of which."""
        return {name: experiment.sweep for name, experiment in self.experiments.items() if experiment.sweep}

    @property
    def wide_sweeps(self) -> list[str]:
        """The sweeps of several settings; one of a single setting is an experiment as any other."""
        return [name for name, settings in self.sweeps.items() if len(settings) > 1]

    @property
    def wholes(self) -> dict[str, list[Experiment]]:
        """What predictors are sought in, and the page has a part for: each sweep with its settings, and each
        experiment that is no setting of one."""
        found: dict[str, list[Experiment]] = {}
        for name, experiment in self.experiments.items():
            whole = experiment.sweep if experiment.sweep in self.wide_sweeps else name
            found.setdefault(str(whole), []).append(experiment)
        return found

    def plots(self, experiment: str) -> dict[str, Plot]:
        """The plots of an experiment by name, if what they show is measured: those it asks for, or all that
        its seeds are enough for."""
        chosen = self.experiments[experiment]
        enough = [name for name, plot in PLOTS.items() if plot.fewest_seeds <= len(chosen.seeds)]
        asked = [plot_of(name) for name in chosen.settings.get("plots", enough)]
        return {name: plot for name, plot in asked if self.can_be_drawn(chosen, plot)}

    def can_be_drawn(self, experiment: Experiment, plot: Plot) -> bool:
        """Whether all that a plot shows is measured, and of at least one model."""
        measured = not plot.lacks(experiment.settings["spaces"])
        of_some = all(self.tables(experiment.name, kind) for kind in plot.inputs)
        return measured and of_some

    # patterns of wildcards

    def experiment_pattern(self) -> str:
        return any_of(self.experiments)

    def trained_pattern(self) -> str:
        return any_of(self.trained)

    def parent_pattern(self) -> str:
        """Of the numbers of parents."""
        return any_of(parent.removeprefix("parent_") for parent in self.parents)

    def fusion_pattern(self) -> str:
        return any_of(self.fusions)

    def model_pattern(self) -> str:
        return any_of([*self.parents, *self.fusions])

    def plot_pattern(self) -> str:
        return any_of(dict.fromkeys(name for e in self.experiments for name in self.plots(e)))

    def fused_pattern(self) -> str:
        """Of experiments at the beginning of a child's files, except of children that the user provides."""
        children = [
            path.removeprefix("experiments/").removesuffix(".pth").removesuffix("_aligned")
            for path in sorted(self.provided)
        ]
        files = rf"(?:{any_of(children)})(?:\.pth|_aligned\.pth|_alignment\.csv)$"
        return f"(?!{files})(?:{any_of(self.experiments)})"

    def sweep_pattern(self) -> str:
        return any_of(self.sweeps)

    def whole_pattern(self) -> str:
        return any_of(self.wholes)

    def axis_pattern(self) -> str:
        return any_of(dict.fromkeys(axis for sweep in self.sweeps for axis in self.axes(sweep)))

    # files that are asked for

    def results(self, wildcards: Any = None) -> list[str]:
        """Every file that `all` asks for."""
        files = [path for name in self.experiments for path in self.results_of(name)]
        files += [path for name in self.sweeps for path in self.results_of_sweep(name)]
        files += [path for name in self.wholes for path in self.predictors(name)]
        return [*files, *self.pooled_correlation(), "results/measurements.csv", "results/report.html"]

    def results_of(self, experiment: str) -> list[str]:
        """Every file that `all` asks for in one experiment."""
        chosen = self.experiments[experiment]
        tables = ["results.csv", "summary.csv", "tables/summary.tex"]
        if chosen.measures("correlation"):
            tables.append("correlation_space.csv")
        plots = [f"plots/{name}.{kind}" for name in self.plots(experiment) for kind in ("png", "pdf")]
        return [chosen.table(name) for name in (*tables, *plots)] + self.results_of_models(experiment)

    def results_of_sweep(self, sweep: str) -> list[str]:
        """The table of a sweep, and a figure for each of its axes; nothing where no outcome is measured."""
        if not self.measurements_of_sweep(sweep):
            return []
        plots = [f"plots/sweep_{axis}.{kind}" for axis in self.axes(sweep) for kind in ("png", "pdf")]
        return [f"results/{sweep}/{file}" for file in ("sweep.csv", *plots)]

    def predictors(self, whole: str) -> list[str]:
        """The table of predictors of an experiment or a sweep, and a figure for each outcome."""
        outcomes = self.predicted(whole)
        plots = [f"plots/predictors_{outcome}.{kind}" for outcome in outcomes for kind in ("png", "pdf")]
        return [f"results/{whole}/{file}" for file in ("predictors.csv", *plots)] if outcomes else []

    def predicted(self, whole: str) -> list[str]:
        """The outcomes that predictors are sought for: those that are measured, where there are children and
        several seeds, and correlations are wanted."""
        first = self.wholes[whole][0]
        if not (first.measures("correlation") and first.fusions and len(first.seeds) > 1):
            return []
        return [outcome for outcome, part in OUTCOMES.items() if first.measures(part)]

    def measurements_of_sweep(self, sweep: str) -> list[str]:
        """What is measured of its settings in the spaces of outcomes."""
        files = {PARTS["prediction"], PARTS["connectivity"]}
        return [
            path
            for experiment in self.sweeps[sweep]
            for path in self.measurement_files(experiment.name)
            if os.path.basename(path) in files
        ]

    def results_of_models(self, experiment: str) -> list[str]:
        """What tables and plots are made from: made again where it is missing, though they are there."""
        kinds = (MEASUREMENTS, DENSITIES, PATHS, SIMILARITIES, VARIANCES)
        files = [path for kind in kinds for path in self.tables(experiment, kind)]
        chosen = self.experiments[experiment]
        if chosen.measures("scales"):
            files += [
                chosen.measured(s, model, "scale_search.csv") for s in chosen.seeds for model in chosen.models
            ]
        return files + self.alignment_files(experiment, "weight_distance.csv")

    def measurement_files(self, experiment: str) -> list[str]:
        """One CSV for each seed, model and part that the experiment measures; those of pairs come last."""
        chosen = self.experiments[experiment]
        files = [
            chosen.measured(seed, model, file)
            for seed in chosen.seeds
            for model in chosen.models
            for part, file in PARTS.items()
            if part not in (OF_CHILDREN, OF_PAIRS) and chosen.measures(part)
        ]
        files += self.connectivity_files(experiment, PARTS[OF_CHILDREN])
        return files + self.pair_files(experiment)

    def connectivity_files(self, experiment: str, file: str) -> list[str]:
        """One for each seed and child that is made here: of others nobody knows the aligned parents."""
        chosen = self.experiments[experiment]
        if not chosen.measures(OF_CHILDREN):
            return []
        return [
            chosen.measured(seed, fusion, file)
            for seed in chosen.seeds
            for fusion in chosen.fusions
            if chosen.weights(seed, fusion) not in self.provided
        ]

    def pair_files(self, experiment: str) -> list[str]:
        """One for each seed, and one for each alignment that is made here."""
        chosen, file = self.experiments[experiment], PARTS[OF_PAIRS]
        if not chosen.measures(OF_PAIRS):
            return []
        of_parents = [chosen.measured_of_parents(seed, file) for seed in chosen.seeds]
        return of_parents + self.alignment_files(experiment, file)

    def alignment_files(self, experiment: str, file: str) -> list[str]:
        """One for each seed and alignment that is made and measured here."""
        chosen = self.experiments[experiment]
        if not chosen.measures(OF_PAIRS):
            return []
        return [
            chosen.measured(seed, fusion, file)
            for seed in chosen.seeds
            for fusion in chosen.fusions
            if chosen.aligns(fusion) and chosen.weights(seed, fusion) not in self.provided
        ]

    def tables(self, experiment: str, kind: str) -> list[str]:
        """The files from which plots are given what is of a `kind`; none where they are not made."""
        chosen = self.experiments[experiment]
        if kind == MEASUREMENTS:
            return self.measurement_files(experiment)
        if kind == LEARNING_CURVES and chosen.trained:
            return [f"{chosen.folder(s)}/{record_file(p)}" for s in chosen.seeds for p in chosen.parents]
        if kind == DENSITIES and chosen.measures("hessian"):
            name = "hessian_spectral_density.csv"
            return [chosen.measured(s, model, name) for s in chosen.seeds for model in chosen.models]
        if kind == PATHS:
            return self.connectivity_files(experiment, "connectivity_path.csv")
        if kind == SIMILARITIES:
            return self.connectivity_files(experiment, "similarity.csv")
        if kind == VARIANCES:
            return self.connectivity_files(experiment, "activation_variance.csv")
        if kind == CORRELATION and chosen.measures("correlation"):
            return [chosen.table("correlation_space.csv")]
        if kind == CHANCE:
            return [chosen.data]
        return []

    def report_sections(self) -> dict[str, dict[str, list[str]]]:
        """The parts of the page for people: the wholes by name, of a sweep with its axes."""
        return {name: self.axes(name) if name in self.wide_sweeps else {} for name in self.wholes}

    def report_files(self) -> list[dict[str, Any]]:
        """What the page for people is made of: path, experiment and kind of each file, what it is of, and the
        part of the page that shows it."""
        wide = self.wide_sweeps
        files = []
        for name, experiment in self.experiments.items():
            if experiment.sweep in wide:
                shown, part = self.report_files_of_setting(experiment), experiment.sweep
            else:
                shown, part = self.report_files_of(experiment), name
            files += [{"section": part, "experiment": name, **file} for file in shown]
        return (
            files
            + [
                {"section": name, "experiment": name, **file}
                for name in self.sweeps
                for file in self.report_files_of_sweep(name)
            ]
            + [
                {"section": name, "experiment": name, **file}
                for name in self.wholes
                for file in self.report_files_of_predictors(name)
            ]
        )

    def report_files_of_setting(self, experiment: Experiment) -> Iterator[dict[str, Any]]:
        """Of a sweep's many settings the page shows numbers alone."""
        yield {"kind": "data", "path": experiment.data}
        for path in self.measurement_files(experiment.name):
            yield {"kind": MEASUREMENTS, "path": path}

    def report_files_of_sweep(self, sweep: str) -> Iterator[dict[str, Any]]:
        if not self.measurements_of_sweep(sweep):
            return
        yield {"kind": "sweep", "path": f"results/{sweep}/sweep.csv"}
        for axis in self.axes(sweep):
            words = axis.replace("_", " ")
            yield {
                "kind": "plot",
                "path": f"results/{sweep}/plots/sweep_{axis}.png",
                "name": f"sweep_{axis}",
                "title": f"outcomes along {words}",
                "caption": "Median over seeds, and their range as a band; a line for each fusion.",
            }

    def report_files_of_predictors(self, whole: str) -> Iterator[dict[str, Any]]:
        if outcomes := self.predicted(whole):
            yield {"kind": "predictors", "path": f"results/{whole}/predictors.csv"}
        for outcome in outcomes:
            yield {
                "kind": "plot",
                "path": f"results/{whole}/plots/predictors_{outcome}.png",
                "name": f"predictors_{outcome}",
                "title": f"what goes with the {outcome.replace('_', ' ')} of children",
                "caption": "Properties of parents and pairs with the largest coefficients, and their 95 % "
                "intervals; filled is what is shown, all that were tried considered.",
            }

    def report_labels(self) -> list[dict[str, Any]]:
        """The same in the same order, without paths, which a job gets as its inputs."""
        return [{key: file[key] for key in file if key != "path"} for file in self.report_files()]

    def pooled_correlation(self) -> list[str]:
        """The table over all experiments, if there are several to pool."""
        return ["results/correlation_space.csv"] if len(self.correlated) > 1 else []

    def report_files_of(self, experiment: Experiment) -> Iterator[dict[str, Any]]:
        yield {"kind": "data", "path": experiment.data}
        for kind in (MEASUREMENTS, CORRELATION, PATHS, DENSITIES, VARIANCES):
            for path in self.tables(experiment.name, kind):
                yield {"kind": kind, "path": path}
        for name, plot in self.plots(experiment.name).items():
            path = experiment.table(f"plots/{name}.png")
            yield {"kind": "plot", "path": path, "name": name, "title": plot.label, "caption": plot.caption}
        for seed in experiment.seeds:
            for fusion in experiment.fusions:
                if experiment.weights(seed, fusion) not in self.provided:
                    path = f"{experiment.folder(seed)}/{record_file(fusion)}"
                    yield {"kind": "alignment", "path": path, "seed": seed, "fusion": fusion}

    # what jobs read

    def of(self, wildcards: Any) -> Experiment:
        """The experiment of a job."""
        return self.experiments[wildcards.experiment]

    def data_file(self, wildcards: Any) -> str:
        return self.of(wildcards).data

    def parent_files(self, wildcards: Any) -> list[str]:
        """The weights of all parents of a seed."""
        experiment = self.of(wildcards)
        return [experiment.weights(wildcards.seed, parent) for parent in experiment.parents]

    def ensemble_files(self, wildcards: Any) -> list[str]:
        """For a child the weights of its parents; none for a parent."""
        return [] if is_parent(wildcards.model) else self.parent_files(wildcards)

    def origin_files(self, wildcards: Any) -> list[str]:
        """Where a model set out from: a child from the parents that are as wide as it is, a parent from
        its initial weights if known."""
        experiment, seed, model = self.of(wildcards), wildcards.seed, wildcards.model
        if is_parent(model):
            initial = experiment.initial_weights(seed, model)
            return [initial] if experiment.trained or initial in self.provided else []
        width = experiment.width(experiment.reference(model))
        alike = [parent for parent in experiment.parents if experiment.width(parent) == width]
        return [experiment.weights(seed, parent) for parent in alike]

    def scale_files(self, wildcards: Any) -> list[str]:
        """What the search for a model's scales found, if they are searched for."""
        experiment = self.of(wildcards)
        wanted = experiment.measures("scales")
        return [experiment.measured(wildcards.seed, wildcards.model, "scale_search.csv")] if wanted else []

    def measurements(self, wildcards: Any) -> list[str]:
        return self.measurement_files(wildcards.experiment)

    def measurements_of_whole(self, wildcards: Any) -> list[str]:
        """What predictors are sought in, of an experiment or of all settings of a sweep: all that is measured
        of parents and pairs, and of children their outcomes."""
        of_children = {PARTS[part] for part in (*OUTCOMES.values(), OF_PAIRS)}
        return [
            path
            for experiment in self.wholes[wildcards.whole]
            for path in self.measurement_files(experiment.name)
            if is_parent(Path(path).parent.name) or os.path.basename(path) in of_children
        ]

    def all_measurements(self, wildcards: Any = None) -> list[str]:
        return [path for name in self.experiments for path in self.measurement_files(name)]

    def correlated_measurements(self, wildcards: Any = None) -> list[str]:
        return [path for name in self.correlated for path in self.measurement_files(name)]

    def correlation(self, wildcards: Any) -> list[str]:
        """The experiment's correlations, if it has any."""
        return self.tables(wildcards.experiment, CORRELATION)

    def plot_tables(self, wildcards: Any) -> dict[str, list[str]]:
        """The tables that a plot shows, by their kinds."""
        plot = self.plot(wildcards)
        return {kind: self.tables(wildcards.experiment, kind) for kind in plot.inputs}

    # what jobs are told

    def axes(self, sweep: str) -> dict[str, list[str]]:
        """The axes of a sweep by name, each with its values as text, in their order."""
        settings = [experiment.settings["sweep"] for experiment in self.sweeps[sweep]]
        found: dict[str, dict[str, None]] = {axis: {} for axis in settings[0]["axes"].values()}
        for setting in settings:
            for values in (setting["values"], *(child["values"] for child in setting["fusions"].values())):
                for axis, value in as_text(values, setting["axes"]).items():
                    found[axis][value] = None
        return {axis: list(values) for axis, values in found.items()}

    def points(self, whole: str) -> dict[str, dict[str, Any]]:
        """Where the settings of a sweep lie on its axes, by their names, and their children; an experiment
        that is not swept is a setting without axes."""
        settings = self.sweeps.get(whole) or self.wholes[whole]
        return {experiment.name: point(experiment) for experiment in settings}

    def stream(self, wildcards: Any) -> str:
        """From which name a job's random numbers come, where they are the same for all models."""
        return self.of(wildcards).stream

    def role(self, wildcards: Any) -> list[str | int]:
        """What a job's model is, for its random streams: the experiment, or the sweep it belongs to, the
        seed, and a parent or the fusion that makes it, whatever is swept of that."""
        experiment = self.of(wildcards)
        if hasattr(wildcards, "parent"):
            model = parent_name(wildcards.parent)
        else:
            model = wildcards.fusion if hasattr(wildcards, "fusion") else wildcards.model
        return [experiment.stream, int(wildcards.seed), experiment.role(model)]

    def setting(self, *keys: str) -> OfWildcards:
        """A function of a job's wildcards: what its experiment's settings say under `keys`."""

        def look_up(wildcards: Any) -> Any:
            value: Any = self.of(wildcards).settings
            for key in keys:
                value = value[key]
            return plain(value)

        return look_up

    def accuracy_metrics(self) -> dict[str, str]:
        """Of the experiments that are correlated."""
        return {name: self.experiments[name].settings["accuracy_metric"] for name in self.correlated}

    def accuracy_metrics_of_all(self) -> dict[str, str]:
        return {name: e.settings["accuracy_metric"] for name, e in self.experiments.items()}

    def configurations(self) -> dict[str, str]:
        """What the configuration says of each experiment, to be read: YAML.

        Without how much is evaluated at once, which changes no result: nor does it the page.
        """
        return {name: as_yaml(experiment.settings) for name, experiment in self.experiments.items()}

    def models(self, wildcards: Any) -> list[str]:
        return self.of(wildcards).models

    def table_metrics(self, wildcards: Any) -> list[str] | None:
        """The metrics of the table for papers, or None for all."""
        named = self.of(wildcards).settings.get("table_metrics")
        return None if named is None else [name.split(":")[-1] for name in named]

    def network(self, wildcards: Any) -> dict[str, Any]:
        """The network of a job's model."""
        return self.of(wildcards).network(wildcards.model)

    def trained_network(self, wildcards: Any) -> dict[str, Any]:
        return self.of(wildcards).network(f"parent_{wildcards.parent}")

    def parent_networks(self, wildcards: Any) -> list[dict[str, Any]]:
        """The networks of all parents, in the order of `parent_files`."""
        return list(self.parent_networks_by_name(wildcards).values())

    def parent_networks_by_name(self, wildcards: Any) -> dict[str, dict[str, Any]]:
        experiment = self.of(wildcards)
        return {parent: experiment.network(parent) for parent in experiment.parents}

    def ensemble_networks(self, wildcards: Any) -> list[dict[str, Any]]:
        """In the order of `ensemble_files`."""
        return [] if is_parent(wildcards.model) else self.parent_networks(wildcards)

    def reference(self, wildcards: Any) -> str:
        return self.of(wildcards).reference(wildcards.model)

    def repair_images(self, wildcards: Any) -> int:
        return self.of(wildcards).repair_images(wildcards.model)

    def fusion(self, wildcards: Any) -> dict[str, Any]:
        """How the job's child is made."""
        return plain(self.of(wildcards).definition(wildcards.fusion))

    def finetune_recipe(self, wildcards: Any) -> dict[str, Any] | None:
        return self.of(wildcards).finetune_recipe(wildcards.fusion)

    def runs_networks(self, wildcards: Any) -> bool:
        return self.of(wildcards).runs_networks(wildcards.fusion)

    def complexity_measures(self, wildcards: Any) -> dict[str, str]:
        """Measures that cost little: name -> what computes it, `module:function`."""
        names = self.of(wildcards).settings["measurements"]["complexity"]
        return {name.split(":")[-1]: entry_of_metric(name) for name in names}

    def plot(self, wildcards: Any) -> Plot:
        return self.plots(wildcards.experiment)[wildcards.plot]

    def plot_entry(self, wildcards: Any) -> str:
        return self.plot(wildcards).draw

    def plot_options(self, wildcards: Any) -> dict[str, Any]:
        settings, plot = self.of(wildcards).settings, self.plot(wildcards)
        return plain({key: settings[key] for key in plot.options} | dict(plot.arguments))

    def plot_caption(self, wildcards: Any) -> str:
        return self.plot(wildcards).caption

    def plot_labels(self, wildcards: Any) -> dict[str, str]:
        """For the report's list of plots."""
        return {"plot": self.plot(wildcards).label}

    def data_source(self, wildcards: Any) -> dict[str, Any]:
        """What a prepared file is made of: a data set, its images' size and channels where they are not the
        usual ones and, in an experiment's own file, which images and how they are normalised."""
        path = f"data/{wildcards.dataset}.npz"
        readers = [experiment for experiment in self.experiments.values() if experiment.data == path]
        if not readers:
            return {"name": wildcards.dataset}
        settings = readers[0].settings
        source: dict[str, Any] = {"name": settings["dataset"]}
        if "image_folder" in settings:
            folder = settings["image_folder"]
            source = {"folder": folder, "name": "image_folder", "images": pictures.version(folder, path)}
        source |= readers[0].prepared_shape
        if settings["normalisation"] != PUBLISHED:
            source["normalisation"] = plain(settings["normalisation"])
            if settings["channels"] != 3:  # as many numbers as there are channels
                source["channels"] = settings["channels"]
        return source

    # the code that results depend on

    def code(self, rule: str) -> OfWildcards:
        """A function of a job's wildcards: the hashes of the code that its results depend on.

        That is the rule's script with all it imports, and the entries that the job's experiment names with
        all they import.
        """
        keep = (METRIC_NAMES,) if rule in SHOW_NAMES else ()

        def look_up(wildcards: Any) -> dict[str, Any]:
            found: Entries = {}
            for kind in ENTRIES_OF.get(rule, ()):
                found |= kind(self, wildcards)
            return with_entries(rule, found, keep)

        return look_up

    def data_entries(self, wildcards: Any) -> Entries:
        return entries.of_data_set(self.data_source(wildcards)["name"])

    def trained_network_entries(self, wildcards: Any) -> Entries:
        return entries.of_network(self.trained_network(wildcards))

    def network_entries(self, wildcards: Any) -> Entries:
        """Of the job's model."""
        return entries.of_network(self.network(wildcards))

    def parent_network_entries(self, wildcards: Any) -> Entries:
        return entries.of_network(self.parent_networks(wildcards)[0])  # alike except for their widths

    def fusion_entries(self, wildcards: Any) -> Entries:
        """Of the fusion that makes the job's child."""
        return entries.of_fusion(self.of(wildcards).definition(wildcards.fusion))

    def repair_entries(self, wildcards: Any) -> Entries:
        """Of repair: every child's variance is measured in the layers that it would set right."""
        return {entries.REPAIR: None}

    def complexity_entries(self, wildcards: Any) -> Entries:
        return dict.fromkeys(self.complexity_measures(wildcards).values())

    def plot_entries(self, wildcards: Any) -> Entries:
        return {self.plot_entry(wildcards): None}

    # checks before any job

    def provided_files(self, experiment: Experiment) -> Iterator[tuple[str, str]]:
        """The files of weights that the user provides, each with the model whose network it is for."""
        for seed in experiment.seeds:
            yield from ((experiment.weights(seed, parent), parent) for parent in experiment.parents)
            children = [(experiment.weights(seed, fusion), fusion) for fusion in experiment.fusions]
            initial = [(experiment.initial_weights(seed, parent), parent) for parent in experiment.parents]
            yield from ((path, model) for path, model in children + initial if path in self.provided)

    def check_own_code(self, *, all_installed: bool = True) -> None:
        """Raise InputError for the first of the user's own code that is not Python or not there.

        `all_installed`: whether jobs have the packages that this process has, and no others.
        """
        for experiment in self.experiments.values():
            where = f"config: experiments.{experiment.name}"
            for entry, place in self.named_code(experiment):
                entry_hashes(entry, Path.cwd())
                if not is_ours(entry):
                    check_entry(
                        entry,
                        f"{where}: {place} {entry}",
                        architecture=place == ARCHITECTURE,
                        all_installed=all_installed,
                    )

    def named_code(self, experiment: Experiment) -> Iterator[tuple[str, str]]:
        """The code that an experiment names, `module:name`, and what for."""
        named = [(entries.of_network(experiment.network("parent_1")), ARCHITECTURE)]
        named += [
            (entries.of_fusion(experiment.definition(name)), f"fusion {name},") for name in experiment.fusions
        ]
        measures = experiment.settings["measurements"]["complexity"]
        named += [(entries.of_metrics(measures), "complexity")]
        named += [({plot.draw: None}, "plot") for plot in self.plots(experiment.name).values()]
        return ((entry, place) for found, place in named for entry in found)

    def check_image_folders(self) -> None:
        """Raise InputError for a folder of images without train/ and test/, before it is walked through."""
        for name, experiment in self.experiments.items():
            if "image_folder" not in experiment.settings:
                continue
            where, folder = f"config: experiments.{name}.image_folder", experiment.settings["image_folder"]
            for half in ("train", "test"):
                if not os.path.isdir(os.path.join(folder, half)):
                    raise InputError(
                        f"{where}: {short(folder)} has no folder {half}/ in it; give the path of a folder "
                        "with train/<class>/ and test/<class>/"
                    )

    def check_weights(self, exists: Callable[[str], bool]) -> None:
        """Raise InputError where provided weights would be overwritten, or are not there."""
        for experiment in self.experiments.values():
            if experiment.trained:
                check_nothing_is_overwritten(experiment, exists)
            else:
                check_provided(experiment, exists)


# Which entries the jobs of a rule use, besides what its script imports.
ENTRIES_OF: dict[str, tuple[Callable[[Study, Any], Entries], ...]] = {
    "prepare_data": (Study.data_entries,),
    "train": (Study.trained_network_entries,),
    "fuse": (Study.parent_network_entries, Study.fusion_entries),
    "measure_input": (Study.network_entries,),
    "measure_hessian": (Study.network_entries,),
    "measure_scales": (Study.network_entries,),
    "measure_complexity": (Study.network_entries, Study.complexity_entries),
    "measure_prediction": (Study.network_entries,),
    "measure_connectivity": (Study.network_entries, Study.repair_entries),
    "measure_pair": (Study.parent_network_entries,),
    "measure_alignment": (Study.parent_network_entries,),
    "plot": (Study.plot_entries,),
}


def as_yaml(settings: Mapping[str, Any]) -> str:
    shown = plain(settings)
    shown["measurements"].pop("batch_size")
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def point(experiment: Experiment) -> dict[str, Any]:
    """Where an experiment lies on the axes of its sweep; see `Study.points`."""
    if experiment.sweep is None:
        return {
            "values": {},
            "fusions": {name: {"fusion": name, "values": {}} for name in experiment.fusions},
        }
    setting = experiment.settings["sweep"]
    children = {
        child: {"fusion": of_child["fusion"], "values": as_text(of_child["values"], setting["axes"])}
        for child, of_child in setting["fusions"].items()
    }
    return {"values": as_text(setting["values"], setting["axes"]), "fusions": children}


def as_text(values: Mapping[str, Any], axes: Mapping[str, str]) -> dict[str, str]:
    """Values of swept keys as tables and figures show them, by the names of their `axes`."""
    return {axes[key]: shown(value) for key, value in values.items()}


def any_of(names: Iterable[str]) -> str:
    """A pattern that matches one of `names`, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def provided_weights(experiment: Experiment, exists: Callable[[str], bool]) -> list[str]:
    """Weights in the experiment's folders that the workflow did not make: they have no record."""
    return [
        weights for weights, record in experiment.recorded_weights() if exists(weights) and not exists(record)
    ]


def check_nothing_is_overwritten(experiment: Experiment, exists: Callable[[str], bool]) -> None:
    records = dict(experiment.recorded_weights())
    for path in provided_weights(experiment, exists):
        record = records[path]
        raise InputError(
            f"{path}: would be overwritten, and {Path(record).name}, which this workflow writes before it, "
            f"is not there; are the weights yours, set 'weights: provided' for {experiment.name} in "
            "config.yaml, or move them away; was that file deleted, delete the weights too: the same are "
            "made again"
        )


def check_provided(experiment: Experiment, exists: Callable[[str], bool]) -> None:
    files = [experiment.weights(seed, parent) for seed in experiment.seeds for parent in experiment.parents]
    missing = [path for path in files if not exists(path)]
    if missing:
        more = f" and {len(missing) - LONG_LIST} more" if len(missing) > LONG_LIST else ""
        raise InputError(
            f"{', '.join(missing[:LONG_LIST])}{more}: no such file, though {experiment.name} has "
            "'weights: provided'; put the weights there, or set 'weights: trained'"
        )
