"""The page in one language: its parts, and what happens when a visitor does something."""

import logging
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes

from aisles.data_prep.io.errors import UnreadableImage
from aisles.models.prediction.images import open_image

from .api import api_html
from .cards import answer_html, corrections_html, note_html, sides_html, table_html
from .demo import MEGABYTE, UPLOAD_LIMIT, Demo, TooLarge
from .image_uris import image_uri
from .judging import answers, distributions
from .levels import HIGHEST, LOWEST
from .networks import Look
from .run_facts import Example
from .session import MOST_ROWS, THUMBNAIL, Row, Visit
from .texts import Texts, languages, texts_in
from .tree import tree_html
from .uploads import as_it_came
from .why import nearest_html, stages_html

logger = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
SCRIPT = (FOLDER / "page.js").read_text(encoding="utf-8")
STAYS = 3600
"""Seconds that a visit is kept after its last step."""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]


def theme() -> themes.ThemeClass:
    """Return a theme whose fonts are the system's: nothing is fetched from elsewhere."""
    plain = themes.Default(
        primary_hue=themes.colors.teal, font=FONTS, font_mono=["ui-monospace", "monospace"]
    )
    # Small print and the button in colors that are told from what is behind them (WCAG AA, 4.5 to 1).
    quiet, quiet_dark = "*neutral_600", "*neutral_300"
    return plain.set(
        body_text_color_subdued=quiet, body_text_color_subdued_dark=quiet_dark,
        block_info_text_color=quiet, block_info_text_color_dark=quiet_dark,
        input_placeholder_color=quiet, input_placeholder_color_dark=quiet_dark,
        button_primary_background_fill="*primary_700", button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800", button_primary_background_fill_hover_dark="*primary_800",
    )  # fmt: skip


def build_page(demo: Demo, language: str) -> gr.Blocks:
    """Build the page of a demonstration in one language.

    Parameters
    ----------
    demo : Demo
    language : str
        One of `texts.languages()`.
    """
    return _Page(demo, texts_in(language)).blocks()


def _html(value: str, script: str | None = None, name: str | None = None) -> gr.HTML:
    """Return a part of the page whose content is HTML, with the script that it starts with."""
    return gr.HTML(value, js_on_load=script, elem_id=name, padding=False)


class _Page:
    def __init__(self, demo: Demo, texts: Texts):
        self.demo, self.texts = demo, texts
        self.examples: list[Example] = demo.examples

    # ---- parts ----------------------------------------------------------------------------------

    def blocks(self) -> gr.Blocks:
        t = self.texts
        with gr.Blocks(title=t("title"), analytics_enabled=False, fill_width=True) as blocks:
            visit = gr.State(Visit(), time_to_live=STAYS)
            _html(self._header(), SCRIPT, "head")
            with gr.Tabs():
                with gr.Tab(t("tab_one"), id="one"):
                    self._one(visit)
                with gr.Tab(t("tab_several"), id="several"):
                    self._several(visit)
                with gr.Tab(t("tab_api"), id="api"):
                    _html(api_html(self.demo, t), None, "api")
            _html(f'<p class="soft">{escape(t("privacy"))}</p>')
        return blocks

    def _slider(self) -> gr.Slider:
        t = self.texts
        return gr.Slider(
            100 * LOWEST, 100 * HIGHEST, 100 * self.demo.levels.start, step=1,
            label=t("slider"), info=t("slider_info"), buttons=[],
        )  # fmt: skip

    def _choices(self) -> tuple[gr.Dropdown, gr.Dropdown]:
        t, demo = self.texts, self.demo
        rules = demo.networks.rules
        rule = gr.Dropdown(
            list(rules), value=rules[0], label=t("rule"), info=t("rule_info"), filterable=False,
            visible=len(rules) > 1, interactive=True,
        )  # fmt: skip
        hierarchy = demo.networks.hierarchy
        macros = [
            (f"{name} ({len(members)})", f"macro:{name}")
            for name, members in zip(hierarchy.macros, hierarchy.members, strict=True)
            if members != (name,)
        ]
        classes = [(name, f"class:{name}") for name in hierarchy.classes]
        only = gr.Dropdown(
            [*macros, *classes], value=[], multiselect=True, label=t("only"), info=t("only_info"), interactive=True
        )  # fmt: skip
        return rule, only

    def _one(self, visit: gr.State) -> None:
        t = self.texts
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                upload = as_it_came(
                    gr.Image(
                        label=t("upload"),
                        sources=["upload", "clipboard", "webcam"],
                        height=260,
                        elem_id="upload",
                        placeholder=t("upload_here"),
                    )
                )
                examples = _html(self._examples(), "pick(element, trigger)", "examples")
                rule, only = self._choices()
            with gr.Column(scale=6, min_width=300):
                slider = self._slider()
                answer = _html(self._waiting(), "announce(element, watch, '.answer')", "answer")
                tree = _html("", "keepOpen(element, watch); pick(element, trigger)", "tree")
                _html(self._title("correct"))
                with gr.Row(equal_height=False):
                    classes = list(self.demo.networks.hierarchy.classes)
                    label = gr.Dropdown(classes, value=None, label=t("correct_choose"), interactive=True)
                    button = gr.Button(t("correct_button"), variant="primary", elem_id="correct")
                corrections = _html(corrections_html({}, t), "announce(element, watch)", "corrections")
        sides, why = _html("", None, "sides"), _html("", None, "why")

        controls = [visit, slider, rule, only]
        shown: list[Any] = [answer, tree, sides]
        # Straight requests: the stream of Gradio's queue breaks off now and then where one event follows another.
        quick: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        # A photograph of the camera is a change, and no upload.
        seen = upload.change(self._uploaded, [upload, *controls], [visit, *shown, why], **quick)
        seen.then(self._explained, controls, why, **quick)
        picked = examples.click(self._picked, controls, [visit, *shown, why], **quick)
        picked.then(self._explained, controls, why, **quick)
        slider.input(self._moved, controls, [answer, tree], trigger_mode="always_last", **quick)
        changed = gr.on([rule.input, only.input], self._changed, controls, shown, **quick)
        changed.then(self._explained, controls, why, **quick)
        button.click(self._corrected, [visit, label], [visit, corrections], **quick)
        tree.click(self._clicked, visit, [visit, corrections, label], **quick)

    def _several(self, visit: gr.State) -> None:
        t = self.texts
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                files = as_it_came(
                    gr.File(
                        label=t("several_upload", n=MOST_ROWS), file_count="multiple", file_types=["image"],
                        height=180, elem_id="files",
                    )
                )  # fmt: skip
            with gr.Column(scale=5, min_width=300):
                slider, (rule, only) = self._slider(), self._choices()
        table = _html(note_html(t("several_none")), "sortable(element)", "table")
        controls = [visit, slider, rule, only]
        quick: dict[str, Any] = {"api_visibility": "private"}
        files.upload(self._sent, [files, *controls], [visit, files, table], concurrency_limit=1, **quick)
        quick["show_progress"] = "hidden"
        slider.input(self._table, controls, table, queue=False, trigger_mode="always_last", **quick)
        gr.on([rule.input, only.input], self._table, controls, table, queue=False, **quick)

    # ---- what happens ---------------------------------------------------------------------------

    def _uploaded(
        self, files: list[tuple[str, str]], visit: Visit, percent: float, rule: str, only: list[str]
    ):
        if not files:
            visit.look = None
            return visit, self._waiting(), "", "", ""
        path, name = files[0]
        visit.look, error = self._read(path, name)
        visit.is_example = False
        return visit, *(self._shown(visit, percent, rule, only, error)), self._why_wait(visit)

    def _picked(self, visit: Visit, percent: float, rule: str, only: list[str], event: gr.EventData):
        example = self.examples[int(event.index)]
        visit.look, visit.is_example = self.demo.look(example.data, example.name), True
        return visit, *(self._shown(visit, percent, rule, only)), self._why_wait(visit)

    def _moved(self, visit: Visit, percent: float, rule: str, only: list[str]):
        answer, tree, _ = self._shown(visit, percent, rule, only, sides=False)
        return answer, tree

    def _changed(self, visit: Visit, percent: float, rule: str, only: list[str]):
        return self._shown(visit, percent, rule, only)

    def _explained(self, visit: Visit, percent: float, rule: str, only: list[str]) -> str:
        if visit.look is None:
            return ""
        judged = self.demo.judge(visit.look, rule, percent / 100, tuple(only))
        views = self.demo.why.stages(visit.look, rule)
        classes = self.demo.networks.hierarchy.classes
        best = [classes[i] for i in (-judged.probs).argsort(kind="stable")[:2]]
        nearest = self.demo.why.nearest(visit.look, best)
        drawn = stages_html(views, visit.look.image, self.texts) + nearest_html(nearest, self.texts)
        return self._title("why") + drawn

    def _corrected(self, visit: Visit, label: str | None):
        refusal = visit.refusal or ("" if label else "correct_no_class")
        if refusal or label is None:
            listed = corrections_html(visit.corrections, self.texts) if visit.corrections else ""
            return visit, note_html(self.texts(refusal), "error") + listed
        visit.correct(label)
        return visit, corrections_html(visit.corrections, self.texts)

    def _clicked(self, visit: Visit, event: gr.EventData):
        label = str(event.label)
        return *self._corrected(visit, label), label

    def _sent(self, files: list[tuple[str, str]], visit: Visit, percent: float, rule: str, only: list[str]):
        rows = []
        for path, name in files[:MOST_ROWS]:
            look, error = self._read(path, name)
            rows.append(Row(name, look and look.shrunk(THUMBNAIL), error))
        visit.rows = rows
        rest = len(files) - len(rows)
        note = note_html(self.texts("several_too_many", n=MOST_ROWS, rest=rest), "error") if rest else ""
        return visit, None, note + self._table(visit, percent, rule, only)

    def _table(self, visit: Visit, percent: float, rule: str, only: list[str]) -> str:
        rule, target = self.demo.checked(rule, percent / 100)
        guarantee = self.demo.levels.at(target, rule, tuple(only))
        hierarchy = self.demo.networks.hierarchy
        found = [
            None if row.look is None else
            answers(*distributions(row.look.stages, hierarchy, rule, tuple(only)), hierarchy, guarantee.threshold)[0]
            for row in visit.rows
        ]  # fmt: skip
        return table_html(visit.rows, found, guarantee, self.texts)

    # ---- pieces ---------------------------------------------------------------------------------

    def _read(self, path: str, name: str) -> tuple[Look | None, str]:
        """Return what the networks say of an uploaded file, or why it can't be read."""
        try:
            return self.demo.look(Path(path).read_bytes(), name), ""
        except TooLarge:
            size = f"{Path(path).stat().st_size / MEGABYTE:.0f}"
            return None, self.texts("error_large", name=name, size=size, limit=UPLOAD_LIMIT // MEGABYTE)
        except UnreadableImage as error:
            return None, self.texts("error_unreadable", name=name, reason=error)
        except FileNotFoundError:
            return None, self.texts("error_gone")

    def _shown(
        self, visit: Visit, percent: float, rule: str, only: list[str], error: str = "", sides: bool = True
    ) -> tuple[str, str, str]:
        """Return the answer, the tree, and both systems side by side."""
        look, t, demo = visit.look, self.texts, self.demo
        if look is None:
            return (note_html(error, "error") if error else self._waiting()), "", ""
        judged = demo.judge(look, rule, percent / 100, tuple(only))
        hierarchy = demo.networks.hierarchy
        answer = answer_html(look, judged.answer, judged.guarantee, judged.costs[rule], t)
        tree = tree_html(
            judged.probs, judged.macro_probs, hierarchy, judged.answer, judged.guarantee.threshold, t,
            key=f"{id(look)}-{rule}-{only}",
        )  # fmt: skip
        beside = (
            sides_html(look, hierarchy, rule, tuple(only), judged.costs, judged.answer.macro, t)
            if sides
            else ""
        )
        tree = f'{self._title("tree")}<p class="soft">{escape(t("tree_hint"))}</p>{tree}'
        return answer, tree, self._title("sides") + beside

    def _why_wait(self, visit: Visit) -> str:
        wait = f'<p class="soft">{escape(self.texts("why_wait"))}</p>'
        return "" if visit.look is None else self._title("why") + wait

    def _title(self, part: str) -> str:
        return f"<h2>{escape(self.texts(f'{part}_title'))}</h2>"

    def _waiting(self) -> str:
        return note_html(self.texts("answer_waiting"))

    def _header(self) -> str:
        t, hierarchy = self.texts, self.demo.networks.hierarchy
        links = " ".join(
            f'<a href="/{"" if name == languages()[0] else name + "/"}" lang="{name}"'
            f"{' aria-current=true' if name == t.language else ''}>{escape(texts_in(name)('language_name'))}</a>"
            for name in languages()
        )
        alone = self.demo.networks.classifier.hierarchy is None
        counts = {"classes": hierarchy.n_classes, "macros": hierarchy.n_macros}
        scope = t("scope_flat" if alone else "scope", **counts)
        return (
            f'<header data-lang="{t.language}"><div><h1>{escape(t("title"))}</h1><p>{escape(t("intro"))} '
            f'<span class="soft">{escape(scope)}</span></p><p class="verdict">{self._verdict()}</p></div>'
            f'<nav aria-label="{escape(t("languages_label"), quote=True)}">{links} '
            f'<button type="button" data-theme-switch>{escape(t("theme_switch"))}</button></nav></header>'
        )

    def _verdict(self) -> str:
        facts = self.demo.facts
        if facts is None:
            return escape(self.texts("run_missing"))
        link = ""
        if facts.report is not None:
            link = f' <a href="/report/report.html" target="_blank">{escape(self.texts("run_report"))}</a>'
        return escape(facts.verdict(self.texts)) + link

    def _examples(self) -> str:
        t = self.texts
        buttons = []
        for index, example in enumerate(self.examples):
            kind, label = t(f"example_{example.kind}"), example.label or t("example_none")
            picture = image_uri(open_image(example.data), 96, 75)
            about = escape(t("examples_pick", kind=kind, label=label), quote=True)
            buttons.append(
                f'<li><button type="button" data-index="{index}" aria-label="{about}" title="{about}">'
                f'<img alt="" src="{picture}"><span>{escape(kind)}</span></button></li>'
            )
        return f'<h2>{escape(t("examples_title"))}</h2><ul class="examples">{"".join(buttons)}</ul>'
