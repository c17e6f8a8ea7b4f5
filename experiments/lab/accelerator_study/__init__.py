"""A fine-tuned two-stage classifier against the flat ensemble that costs the same, at full size.

    python -m experiments.lab.accelerator_study pack DATA HIERARCHY
    python -m experiments.lab.accelerator_study train --output FOLDER
    python -m experiments.lab.accelerator_study judge FOLDER experiments/lab/results/accelerator-study.json

`pack` writes photographs and weights into the folder `.accelerator` (under 64 MB for 5,421 photographs of 256 pixels);
`train` needs that folder, numpy, Pillow and PyTorch (2.6 or later), and nothing else of this repository's
dependencies; it fine-tunes EfficientNet-Lite0 on whatever accelerator PyTorch finds, stops before `--minutes` are over,
goes on where it was stopped, and leaves one `results.zip` of a few megabytes. `judge` runs anywhere.
"""
