"""The report of a run: read from its run folder, written as one HTML file, Markdown, CSV and SVG.

Nothing here needs Keras. `writing.write_report` is the way in; `comparison.compare_runs` sets several runs side by
side. A report is a `document.Document` of plain texts, tables and drawings, which `html_page` and `markdown_page`
write; they escape everything, so a class may be called whatever a catalogue calls it.
"""
