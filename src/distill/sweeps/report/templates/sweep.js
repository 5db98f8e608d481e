"use strict";
{ // The table of settings: what is typed, or clicked in a chart, chooses rows and shows their runs.
  const MAX_ROWS = 100;
  const search = document.querySelector("[role=search]");
  const rows = selector => [...document.querySelectorAll(`${selector} tbody tr`)];

  // A link is "key=value ..."; values of one key are alternatives, other words are looked for.
  function matcher(words, known) {
    return link => {
      const pairs = link.split(" ");
      return words.every(word => {
        if (!known.has(word)) return link.includes(word);
        const key = word.slice(0, word.indexOf("=") + 1);
        const own = pairs.filter(pair => pair.startsWith(key));
        return !own.length || own.some(pair => words.includes(pair));
      });
    };
  }

  function show(all, matches) {
    const found = all.filter(row => matches(row.dataset.link));
    all.forEach(row => { row.hidden = true; });
    found.slice(0, MAX_ROWS).forEach(row => { row.hidden = false; });
    return found.length;
  }

  if (search) {
    const [input, said, runs] = [search.querySelector("input"), search.querySelector("output"), document.querySelector("#runs")];
    const hint = said.textContent;
    const [settings, jobs] = [rows(".settings"), rows(".runs")];
    const known = new Set(jobs.flatMap(row => row.dataset.link.split(" ")));
    const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}${n > MAX_ROWS ? `, the first ${MAX_ROWS} shown` : ""}`;
    const apply = () => {
      const words = input.value.split(/[ \t]+/).filter(Boolean);
      const matches = matcher(words, known);
      const [chosen, of] = [show(settings, matches), show(jobs, matches)];
      runs.hidden = !words.length;
      said.textContent = words.length ? `${count(chosen, "setting")}; ${count(of, "run")}` : hint;
      return words.length ? matches : null;
    };
    const choose = link => {
      input.value = link;
      document.dispatchEvent(new CustomEvent("chosen", { detail: apply() }));
    };
    search.hidden = false;
    input.addEventListener("input", apply);
    input.addEventListener("change", () => choose(input.value)); // Enter, or the next field
    input.addEventListener("search", () => choose(input.value)); // its cross
    document.addEventListener("choose", event => {
      choose(event.detail);
      history.pushState(null, "", "#settings"); // the browser's Back returns to the chart
      document.getElementById("settings").scrollIntoView();
    });
    for (const button of document.querySelectorAll(".settings button")) {
      button.addEventListener("click", () => choose(button.closest("tr").dataset.link));
    }
  }
}
