// The playground: what is typed goes to the compiler, what it answers comes into its place, a part at a time.
"use strict";

const PAUSE = 250; // milliseconds without a key, after which the text is sent
const PARTS = ["formula", "curve", "source", "stability", "cost"]; // as they come
const PLACES = [...PARTS, "worst"];
const DOING = { formula: "Reading", curve: "Drawing", source: "Compiling", stability: "Measuring errors", cost: "Counting instructions" };

const $ = (id) => document.getElementById(id);
const text = $("text");
const tab = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
let running = null;
let timer = 0;
let heard = false; // whether the compiler has answered yet: it takes seconds to start

const token = takeToken();
const kept = sessionStorage.getItem("text");
if (kept) text.value = kept;
text.addEventListener("input", () => later());
text.addEventListener("scroll", () => ($("mirror").scrollTop = text.scrollTop));
for (const end of ["low", "high"]) $(end).addEventListener("input", () => later());
$("examples").addEventListener("change", (event) => {
  if (event.target.value) text.value = event.target.value;
  later(0);
});
$("editor").addEventListener("submit", (event) => event.preventDefault());
if (token) later(0);
else say("Open the address that dslgen playground printed: this one lacks the session's token.");

// The token comes in the address's fragment, which browsers send to nobody, and leaves the address at once.
function takeToken() {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
}

function later(pause = PAUSE) {
  clearTimeout(timer);
  mark([]);
  timer = setTimeout(ask, pause);
}

function say(status) {
  $("status").textContent = status;
}

async function ask() {
  if (running) running.abort();
  const mine = (running = new AbortController());
  sessionStorage.setItem("text", text.value);
  if (!text.value.trim()) return clear();
  const began = performance.now();
  for (const part of PLACES) $(part).classList.add("stale");
  say(heard ? "Reading…" : "Starting the compiler…");
  const body = JSON.stringify({ text: text.value, tab, low: $("low").valueAsNumber, high: $("high").valueAsNumber });
  try {
    const headers = { "Content-Type": "application/json", "X-Token": token };
    const response = await fetch("/answers", { method: "POST", headers, body, signal: mine.signal });
    if (!response.ok) return say((await response.text()).trim());
    let ended = false;
    for await (const answer of lines(response.body)) {
      if (mine.signal.aborted) return;
      ended = !show(answer) || ended;
    }
    if (!ended && !mine.signal.aborted) say(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (error.name !== "AbortError") say("The playground has ended, or cannot be reached.");
  }
}

// What comes, a JSON object a line; empty lines say that the compiler is still at work.
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const line of found) if (line) yield JSON.parse(line);
  }
}

// Put an answer into its place; whether more are to come.
function show(answer) {
  heard = true;
  if (answer.part === "stopped") {
    say(answer.html);
    return false;
  }
  if (answer.errors.length) {
    problems(answer.errors);
    say(answer.errors.length === 1 ? "1 error" : `${answer.errors.length} errors`);
    return false;
  }
  const place = $(answer.part);
  const made = document.createElement("template");
  made.innerHTML = answer.html;
  put(answer.part, [made.content]);
  for (const box of place.querySelectorAll("[data-for]")) {
    put(box.dataset.for, box.childNodes);
    box.remove();
  }
  const next = PARTS[PARTS.indexOf(answer.part) + 1];
  if (next) say(`${DOING[next]}…`);
  return true;
}

function put(name, nodes) {
  $(name).replaceChildren(...nodes);
  $(name).classList.remove("stale");
  const part = $(`${name}-part`);
  if (part) part.hidden = false;
}

function clear() {
  for (const part of PLACES) {
    $(part).replaceChildren();
    if ($(`${part}-part`)) $(`${part}-part`).hidden = true;
  }
  say("");
}

// Errors: what is wrong is marked in the text, and told below it with a caret.
function problems(errors) {
  mark(errors);
  $("problems").replaceChildren(...errors.map(problem));
  text.setAttribute("aria-invalid", "true");
}

function problem(error) {
  const box = element("div", "problem");
  const line = element("p");
  line.append(element("span", "code-of", error.code), ` ${error.message}`);
  box.append(line, element("pre", "", error.shown));
  if (error.fix) {
    const button = element("button", "", error.fix.text ? `Write “${error.fix.text}”` : "Take it away");
    button.type = "button";
    button.addEventListener("click", () => mend(error.fix));
    box.append(button);
  }
  return box;
}

function element(name, kind = "", content = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = content;
  return made;
}

function mend(fix) {
  const [begin, end] = stretch(fix);
  text.setRangeText(fix.text, begin, end, "end");
  text.focus();
  later(0);
}

function mark(errors) {
  const mirror = $("mirror");
  if (!errors.length) {
    $("problems").replaceChildren();
    text.removeAttribute("aria-invalid");
  }
  const pieces = [];
  let at = 0;
  for (const [begin, end] of errors.map(stretch).sort((a, b) => a[0] - b[0])) {
    if (begin < at) continue;
    pieces.push(text.value.slice(at, begin), element("span", "wrong", text.value.slice(begin, end) || " "));
    at = end;
  }
  mirror.replaceChildren(...pieces, text.value.slice(at) + "\n");
  mirror.scrollTop = text.scrollTop;
}

// Lines and columns count characters from 1; a text area counts units of UTF-16 from 0.
function stretch(place) {
  const offset = (line, column) => {
    const before = text.value.split("\n");
    const start = before.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    return start + [...(before[line - 1] ?? "")].slice(0, column - 1).join("").length;
  };
  return [offset(place.line, place.column), offset(place.end_line, place.end_column)];
}
