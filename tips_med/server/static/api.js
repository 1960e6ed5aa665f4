// The server's HTTP interface. Each refusal is an ApiError with what was found, expected and to be done.

export class ApiError extends Error {
  constructor({ code = "error", message = "the server refused", expected = null, remedy = null } = {}, status = 0) {
    super(message);
    this.code = code;
    this.expected = expected;
    this.remedy = remedy;
    this.status = status;
  }

  /** What to show: one sentence. */
  get text() {
    const parts = [this.message];
    if (this.expected) parts.push(`expected ${this.expected}`);
    const text = parts.join("; ");
    const said = `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
    return this.remedy ? `${said} ${this.remedy.charAt(0).toUpperCase()}${this.remedy.slice(1)}.` : said;
  }
}

/** The connection is gone. */
export class LostError extends ApiError {
  constructor() {
    super({ code: "lost", message: "the server does not answer" });
  }
}

const KEPT = "tips-med-token";

export class Api {
  constructor() {
    this.token = sessionStorage.getItem(KEPT);
  }

  /** Trades the link's ticket, which works once, for the token of this tab. */
  async enter() {
    const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
    history.replaceState(null, "", location.pathname);
    if (ticket) {
      try {
        const { token } = await this.post("/page/token", { ticket });
        this.token = token;
        if (token) sessionStorage.setItem(KEPT, token);
      } catch (error) {
        if (this.token === null || error instanceof LostError) throw error;
      }
    }
    return this.get("/v1/page/start");
  }

  /** Takes a token that was typed. */
  use(token) {
    this.token = token;
    sessionStorage.setItem(KEPT, token);
  }

  async get(path) {
    return (await this.fetch(path)).json();
  }

  async post(path, content) {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
    return (await this.fetch(path, options)).json();
  }

  async bytes(path) {
    return (await this.fetch(path)).arrayBuffer();
  }

  async upload(file, options = {}) {
    const form = new FormData();
    form.append("file", file);
    Object.entries(options).forEach(([name, value]) => form.append(name, value));
    return (await this.fetch("/v1/studies", { method: "POST", body: form })).json();
  }

  async remove(path) {
    return (await this.fetch(path, { method: "DELETE" })).json();
  }

  async fetch(path, options = {}) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new LostError();
    }
    if (!response.ok) {
      let content = {};
      try {
        content = await response.json();
      } catch {
        content = { message: `the server answered ${response.status}` };
      }
      throw new ApiError(content, response.status);
    }
    return response;
  }

  /** Follows what is at work at a path until it is ready, failed or cancelled; calls `told` with each of its states. */
  async follow(path, told) {
    const response = await this.fetch(`${path}/events`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let last = null;
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch {
        throw new LostError();
      }
      if (piece.done) break;
      text += piece.value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const line = event.split("\n").find((one) => one.startsWith("data: "));
        if (!line) continue;
        last = JSON.parse(line.slice(6));
        told(last);
      }
    }
    if (last === null || !["ready", "failed", "cancelled"].includes(last.state)) throw new LostError();
    return last;
  }
}
