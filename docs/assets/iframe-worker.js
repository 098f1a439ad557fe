/* Browsers start no worker from a file. There, the site's search runs in a hidden frame that is used like one. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #inside;
    #ready;

    constructor(script) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.#inside = frame.contentWindow;
      this.#inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.#ready = new Promise((resolve) => {
        const element = frame.contentDocument.createElement("script");
        element.src = script;
        element.addEventListener("load", resolve);
        frame.contentDocument.body.append(element);
      });
    }

    postMessage(data) {
      this.#ready.then(() => this.#inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
