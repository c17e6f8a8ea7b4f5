"""How the report looks, light and dark, on a phone, a screen and paper; and the few lines of script it has."""

from aisles.hierarchy.dendrogram import PALETTE

TEXT_SIZES = {"": 12, "small": 11, "tiny": 9}
"""Heights of a drawing's letters in units, by their class."""
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
    f".drawing{{font:{TEXT_SIZES['']}px system-ui,sans-serif;background:var(--paper)}}"
    f".drawing .small{{font-size:{TEXT_SIZES['small']}px}}.drawing .tiny{{font-size:{TEXT_SIZES['tiny']}px}}"
    ".drawing text{fill:var(--ink)}.drawing text.soft{fill:var(--muted)}.drawing .strong{font-weight:650}"
    ".drawing text.good{fill:var(--good)}.drawing text.bad{fill:var(--bad)}.drawing text.two{fill:var(--two)}"
    ".drawing text.pale{fill:var(--paper)}.drawing .count{pointer-events:none}"
    ".axis{stroke:var(--muted);stroke-width:1}.grid{stroke:var(--rule);stroke-width:.7}"
    ".zero{stroke:var(--ink);stroke-width:1.2}.dash{stroke-dasharray:4 3}.band{fill:var(--band)}"
    ".flat{fill:var(--flat)}.two{fill:var(--two)}.other{fill:var(--other)}.good{fill:var(--good)}"
    ".bad{fill:var(--bad)}.mid{fill:var(--mid)}.bare{fill:var(--paper);stroke:var(--two);stroke-width:1.2}"
    ".l{fill:none;stroke-width:1.8}.lf{stroke:var(--flat)}.lt{stroke:var(--two)}.lo{stroke:var(--other)}"
    ".lg{stroke:var(--good)}.lb{stroke:var(--bad)}.unclear{fill:var(--paper);stroke:var(--other);stroke-width:1.8}"
    ".seed{stroke:var(--ink);stroke-width:1}.leader{stroke:var(--muted);stroke-width:.8}"
    ".frame{fill:none;stroke:var(--ink);stroke-width:1}"
    ".lm{stroke:var(--other);stroke-width:1.3}.thick{stroke-width:3}.hatch{stroke:var(--paper);stroke-width:1.4}"
    f"{_MACROS}"
)

PAGE_STYLE = (
    DRAWING_STYLE
    + """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;scroll-padding-top:3.2rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:anywhere}
main{padding:.4rem 1rem 4rem;min-width:0}
h1{font-size:1rem;font-weight:600;color:var(--muted);margin:.5rem 0}
h2{display:inline;font-size:1.3rem;line-height:1.25}
.verdict{font-size:1.6rem;line-height:1.25;font-weight:650;margin:.4rem 0 .5rem;max-width:60rem;text-wrap:pretty}
.facts,figcaption{color:var(--muted);font-size:.9rem}header p.facts{margin:.25rem 0;font-size:.84rem;line-height:1.35}
nav{position:sticky;top:0;z-index:2;display:flex;gap:.2rem 1rem;overflow-x:auto;padding:.55rem 1rem;font-size:.9rem;
white-space:nowrap;background:var(--paper);border-bottom:1px solid var(--rule)}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
nav button,.zoomer label{font:inherit;font-size:.9rem;color:inherit;background:none;border:1px solid var(--rule);
border-radius:.4rem;padding:.1rem .6rem;cursor:pointer}
a{color:var(--two)}p,ul{max-width:60rem}
details{margin-top:1.8rem;border-top:1px solid var(--rule)}summary{cursor:pointer;padding:.7rem 0 .3rem}
summary::marker{color:var(--muted)}details details{margin:.4rem 0 0}
input[type=search]{font:inherit;margin-bottom:.4rem;padding:.2rem .5rem;max-width:100%}
figure{margin:1.2rem 0}figcaption{max-width:60rem;margin-top:.3rem}
figure>svg{display:block;width:100%;height:auto}.narrow{max-width:36rem}figure>svg.wide{display:none}
.beside{display:grid;gap:0 2rem;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));margin:1.2rem 0}
.beside figure{margin:.4rem 0}.beside svg{max-width:30rem}
@media (min-width:56rem){figure>svg.wide{display:block}figure>svg.narrow{display:none}}
@media screen and (min-width:68rem){body{display:grid;grid-template-columns:11.5rem minmax(0,1fr);max-width:100rem;
margin:0 auto}html{scroll-padding-top:.5rem}main{padding-right:1.6rem}
nav{flex-direction:column;height:100vh;overflow:auto;white-space:normal;border:0;border-right:1px solid var(--rule);
padding:1.2rem .8rem 1rem 1rem}nav a{line-height:1.3;padding:.15rem 0}nav button{align-self:start;margin-top:.5rem}}
.scroll{overflow:auto;max-width:100%;margin-bottom:1.2rem;border:1px solid var(--rule);border-radius:.4rem}
.zoom{max-height:90vh}.z1:checked~.zoom{max-height:none}.zoom svg{display:block;width:100%;height:auto;min-width:100%}
.zoomer label{display:inline-block;padding:.3rem .8rem;margin:0 .3rem .4rem 0}
.zoomer input{position:absolute;opacity:0}.zoomer input:checked+label{background:var(--two);color:var(--paper)}
.zoomer input:focus-visible+label{outline:2px solid var(--ink);outline-offset:2px}
.z2:checked~.zoom svg{width:200%}.z4:checked~.zoom svg{width:400%}
@media (max-width:30rem){.z2:checked~.zoom svg{width:400%}.z4:checked~.zoom svg{width:800%}}
table{border-collapse:separate;border-spacing:0;font-size:.88rem;line-height:1.3;min-width:100%}
main>p.facts,details p.facts{margin:1rem 0 .5rem}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--rule)}
th{font-weight:500}thead th{font-weight:600;vertical-align:bottom;border-top:0;overflow-wrap:normal}
tbody th{min-width:7rem;max-width:22rem;overflow-wrap:break-word}td.t{min-width:6.5rem;max-width:22rem}
td.w{white-space:nowrap;overflow-wrap:normal}
tr>th:first-child{position:sticky;left:0;background:var(--paper)}
@media screen and (max-width:30rem){th,td{padding:.3rem .35rem}td.w{white-space:normal}
tbody th{min-width:6.2rem;max-width:9.5rem;overflow-wrap:anywhere}}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th.n{white-space:normal}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;text-align:inherit;cursor:pointer}
th button{text-decoration:underline dotted var(--muted);text-underline-offset:.25em}
th[aria-sort=ascending] button::after{content:"\\a0↑"}th[aria-sort=descending] button::after{content:"\\a0↓"}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.8rem;padding:0;max-width:none;
list-style:none}
.card{background:var(--panel);border-radius:.5rem;padding:.6rem;font-size:.82rem;line-height:1.35;break-inside:avoid}
.card img,.card .none{display:block;width:100%;height:8rem;object-fit:contain;border-radius:.3rem}
.card .none{display:grid;place-items:center;color:var(--muted);border:1px dashed var(--rule)}
.card h3{font-size:.9rem;margin:.5rem 0 .2rem}.card dl{margin:0}.card dt{font-weight:600;color:var(--muted)}
.card dd{margin:0 0 .2rem}.card .file{color:var(--muted);font-size:.72rem;margin:.3rem 0 0}
output{position:fixed;left:1rem;right:1rem;bottom:1rem;z-index:3;max-width:40rem;margin:auto;padding:.6rem .9rem;
background:var(--ink);color:var(--paper);border-radius:.5rem;font-size:.9rem}output:empty{display:none}
@media print{@page{margin:14mm}body{--ink:#000;--paper:#fff;font-size:10pt}main{padding:0}
nav,output,.zoomer label{display:none}.scroll,.zoom{overflow:visible;max-height:none;border:0}
.zoom svg{width:100%!important;min-width:0}figure>svg{max-height:23cm}
summary{break-after:avoid}figure,tr{break-inside:avoid}
table{font-size:8pt}.cards{grid-template-columns:repeat(4,1fr)}}
"""
)

PAGE_SCRIPT = """
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
const parts = [...document.querySelectorAll("details[id]")], fold = document.querySelector("nav button");
if (fold) {
  const word = () => { fold.textContent = parts.some(part => part.open) ? "Fold all" : "Unfold all"; };
  fold.hidden = false;
  fold.addEventListener("click", () => {
    const open = !parts.some(part => part.open);
    parts.forEach(part => { part.open = open; });
  });
  parts.forEach(part => part.addEventListener("toggle", word));
}
const reach = () => {
  const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (part && part.tagName === "DETAILS") { part.open = true; part.scrollIntoView(); }
};
addEventListener("hashchange", reach);
document.querySelectorAll("nav a").forEach(a => a.addEventListener("click", () => setTimeout(reach)));
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
});
const hint = document.querySelector("output");
document.addEventListener("click", event => {
  const mark = event.target.closest("svg *"), title = mark && mark.querySelector(":scope > title");
  hint.textContent = title && mark.tagName !== "svg" ? title.textContent : "";
});
"""
"""Sorts tables, searches long ones, folds sections, shows a hint on a tap; without it all sections are open."""
