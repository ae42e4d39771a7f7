// The index's search and filters, and the buttons that copy code. Without this script every page can still be read.
"use strict";

const form = document.querySelector(".filters");
if (form) filters(form);
copyButtons(document);

function filters(form) {
  const query = form.querySelector("#q");
  const count = form.querySelector("#count");
  const cards = [...document.querySelectorAll(".card")];
  const groups = [...document.querySelectorAll(".group")];
  const chosen = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);

  function show() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const families = chosen("family");
    const tags = chosen("tag");
    let shown = 0;
    for (const card of cards) {
      const own = card.dataset.tags.split("|");
      const fits =
        words.every((word) => card.dataset.search.includes(word)) &&
        (!families.length || families.includes(card.dataset.family)) &&
        tags.every((tag) => own.includes(tag));
      card.hidden = !fits;
      shown += fits;
    }
    for (const group of groups) group.hidden = !group.querySelector(".card:not([hidden])");
    count.textContent = shown === cards.length ? `${shown} definitions` : `${shown} of ${cards.length} definitions`;
    form.querySelector("#clear").hidden = shown === cards.length;
    document.querySelector("#none").hidden = shown > 0;
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== query && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      query.focus();
    }
  });
  show();
}

function copyButtons(root) {
  if (!navigator.clipboard) return;
  for (const block of root.querySelectorAll("pre.code")) {
    const box = document.createElement("div");
    box.className = "copied";
    block.replaceWith(box);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    box.append(block, button);
  }
}
