"use strict";
{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");

  const axis = { gridcolor: "var(--rule)", linecolor: "var(--muted)", zeroline: false, automargin: true };
  const style = { // of every figure
    layout: {
      font: { family: "system-ui, sans-serif", size: 11, color: "var(--muted)" },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 8, t: 8, b: 8 },
      showlegend: false,
      hoverlabel: {
        bgcolor: "var(--surface)", bordercolor: "var(--muted)", align: "left", font: { color: "var(--ink)" },
      },
      xaxis: { ...axis, showgrid: false, showline: true },
      yaxis: axis,
    },
    data: { scatter: [{ hoverinfo: "text", unselected: { marker: { opacity: 0.06 } } }], bar: [{ hoverinfo: "text" }], heatmap: [{ hoverinfo: "text" }] },
  };

  // A copy of a figure with the theme's colors in place of "var(--name)", which Plotly does not understand.
  function themed(value, styles, isColor = false) {
    if (typeof value === "string") {
      const name = isColor && /^var\((--\w+)\)$/.exec(value);
      return name ? styles.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map(each => themed(each, styles, isColor));
    if (value === null || typeof value !== "object") return value;
    const entries = Object.entries(value);
    return Object.fromEntries(entries.map(([key, each]) => [key, themed(each, styles, key.includes("color"))]));
  }

  let chosen = null; // whether what a line or a point stands for is among what is chosen in the page's table

  const scope = element => element.closest("figure:has(.legend)") ?? element.closest("section");

  // Leaves out what is switched off in the legend, and makes pale what is not chosen.
  function choose(figure, element) {
    const off = [...scope(element).querySelectorAll("[aria-pressed=false]")].map(button => button.dataset.series);
    for (const series of [...figure.data, ...(figure.layout.shapes ?? [])]) {
      const color = [series.line?.color ?? series.marker?.color].flat()[0];
      if (off.includes(series.line?.dash === "dash" ? `${color} dash` : color)) series.visible = false;
      if (!chosen || series.type !== "scatter") continue;
      if (series.customdata) series.selectedpoints = series.customdata.flatMap((each, i) => chosen(each) ? [i] : []);
      else if (series.meta) series.opacity = chosen(series.meta) ? 1 : 0.06;
    }
  }

  const box = document.querySelector(".sample"); // at the pointer: the picture or the text of a point of a map
  const samples = box && JSON.parse(document.querySelector("#samples").textContent);

  function pointAt(number, { clientX: x, clientY: y }) {
    box.hidden = false;
    if (samples.uri) { // one picture holds all, row by row
      const { columns, uri } = samples, [left, top] = [-96 * (number % columns), -96 * Math.floor(number / columns)];
      box.style.background = `url(${uri}) ${left}px ${top}px / ${96 * columns}px`; // a tile is as large as the box
    } else box.textContent = samples.texts[number];
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(x - width / 2, innerWidth - width - 4))}px`;
    box.style.top = `${y + 24 + height > innerHeight ? y - 24 - height : y + 24}px`;
  }

  function draw(element) {
    const first = !element.on; // Plotly adds it
    const figure = JSON.parse(element.querySelector("script").textContent);
    choose(figure, element);
    figure.layout.template = style;
    const { data, layout } = themed(figure, getComputedStyle(document.documentElement));
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // a finger scrolls the page
    if (print.matches) { // the width of a sheet's column; the browser still tells the screen's
      layout.width = element.closest(".grid-2, .grid-3") ? 320 : 640;
    }
    Plotly.react(element, data, layout, { responsive: true, displayModeBar: false });
    if (!first) return;
    element.on("plotly_click", ({ points: [point] }) => {
      const link = point.customdata ?? point.data.meta;
      if (link) document.dispatchEvent(new CustomEvent("choose", { detail: link }));
    });
    element.on("plotly_hover", ({ points: [point], event }) => {
      if (box && point.customdata !== undefined) pointAt(point.customdata, event);
    });
    element.on("plotly_unhover", () => box?.setAttribute("hidden", ""));
  }

  const charts = document.querySelectorAll(".chart");
  const draws = elements => elements.forEach(each => setTimeout(draw, 0, each)); // the page answers in between
  draws(charts);
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      button.ariaPressed = String(button.ariaPressed === "false");
      draws([...charts].filter(each => scope(each).contains(button)));
    });
  }
  document.addEventListener("chosen", event => {
    chosen = event.detail;
    draws(charts);
  });
  for (const query of [dark, print]) query.addEventListener("change", () => charts.forEach(element => draw(element)));
}
