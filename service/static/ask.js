// Requests to the service, and its problems (RFC 9457) in words.

/** What the service answered when it did not do what was asked, or that it did not answer. */
export class Problem extends Error {
  constructor(status, document) {
    super(Problem.words(status, document));
    this.status = status;
    this.document = document;
  }

  static words(status, document) {
    if (!status) return "The connection broke off. Check it and try again.";
    if (status === 401) return "You are logged out. Log in in another tab, then try again.";
    if (!document) return `The service answered with status ${status}.`;
    const faults = (document.errors ?? []).map((each) => each.detail);
    const detail = faults.length ? faults.join(" ") : document.detail;
    return detail && detail !== document.title ? `${document.title}. ${detail}` : `${document.title}.`;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Send a request; resolves to `{data, etag}`, rejects with a Problem. Who is logged out and only asks is led to the
 * login; who changes something stays, with what was typed or is still to be sent.
 * XMLHttpRequest, because fetch cannot tell how much of a body has been sent.
 */
export function ask(method, url, { body = null, type = null, ifMatch = null, onProgress = null, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.setRequestHeader("Accept", "application/json");
    if (type) request.setRequestHeader("Content-Type", type);
    if (ifMatch) request.setRequestHeader("If-Match", ifMatch);
    if (onProgress) request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () => {
      const data = parsed(request.responseText);
      if (request.status >= 200 && request.status < 300) resolve({ data, etag: request.getResponseHeader("ETag") });
      else if (request.status === 401 && method === "GET") location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
      else reject(new Problem(request.status, data));
    });
    request.addEventListener("error", () => reject(new Problem(0, null)));
    request.addEventListener("abort", () => reject(new DOMException("Cancelled.", "AbortError")));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** A page of our own as a document; it is parsed but not run. */
export function page(url) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    request.addEventListener("load", () =>
      request.status === 200 && request.response ? resolve(request.response) : reject(new Problem(request.status, null)),
    );
    request.addEventListener("error", () => reject(new Problem(0, null)));
    request.send();
  });
}
