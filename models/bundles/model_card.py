"""The model card: what a bundle is, what it was trained on, how good it is and what it is not for."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aisles.data_prep.io.escaping import markdown_escaped


def model_card(content: Mapping[str, Any]) -> str:
    """Write the card as Markdown, in which labels and facts are text, whatever they hold.

    Parameters
    ----------
    content : mapping
        What `bundle.json` holds.
    """
    facts = content.get("facts", {})
    two_stage = content["kind"] == "two-stage"
    title = f"{'Two-stage' if two_stage else 'Flat'} classifier of {len(content['classes'])} classes"
    lines = [
        *_front_matter(title, facts),
        f"# {title}",
        "",
        "Tells which class of product a photograph shows. Made with aisles.",
        "",
        "## Use",
        "",
        "```shell",
        "aisles predict . photo.jpg",
        "```",
        "",
        "Meant for photographs like those that it was trained on, one product an image. It always names one of its",
        "classes, whatever the image shows; the rule `climb` may answer with the macro-category or not at all. Not",
        "meant for decisions about people.",
        "",
        "## Made of",
        "",
        *[_backbone_line(backbone) for backbone in content["backbones"]],
        *_structure(content, two_stage),
        "",
        "## Calibration",
        "",
        *_calibration(content),
    ]
    for title, key in (("Data", "data"), ("Metrics on test images", "metrics"), ("Settings", "settings")):
        lines += ["", f"## {title}", "", *_listed(facts.get(key))]
    if facts.get("changes"):
        lines += ["", "## Changes", "", *[f"- {_told(change)}" for change in facts["changes"]]]
    lines += ["", "## License", "", _told(facts.get("license", _LICENSE))]
    return "\n".join(lines) + "\n"


def _front_matter(title: str, facts: Mapping[str, Any]) -> list[str]:
    """Return what the Hugging Face Hub reads, as YAML; values are written as JSON, which YAML includes.

    Metrics stand in it with their names; see https://huggingface.co/docs/hub/model-cards.
    """
    lines = ["---", "library_name: aisles", "pipeline_tag: image-classification"]
    license = str(facts.get("license", "")).lower()
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,30}", license):
        lines.append(f"license: {license}")
    lines += ["tags:", "- hierarchical-classification", "- keras"]
    metrics = {
        str(name): value
        for name, value in (facts.get("metrics") or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if metrics:
        lines += [
            "model-index:", f"- name: {json.dumps(title)}", "  results:", "  - task:",
            "      type: image-classification", "    dataset:", "      name: own photographs", "      type: custom",
            "    metrics:",
        ]  # fmt: skip
        for name, value in metrics.items():
            kind = next((kind for kind in ("accuracy", "f1") if kind in name), "other")
            lines += [
                f"    - type: {kind}",
                f"      name: {json.dumps(name)}",
                f"      value: {json.dumps(value)}",
            ]
    return [*lines, "---", ""]


def _backbone_line(backbone: Mapping[str, Any]) -> str:
    if "joined" in backbone:
        return "\n".join(_backbone_line(part) for part in backbone["joined"])
    fitting = backbone["fitting"]
    size, crop = "x".join(map(str, fitting["size"])), fitting["crop_share"]
    rule = f"crop of {crop:.4g} of the shorter side" if fitting["fit"] == "crop" else fitting["fit"]
    return (
        f"- backbone {_told(backbone['name'])}, weights {_told(backbone['weights'])}, input {size} ({rule}, "
        f"{fitting['filter']}), preprocessing {_told(backbone['preprocessing'])}, color {backbone['color']}, "
        f"precision {backbone['precision']}"
    )


def _structure(content: Mapping[str, Any], two_stage: bool) -> list[str]:
    if not two_stage:
        return ["", f"Classes: {_listed_in_line(content['classes'])}"]
    members = content["hierarchy"]["macros"]
    rows = [f"| {_told(macro)} | {_listed_in_line(classes)} |" for macro, classes in members.items()]
    return [f"- routing rule {content['rule']}", "", "| macro-category | classes |", "| --- | --- |", *rows]


def _calibration(content: Mapping[str, Any]) -> list[str]:
    models = content["models"]
    named = [("router", models.get("router")), ("flat model", models.get("flat"))]
    named += [(f"sub-model {i + 1}", model) for i, model in enumerate(models.get("submodels", []))]
    lines = [f"- temperature of the {name}: {model['temperature']:.3f}" for name, model in named if model]
    guaranteed = content.get("confidence")
    if guaranteed and guaranteed["climb"]:
        climb = guaranteed["climb"]
        lines.append(
            f"- climb answers above {climb['threshold']:.3f}: at least {climb['target']:.0%} of given answers right, "
            f"with a chance of {1 - climb['delta']:.0%} ({climb['n_images']} calibration images)"
        )
    if guaranteed:
        sets = guaranteed["sets"]
        lines.append(
            f"- prediction sets ({sets['method']}) hold the true class of {sets['coverage']:.0%} of images"
        )
    return lines


def _listed(facts: Mapping[str, Any] | None) -> list[str]:
    return (
        [f"- {_told(name)}: {_told(value)}" for name, value in facts.items()] if facts else ["Not recorded."]
    )


def _listed_in_line(names: Iterable[str]) -> str:
    return ", ".join(map(_told, names))


def _told(text: Any) -> str:
    """Escape for one line of Markdown; an underscore inside a word means nothing there and stays legible."""
    return re.sub(r"(?<=[A-Za-z0-9])\\_(?=[A-Za-z0-9])", "_", markdown_escaped(text))


_LICENSE = (
    "The license of a trained model follows its pretrained weights and its training images; the packaged "
    "EfficientNet-Lite0 weights are under Apache-2.0."
)
