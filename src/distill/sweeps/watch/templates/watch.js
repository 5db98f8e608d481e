// Asks for the part that changes again and again; the server has escaped it.
const every = 1000 * Number(document.currentScript.dataset.every);
const live = document.getElementById("live"), state = document.getElementById("state");
let shown = "";
async function refresh() {
  try {
    const answer = await fetch("live", { cache: "no-store" });
    const text = await answer.text();
    if (answer.ok && text !== shown) live.innerHTML = shown = text; // what is selected in an equal one stays so
    state.textContent = answer.ok ? `Read at ${new Date().toLocaleTimeString()}.` : text;
  } catch {
    state.textContent = "distill watch does not answer: it has ended, and the page shows what it last said.";
  }
  setTimeout(refresh, every);
}
setTimeout(refresh, every);
