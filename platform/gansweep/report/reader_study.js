"use strict";
const byId = (id) => document.getElementById(id);
let reader = "";
let place = 0;
let answers = {};

const place_of = (name) => `gansweep reader study ${STUDY} ${name}`;

function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(place_of(name)));
  } catch {
    return null;
  }
}

function keep() {
  try {
    localStorage.setItem(place_of(reader), JSON.stringify(answers));
    localStorage.setItem(place_of("reader"), JSON.stringify(reader));
  } catch {
    byId("storage").hidden = false;
  }
}

function show() {
  const answered = Object.keys(answers).length;
  byId("image").src = IMAGES[place];
  byId("image").alt = `Image ${place + 1}`;
  byId("where").textContent = `Image ${place + 1} of ${IMAGES.length}, ${answered} answered`;
  byId("done").value = answered;
  for (const kind of ["real", "synthetic"]) {
    byId(kind).setAttribute("aria-pressed", String(answers[place + 1] === kind));
  }
  byId("back").disabled = place === 0;
  byId("next").disabled = place === IMAGES.length - 1;
  byId("finished").hidden = answered < IMAGES.length;
}

function move(by) {
  place = Math.min(Math.max(place + by, 0), IMAGES.length - 1);
  show();
}

function answer(kind) {
  answers[place + 1] = kind;
  keep();
  move(1);
}

function save() {
  const text = JSON.stringify({ study: STUDY, reader, answers }, null, 2);
  const link = document.createElement("a");
  link.href = "data:application/json;charset=utf-8," + encodeURIComponent(text);
  link.download = `answers-${STUDY}-${reader.replace(/[^\w-]+/g, "-")}.json`;
  link.click();
}

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  reader = byId("reader").value.trim();
  if (!reader) return;
  answers = stored(reader) ?? {};
  keep();
  const open = IMAGES.findIndex((_, index) => !(index + 1 in answers));
  place = open < 0 ? IMAGES.length - 1 : open;
  byId("start").hidden = true;
  byId("reading").hidden = false;
  show();
});
byId("real").addEventListener("click", () => answer("real"));
byId("synthetic").addEventListener("click", () => answer("synthetic"));
byId("back").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (byId("reading").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const acts = { r: () => answer("real"), s: () => answer("synthetic"), arrowleft: () => move(-1), arrowright: () => move(1) };
  const act = acts[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("reader").value = stored("reader") ?? "";
