"""The model card: what a bundle is, what it was trained on, how good it is and what it is not for."""

from collections.abc import Mapping
from typing import Any


def model_card(content: Mapping[str, Any]) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    content : mapping
        What `bundle.json` holds.
    """
    facts = content.get("facts", {})
    two_stage = content["kind"] == "two-stage"
    lines = [
        f"# {'Two-stage' if two_stage else 'Flat'} classifier of {len(content['classes'])} classes",
        "",
        "Tells which class of product a photograph shows. Made with aisles.",
        "",
        "## Use",
        "",
        "```shell",
        "aisles predict . photo.jpg",
        "```",
        "",
        "Meant for photographs like those that it was trained on, one product a picture. It always names one of its",
        "classes, whatever the picture shows. Not meant for decisions about people.",
        "",
        "## Made of",
        "",
        *[
            f"- backbone {trunk['name']}, weights {trunk['weights']}, input {'x'.join(map(str, trunk['input_size']))}, "
            f"preprocessing {trunk['preprocessing']}, color {trunk['color']}"
            for trunk in content["trunks"]
        ],
    ]
    if two_stage:
        lines += [f"- routing rule {content['rule']}", ""]
        lines += ["| macro-category | classes |", "| --- | --- |"]
        members = content["hierarchy"]["macros"]
        lines += [f"| {macro} | {', '.join(classes)} |" for macro, classes in members.items()]
    else:
        lines += ["", ", ".join(content["classes"])]
    for title, key in (("Data", "data"), ("Figures on test images", "figures"), ("Settings", "settings")):
        if facts.get(key):
            lines += ["", f"## {title}", "", *[f"- {name}: {value}" for name, value in facts[key].items()]]
    lines += ["", "## License", "", facts.get("license", _LICENSE)]
    return "\n".join(lines) + "\n"


_LICENSE = (
    "The license of a trained model follows its pretrained weights and its training images; the packaged "
    "EfficientNet-Lite0 weights are under Apache-2.0."
)
