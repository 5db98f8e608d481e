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
    data: { scatter: [{ hoverinfo: "text" }], bar: [{ hoverinfo: "text" }], heatmap: [{ hoverinfo: "text" }] },
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

  function draw(element) {
    const figure = JSON.parse(element.querySelector("script").textContent);
    figure.layout.template = style;
    const { data, layout } = themed(figure, getComputedStyle(document.documentElement));
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // a finger scrolls the page
    if (print.matches) { // the width of a sheet's column; the browser still tells the screen's
      layout.width = element.closest(".grid-2, .grid-3") ? 320 : 640;
    }
    Plotly.react(element, data, layout, { responsive: true, displayModeBar: false });
  }

  const charts = document.querySelectorAll(".chart");
  for (const element of charts) setTimeout(draw, 0, element); // one by one: the page answers in between
  for (const query of [dark, print]) query.addEventListener("change", () => charts.forEach(element => draw(element)));
}
