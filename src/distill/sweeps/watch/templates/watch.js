// Asks for the part that changes again and again; the server has escaped it.
const every = 1000 * Number(document.currentScript.dataset.every);
const live = document.getElementById("live"), state = document.getElementById("state");
async function refresh() {
  try {
    const answer = await fetch("live", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    live.innerHTML = await answer.text();
    state.textContent = "";
  } catch {
    state.textContent = "distill watch does not answer: it has ended, and the page shows what it last said.";
  }
  setTimeout(refresh, every);
}
setTimeout(refresh, every);
