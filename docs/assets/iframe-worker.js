/* Browsers start no worker from file://. There the search, which is one, runs in a hidden frame of the page instead. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.scope = new Promise((ready) => {
        frame.addEventListener("load", () => {
          const scope = frame.contentWindow;
          scope.postMessage = (data) => {
            const message = new MessageEvent("message", { data });
            this.onmessage?.(message);
            this.dispatchEvent(message);
          };
          const load = (source) =>
            new Promise((done, failed) => {
              const script = scope.document.createElement("script");
              script.src = source;
              script.onload = done;
              script.onerror = failed;
              scope.document.head.append(script);
            });
          scope.importScripts = async (...sources) => {
            for (const source of sources) await load(source);
          };
          load(url).then(() => ready(scope));
        });
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.scope.then((scope) => scope.dispatchEvent(new scope.MessageEvent("message", { data })));
    }

    terminate() {}
  };
}
