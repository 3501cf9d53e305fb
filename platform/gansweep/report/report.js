"use strict";
// Charts are noted down until the library is unpacked; plotly's fragments only know its `newPlot`.
const charts = [];
window.Plotly = { newPlot: (...call) => charts.push(call) };

const LIGHT = { "#1f5fa8": "#1f5fa8" };
const DARK = {
  "#1f5fa8": "#7db3f0",
  "#c8501e": "#f2956b",
  "#2b8a57": "#62cf93",
  "#24292f": "#e6e9ed",
  "rgba(140,140,150,0.55)": "rgba(150,160,175,0.5)",
};
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;

function themed(call) {
  const colours = dark.matches && !printing ? DARK : LIGHT;
  let text = JSON.stringify([call[1], call[2]]);
  for (const [from, to] of Object.entries(colours)) text = text.replaceAll(`"${from}"`, `"${to}"`);
  const [data, layout] = JSON.parse(text);
  const style = getComputedStyle(document.documentElement);
  const line = printing ? "#b8bec5" : style.getPropertyValue("--line").trim();
  const ink = printing ? "#000000" : style.getPropertyValue("--ink").trim();
  layout.font = { ...layout.font, color: ink };
  for (const key of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    layout[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  }
  return [call[0], data, layout, call[3]];
}

function redraw() {
  for (const call of charts) Plotly.react(...themed(call));
}

function series(trace, rows) {
  if (trace.type === "parcoords") {
    rows.push(trace.dimensions.map((axis) => axis.label));
    const named = (axis, value) => (axis.ticktext ? axis.ticktext[Array.from(axis.tickvals).indexOf(value)] ?? value : value);
    const count = trace.dimensions[0].values.length;
    for (let i = 0; i < count; i++) rows.push(trace.dimensions.map((axis) => named(axis, axis.values[i])));
    return;
  }
  const across = trace.orientation === "h";
  for (let i = 0; i < (trace.x ?? []).length; i++) {
    if (trace.x[i] == null || trace.y[i] == null) continue;
    const point = Array.isArray(trace.text) && trace.text[i] ? trace.text[i] : "";
    rows.push([trace.name ?? "", point, across ? trace.y[i] : trace.x[i], across ? trace.x[i] : trace.y[i]]);
  }
}

function csv(chart) {
  const rows = [];
  if (chart._fullData[0]?.type !== "parcoords") rows.push(["series", "trial", "x", "y"]);
  for (const trace of chart._fullData) series(trace, rows);
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function button(tools, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", () => act(made));
  tools.append(made);
  return made;
}

function addTools(chart) {
  const tools = document.createElement("div");
  tools.className = "tools";
  button(tools, "Data (CSV)", () => {
    const link = document.createElement("a");
    link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(csv(chart));
    link.download = `${chart.id}.csv`;
    link.click();
  });
  button(tools, "Picture (PNG)", () => Plotly.downloadImage(chart, { format: "png", filename: chart.id, scale: 2 }));
  // The legend answers to a mouse only; buttons answer to keys, too.
  const groups = new Map();
  chart._fullData.forEach((trace, index) => {
    const key = trace.legendgroup || trace.name;
    if (trace.type !== "parcoords" && key) groups.set(key, [...(groups.get(key) ?? []), index]);
  });
  if (groups.size > 1 && groups.size < 16) {
    for (const indices of groups.values()) {
      const toggle = button(tools, chart._fullData[indices[0]].name, (pressed) => {
        const on = pressed.getAttribute("aria-pressed") === "false";
        pressed.setAttribute("aria-pressed", String(on));
        Plotly.restyle(chart, { visible: on ? true : "legendonly" }, indices);
      });
      toggle.setAttribute("aria-pressed", "true");
    }
  }
  chart.closest("figure").querySelector("figcaption").after(tools);
}

async function start() {
  const packed = document.getElementById("plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);
  for (const call of charts) {
    await Plotly.newPlot(...themed(call));
    addTools(document.getElementById(call[0]));
  }
  dark.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => { printing = true; redraw(); });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });
  document.documentElement.dataset.charts = "drawn";
}

function growing(figure) {
  const slider = figure.querySelector("input");
  const pictures = figure.querySelectorAll("img");
  const iterations = slider.dataset.iterations.split(",");
  slider.addEventListener("input", () => {
    pictures.forEach((picture, index) => { picture.hidden = index !== Number(slider.value); });
    figure.querySelector("output").textContent = iterations[slider.value];
  });
}

window.addEventListener("load", () => {
  document.querySelectorAll(".growth").forEach(growing);
  start().catch((error) => {
    const told = document.createElement("p");
    told.className = "note";
    told.textContent = `The charts need a browser of 2023 or later (${error}). The numbers are in the tables.`;
    document.querySelector("main").prepend(told);
  });
});
