"""Pieces of the page as HTML: answer, both systems side by side, corrections, several images. All text is escaped."""

from html import escape

import numpy as np

from aisles.hierarchy.hierarchy import Hierarchy

from .image_uris import data_uri, image_uri
from .judging import FLAT, Answer, Stages, distributions
from .levels import Guarantee
from .networks import Cost, Look
from .session import THUMBNAIL, Row, manifest_csv, table_csv
from .texts import Texts

BARS = 5


def sentence(answer: Answer, guarantee: Guarantee, texts: Texts) -> str:
    """Return in one sentence what is sure at this level, and what is most probable. Plain text."""
    values = {
        "label": answer.label, "macro": answer.macro, "probability": texts.percent(answer.probability),
        "macro_probability": texts.percent(answer.macro_probability), "target": texts.percent(guarantee.target),
    }  # fmt: skip
    alone = answer.macro == answer.label
    if answer.level == "none":
        return texts("answer_none_alone" if alone else "answer_none", **values)
    kind = "checked" if guarantee.kind == "checked" else "unchecked"
    level = "class_alone" if alone else answer.level
    return texts(f"answer_{level}_{kind}", **values)


def guarantee_text(guarantee: Guarantee, texts: Texts) -> str:
    """Return in words what stands behind the answer. Plain text."""
    values = {
        "target": texts.percent(guarantee.target), "n": guarantee.n_images, "given": guarantee.n_given,
        "right": guarantee.n_right, "needed": guarantee.n_needed, "threshold": texts.percent(guarantee.threshold),
        "trust": texts.percent(1 - guarantee.delta),
    }  # fmt: skip
    return texts(f"guarantee_{guarantee.kind}", **values)


def answer_html(look: Look, answer: Answer, guarantee: Guarantee, cost: Cost, texts: Texts) -> str:
    """Draw the answer for the image on the page."""
    height, width = look.size
    label, alt = escape(answer.label, quote=True), escape(texts("answer_image", name=look.name), quote=True)
    facts = texts(
        "answer_facts", width=width, height=height, passes=texts.passes(cost.passes),
        milliseconds=texts.number(cost.milliseconds), decoding=texts.number(look.decoding),
    )  # fmt: skip
    return (
        f'<div class="answer {answer.level}" data-key="{id(look)}" data-level="{answer.level}" data-label="{label}">'
        f'<img src="{look.uri}" alt="{alt}">'
        f'<div><p class="sentence">{escape(sentence(answer, guarantee, texts))}</p>'
        f'<p class="soft">{escape(guarantee_text(guarantee, texts))}</p>'
        f'<p class="soft">{escape(facts)}</p></div></div>'
    )


def note_html(text: str, kind: str = "hint") -> str:
    """Draw a note: a hint, or an error."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="note {kind}"{role}>{escape(text)}</p>'


def sides_html(
    look: Look,
    hierarchy: Hierarchy,
    rule: str,
    only: tuple[str, ...],
    costs: dict[str, Cost],
    macro: str,
    texts: Texts,
) -> str:
    """Draw flat and two-stage beside each other, and router and sub-model apart.

    Parameters
    ----------
    look : Look
    hierarchy : Hierarchy
    rule : str
        Of the two-stage classifier.
    only : tuple of str
        What is possible; router and sub-model alone know nothing of it.
    costs : dict
        Of `rule` and `flat`.
    macro : str
        Whose sub-model is shown.
    texts : Texts
    """
    stages = look.stages
    best: dict[str, str] = {}
    boxes = []
    for name in [rule] if rule == FLAT else [rule, FLAT]:
        if name == FLAT and stages.flat is None:
            continue
        probs = distributions(stages, hierarchy, name, only)[0][0]
        title = texts("side_flat") if name == FLAT else texts("side_two_stage", rule=rule)
        cost = texts(
            "side_cost",
            passes=texts.passes(costs[name].passes),
            milliseconds=texts.number(costs[name].milliseconds),
        )
        best[name] = hierarchy.classes[int(probs.argmax())]
        boxes.append(_box(title, _bars(hierarchy.classes, probs, texts), cost))
    boxes += _stage_boxes(stages, hierarchy, macro, texts)
    verdict = ""
    if len(best) == 2:
        agree = best[rule] == best[FLAT]
        key = "sides_agree" if agree else "sides_disagree"
        text = texts(key, two_stage=best[rule], flat=best[FLAT])
        verdict = f'<p class="{"agree" if agree else "disagree"}">{escape(text)}</p>'
    return f'{verdict}<div class="boxes">{"".join(boxes)}</div>'


def _stage_boxes(stages: Stages, hierarchy: Hierarchy, macro: str, texts: Texts) -> list[str]:
    if stages.router is None or stages.within is None:
        return []
    index = hierarchy.macros.index(macro)
    router = _bars(hierarchy.macros, stages.router[0], texts)
    inside = _bars(hierarchy.members[index], stages.within[0, hierarchy.blocks[index]], texts)
    return [
        _box(texts("side_router"), router, texts("side_router_note")),
        _box(texts("side_submodel", macro=macro), inside, texts("side_submodel_note")),
    ]


def _box(title: str, bars: str, note: str) -> str:
    return f'<section class="box"><h3>{escape(title)}</h3>{bars}<p class="soft">{escape(note)}</p></section>'


def _bars(labels: tuple[str, ...], probs: np.ndarray, texts: Texts) -> str:
    rows = "".join(
        f'<li class="node"><span class="name">{escape(labels[i])}</span><span class="track" aria-hidden="true">'
        f'<span class="bar" style="width:{100 * min(float(probs[i]), 1):.1f}%"></span></span>'
        f'<span class="value">{texts.percent(float(probs[i]))}</span></li>'
        for i in np.argsort(-probs, kind="stable")[:BARS]
    )
    return f'<ul class="bars">{rows}</ul>'


def corrections_html(corrections: dict[str, str], texts: Texts) -> str:
    """List the corrections of this visit, with a link that downloads them as a manifest."""
    if not corrections:
        return note_html(texts("corrections_none"))
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(label)}</td></tr>" for name, label in corrections.items()
    )
    link = _download(manifest_csv(corrections), "metadata.csv", texts("corrections_download"))
    head = "".join(f"<th scope=col>{escape(texts(name))}</th>" for name in ("column_file", "column_right"))
    return (
        f'<div class="scroll"><table class="plain"><caption>{escape(texts("corrections_title", n=len(corrections)))}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{link}"
        f'<p class="soft">{escape(texts("corrections_use"))}</p>'
    )


def table_html(rows: list[Row], found: list[Answer | None], guarantee: Guarantee, texts: Texts) -> str:
    """Draw several images as a table whose columns sort, with a link that downloads it as CSV.

    Parameters
    ----------
    rows : list of Row
    found : list of (Answer or None)
        One per row; None for an image that could not be read.
    guarantee : Guarantee
    texts : Texts
    """
    if not rows:
        return note_html(texts("several_none"))
    names = ("column_image", "column_file", "column_answer", "column_class", "column_probability", "column_macro",
             "column_macro_probability")  # fmt: skip
    head = "".join(
        f'<th scope="col">{escape(texts(name))}</th>' if name == "column_image" else
        f'<th scope="col" aria-sort="none"><button type="button" data-sort>{escape(texts(name))}</button></th>'
        for name in names
    )  # fmt: skip
    body = "".join(_line(row, answer, texts) for row, answer in zip(rows, found, strict=True))
    link = _download(answers_csv(rows, found, guarantee), "answers.csv", texts("several_download"))
    about = escape(texts("several_table"), quote=True)
    return (
        f'<p class="soft">{escape(guarantee_text(guarantee, texts))}</p><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{about}"><table class="plain sortable"><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>{link}"
    )


def _line(row: Row, answer: Answer | None, texts: Texts) -> str:
    if row.look is None or answer is None:
        return (
            f'<tr><td></td><td data-value="{escape(row.name, quote=True)}">{escape(row.name)}</td>'
            f'<td class="error" colspan="5" data-value="~">{escape(row.error)}</td></tr>'
        )
    thumbnail = image_uri(row.look.image, THUMBNAIL, 75)
    said = texts(f"level_{answer.level}")
    cells = [
        (row.name, row.name), (said, said), (answer.label, answer.label),
        (f"{answer.probability:.6f}", texts.percent(answer.probability)), (answer.macro, answer.macro),
        (f"{answer.macro_probability:.6f}", texts.percent(answer.macro_probability)),
    ]  # fmt: skip
    columns = "".join(f'<td data-value="{escape(v, quote=True)}">{escape(t)}</td>' for v, t in cells)
    return f'<tr class="{answer.level}"><td><img alt="" src="{thumbnail}"></td>{columns}</tr>'


def answers_csv(rows: list[Row], found: list[Answer | None], guarantee: Guarantee) -> str:
    """Write the answers for several images as CSV, one line per image."""
    lines: list[tuple] = [
        ("file_name", "answered", "class", "probability", "macro", "macro_probability", "threshold", "target",
         "guarantee", "error"),
    ]  # fmt: skip
    for row, answer in zip(rows, found, strict=True):
        if answer is None:
            lines.append((row.name, "", "", "", "", "", "", "", "", row.error))
            continue
        numbers = (f"{answer.probability:.6f}", answer.macro, f"{answer.macro_probability:.6f}")
        guaranteed = (f"{guarantee.threshold:.6g}", f"{guarantee.target:.6g}", guarantee.kind)
        lines.append((row.name, answer.level, answer.label, *numbers, *guaranteed, ""))
    return table_csv(lines)


def _download(csv: str, name: str, text: str) -> str:
    address = data_uri(csv.encode("utf-8"), "text/csv")
    return f'<p><a class="download" download="{name}" href="{address}">{escape(text)}</a></p>'
