# fusionscope: train pairs of networks, fuse each pair, measure parents and children.
from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"


# Built from envs/fusionscope.def; for --sdm apptainer only.
container: os.path.relpath(ROOT / "envs/fusionscope.sif")


include: "rules/watch.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/fuse.smk"
include: "rules/measure.smk"
include: "rules/correlate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        STUDY.results,
