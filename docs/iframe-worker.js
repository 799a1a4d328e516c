/* Browsers start no worker for a page from the disk. The search gets one that lives in a hidden frame instead. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.addEventListener("message", event => this.onmessage?.(event))
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.worker = this
      frame.srcdoc = `<script>
        postMessage = data => frameElement.worker.dispatchEvent(new parent.MessageEvent("message", { data: parent.structuredClone(data) }))
      <\/script><script src="${url}"><\/script>`
      this.frame = frame
      this.loaded = new Promise(resolve => frame.addEventListener("load", () => resolve(frame.contentWindow)))
      document.addEventListener("DOMContentLoaded", () => document.body.append(frame))
      if (document.body) document.body.append(frame)
    }
    postMessage(data) {
      this.loaded.then(inner => inner.dispatchEvent(new inner.MessageEvent("message", { data: inner.structuredClone(data) })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
