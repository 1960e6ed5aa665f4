// A client of `tips-med serve`.

const EVERY_MS = 500;

// Each method takes an AbortSignal, by which a question that nobody waits for ends.

/** A refusal of the server, or a server that cannot be asked; `code` is short and stable. */
export class ServerError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Server {
  /** @param {string} root Address of the server, or the path where a reverse proxy has it. */
  constructor(root) {
    this.root = root.replace(/\/+$/, "");
    this.token = "";
  }

  /** Lets the server fetch a series by DICOMweb; its id of the study. */
  async refer(dicomweb, study, series, signal) {
    return (await this.#json("POST", "/v1/studies", signal, { dicomweb: { url: dicomweb, study, series } })).id;
  }

  /** Waits until a study is encoded; `tell` is called with state, slabs done and slabs in all. */
  async wait(study, signal, tell) {
    for (;;) {
      const entry = await this.#json("GET", `/v1/studies/${encodeURIComponent(study)}`, signal);
      if (entry.state === "ready") return;
      if (entry.state === "failed") throw refusal(entry.error);
      if (entry.state === "cancelled") throw new ServerError("cancelled", "someone cancelled this series on the server");
      tell(entry.state, entry.done, entry.total);
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
  }

  /** Asks an encoded study; one text may be several queries. Entries of the report. */
  async ask(study, query, signal) {
    return (await this.#json("POST", `/v1/studies/${encodeURIComponent(study)}/answers`, signal, { query })).answers;
  }

  /** A DICOM object of an answer, by the path in the report: an ArrayBuffer. */
  async dicom(path, signal) {
    return (await this.#send("GET", path, signal)).arrayBuffer();
  }

  async #json(method, path, signal, body) {
    try {
      return await (await this.#send(method, path, signal, body)).json();
    } catch (error) {
      if (error instanceof SyntaxError) throw stranger();
      throw error;
    }
  }

  async #send(method, path, signal, body) {
    if (!/^\/v1\/[\w/.-]*$/.test(path) || path.includes("..")) throw stranger();
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.root + path, {
        method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), redirect: "error", cache: "no-store",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ServerError("unreachable", "tips-med serve cannot be reached; is it running, and does it allow this page's origin?");
    }
    if (response.ok) return response;
    throw refusal(await response.json().catch(() => null));
  }
}

function refusal(entry) {
  if (typeof entry?.code !== "string") return stranger();
  return new ServerError(entry.code, [entry.message, entry.expected && `expected ${entry.expected}`, entry.remedy].filter(Boolean).join("; "));
}

function stranger() {
  return new ServerError("not-tips-med", "the server does not answer as tips-med serve does; is its address right?");
}
