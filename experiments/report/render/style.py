"""How the report looks, light and dark, on a phone, a screen and paper; and the few lines of script it has."""

from aisles.hierarchy.dendrogram import PALETTE

_LIGHT = (
    "--ink:#1b2026;--muted:#56606b;--paper:#fff;--panel:#f4f6f8;--rule:#d5dbe1;--flat:#b36200;--two:#0067a5;"
    "--good:#00795a;--bad:#c2410c;--mid:#946200;--other:#6b7280;--band:#e4edf5"
)
_DARK = (
    "--ink:#e8ebee;--muted:#a3adb8;--paper:#14181c;--panel:#1d2329;--rule:#36404a;--flat:#f0a747;--two:#62b5ee;"
    "--good:#35c49a;--bad:#ff8a5c;--mid:#b07a1e;--other:#9aa4af;--band:#22303c"
)
_MACROS = "".join(
    f".m{index}{{fill:{color}}}.s{index}{{stroke:{color}}}" for index, color in enumerate(PALETTE)
)

DRAWING_STYLE = (
    f":root{{{_LIGHT}}}@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    ".drawing{font:11px system-ui,sans-serif;background:var(--paper)}.drawing text{fill:var(--ink)}"
    ".drawing .soft{fill:var(--muted)}.drawing .small{font-size:9.5px}.drawing .tiny{font-size:8px}"
    ".drawing .strong{font-weight:650}.drawing .on{fill:#fff;font-weight:650}"
    ".axis{stroke:var(--muted);stroke-width:1}.grid{stroke:var(--rule);stroke-width:.7}"
    ".zero{stroke:var(--ink);stroke-width:1.2}.dash{stroke-dasharray:4 3}.band{fill:var(--band)}"
    ".flat{fill:var(--flat)}.two{fill:var(--two)}.other{fill:var(--other)}.good{fill:var(--good)}"
    ".bad{fill:var(--bad)}.mid{fill:var(--mid)}.bare{fill:var(--paper);stroke:var(--two);stroke-width:1.2}"
    ".l{fill:none;stroke-width:1.8}.lf{stroke:var(--flat)}.lt{stroke:var(--two)}.lo{stroke:var(--other)}"
    ".drawing .label{fill:var(--paper);font-weight:600}.drawing .dark{fill:var(--ink);font-size:6px}"
    ".drawing .pale{fill:var(--paper);font-size:6px;font-weight:600}"
    ".frame{fill:none;stroke:var(--ink);stroke-width:1}.tag{fill:var(--paper);stroke:var(--muted);stroke-width:.7}"
    ".lm{stroke:var(--other);stroke-width:1.3}.thick{stroke-width:3}.hatch{stroke:var(--paper);stroke-width:1.4}"
    f"{_MACROS}"
)

PAGE_STYLE = (
    DRAWING_STYLE
    + """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1rem 1rem 4rem;max-width:70rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.05rem;font-weight:600;color:var(--muted);margin:.5rem 0}
h2{font-size:1.3rem;line-height:1.25;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--rule)}
.verdict{font-size:1.45rem;line-height:1.3;font-weight:650;margin:.4rem 0 .6rem;text-wrap:pretty}
.facts,figcaption{color:var(--muted);font-size:.9rem}
nav{font-size:.9rem;margin:1rem 0}nav a{display:inline-block;margin:0 .9rem .35rem 0}
a{color:var(--two)}p,ul{max-width:44rem}
figure{margin:1.2rem 0}figcaption{max-width:44rem;margin-top:.3rem}
plot>svg{display:block;width:100%;max-width:40rem;height:auto}
.scroll{overflow:auto;max-width:100%;margin-bottom:1.2rem;border:1px solid var(--rule);border-radius:.4rem}
.zoom{max-height:90vh}.z1:checked~.zoom{max-height:none}.zoom svg{display:block;width:100%;height:auto;min-width:100%}
.zoomer label{display:inline-block;border:1px solid var(--rule);border-radius:.4rem;padding:.3rem .8rem;
margin:0 .3rem .4rem 0;cursor:pointer;font-size:.9rem}
.zoomer input{position:absolute;opacity:0}.zoomer input:checked+label{background:var(--two);color:var(--paper)}
.zoomer input:focus-visible+label{outline:2px solid var(--ink);outline-offset:2px}
.z2:checked~.zoom svg{width:200%}.z4:checked~.zoom svg{width:400%}
table{border-collapse:collapse;font-size:.88rem;line-height:1.3;min-width:100%}
p.facts{margin:1rem 0 .5rem}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--rule)}
th{font-weight:500}thead th{font-weight:600;vertical-align:bottom;border-top:0;overflow-wrap:normal}
tbody th{min-width:8.5rem;max-width:22rem}td.t{min-width:6.5rem;max-width:22rem}td.w{white-space:nowrap}
@media screen and (max-width:30rem){th,td{padding:.3rem .45rem}td.w{white-space:normal}}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th.n{white-space:normal}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;text-align:inherit;cursor:pointer}
th button::after{content:"\\a0↕";color:var(--muted);font-weight:400}
th[aria-sort=ascending] button::after{content:"\\a0↑"}th[aria-sort=descending] button::after{content:"\\a0↓"}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.8rem;padding:0;max-width:none;
list-style:none}
.card{background:var(--panel);border-radius:.5rem;padding:.6rem;font-size:.82rem;line-height:1.35;break-inside:avoid}
.card img,.card .none{display:block;width:100%;height:8rem;object-fit:contain;border-radius:.3rem}
.card .none{display:grid;place-items:center;color:var(--muted);border:1px dashed var(--rule)}
.card h3{font-size:.9rem;margin:.5rem 0 .2rem}.card dl{margin:0}.card dt{font-weight:600;color:var(--muted)}
.card dd{margin:0 0 .2rem}.card .file{color:var(--muted);font-size:.72rem;margin:.3rem 0 0}
@media print{@page{margin:14mm}body{max-width:none;padding:0;font-size:10pt;--ink:#000;--paper:#fff}
nav,.zoomer label{display:none}.scroll,.zoom{overflow:visible;max-height:none;border:0}
.zoom svg{width:100%!important;min-width:0}plot>svg{max-width:12cm;max-height:23cm}
h2{break-after:avoid}plot,tr{break-inside:avoid}
table{font-size:8pt}.cards{grid-template-columns:repeat(4,1fr)}}
"""
)

SORT_SCRIPT = """
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  if (body.rows.length > 40) {
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Search";
    search.setAttribute("aria-label", "Search in this table");
    search.addEventListener("input", () => {
      const wanted = search.value.toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.parentElement.before(search);
  }
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
      const key = row => row.cells[i].dataset.v ?? row.cells[i].textContent;
      const compare = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
        : sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
});
"""
"""Makes headings of sortable tables into buttons, and gives long ones a search box; without it tables are plain."""
