// Runs once when the page's head is there; the functions are for the other parts.
const lang = element.querySelector("header")?.dataset.lang;
if (lang) document.documentElement.lang = lang;

// A button with data-index or data-label triggers a click that carries it.
window.pick = (part, fire) => {
  part.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-index], button[data-label]");
    if (button) fire("click", { ...button.dataset });
  });
};

// Branches that a person opened or closed stay so while the image stays the same.
window.keepOpen = (part, watching) => {
  const chosen = new Map();
  let key = null;
  let busy = false;
  part.addEventListener("toggle", (event) => {
    if (!busy && event.target.dataset.node) chosen.set(event.target.dataset.node, event.target.open);
  }, true);
  watching("value", () => {
    const tree = part.querySelector(".tree");
    if (tree?.dataset.key !== key) { chosen.clear(); key = tree?.dataset.key; }
    busy = true;
    part.querySelectorAll("details[data-node]").forEach((node) => {
      if (chosen.has(node.dataset.node)) node.open = chosen.get(node.dataset.node);
    });
    setTimeout(() => { busy = false; }, 0);
  });
};

// Screen readers tell what is new in a part; where it is off the screen, the page moves to it: of answers, to each
// image's first.
window.announce = (part, watching, keyed) => {
  part.setAttribute("aria-live", "polite");
  let key;
  watching("value", () => {
    const shown = keyed ? part.querySelector(keyed) : part;
    if (!shown || (keyed && shown.dataset.key === key)) return;
    key = shown.dataset.key;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { top } = shown.getBoundingClientRect();
    if (top < 0 || top > innerHeight - 120) {
      shown.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
    }
  });
};

// Columns sort by their cells' data-value, numbers as numbers; once more turns the order around.
window.sortable = (part) => {
  part.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-sort]");
    if (!button) return;
    const head = button.closest("th");
    const up = head.getAttribute("aria-sort") !== "ascending";
    const column = [...head.parentNode.children].indexOf(head);
    head.parentNode.querySelectorAll("th[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = part.querySelector("tbody");
    const value = (row) => row.children[Math.min(column, row.children.length - 1)]?.dataset.value ?? "";
    const rows = [...body.rows].sort((a, b) => value(a).localeCompare(value(b), undefined, { numeric: true }));
    (up ? rows : rows.reverse()).forEach((row) => body.append(row));
  });
};

element.querySelector("[data-theme-switch]")?.addEventListener("click", () => document.body.classList.toggle("dark"));

// Examples of the HTTP interface name the address under which this page was opened.
const here = () => document.querySelectorAll("#api code").forEach((code) => {
  const told = code.textContent.replaceAll("http://127.0.0.1:7860", location.origin);
  if (told !== code.textContent) code.textContent = told; // a change that changes nothing would be observed, too
});
new MutationObserver(here).observe(document.body, { childList: true, subtree: true });
here();
