/* Browsers start no worker for a page from the disk. The search gets one that lives in a hidden frame instead.
   As between a page and a worker, messages are copied. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.addEventListener("message", event => this.onmessage?.(event))
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.worker = this
      this.frame.srcdoc = `<script>
        postMessage = content => {
          const data = parent.structuredClone(content)
          frameElement.worker.dispatchEvent(new parent.MessageEvent("message", { data }))
        }
      <\/script><script src="${url}"><\/script>`
      this.loaded = new Promise(resolve => this.frame.addEventListener("load", () => resolve(this.frame.contentWindow)))
      document.addEventListener("DOMContentLoaded", () => document.body.append(this.frame))
      if (document.body) document.body.append(this.frame)
    }
    postMessage(content) {
      this.loaded.then(inner => {
        const data = inner.structuredClone(content)
        inner.dispatchEvent(new inner.MessageEvent("message", { data }))
      })
    }
    terminate() {
      this.frame.remove()
    }
  }
}
