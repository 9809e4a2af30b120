/** A graph as it is now: follows the API's stream. */

import { type Api, ApiError } from "./api";
import type { GraphEvent, GraphView } from "./types";

const MOST_EVENTS = 500;
/** Milliseconds without news after which the view says that it may be old. */
const STALE = 5000;
const FIRST_RETRY = 1000;
const LAST_RETRY = 15_000;

/** Tells of changes by a `change` event. Closed, and opened again, as the page is hidden and shown. */
export class LiveGraph extends EventTarget {
  view: GraphView | null = null;
  error: ApiError | null = null;
  events: GraphEvent[] = [];
  /** How far the server's clock is ahead of this one's, in seconds. */
  skew = 0;

  private source: EventSource | null = null;
  private retry = FIRST_RETRY;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private heard = 0;
  private wasStale = false;
  private watch: ReturnType<typeof setInterval> | undefined;
  private running = false;
  private askedEvents = false;

  constructor(
    readonly api: Api,
    readonly dag: string,
  ) {
    super();
  }

  /** Whether nothing has come for some seconds though the stream should run. */
  get stale(): boolean {
    return this.running && this.view !== null && Date.now() - this.heard > STALE;
  }

  /** Unix seconds by the server's clock. */
  now(): number {
    return Date.now() / 1000 + this.skew;
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    document.addEventListener("visibilitychange", this.shown);
    this.watch = setInterval(() => {
      if (this.stale !== this.wasStale) {
        this.wasStale = this.stale;
        this.tell();
      }
    }, 1000);
    void this.load();
  }

  stop(): void {
    this.running = false;
    document.removeEventListener("visibilitychange", this.shown);
    clearInterval(this.watch);
    this.disconnect();
  }

  /** Asks anew at once, as after a change that the user has made. */
  async refresh(): Promise<void> {
    try {
      this.take(await this.api.graph(this.dag));
    } catch (error) {
      this.fail(error);
    }
  }

  private async load(): Promise<void> {
    await this.refresh();
    if (!this.running) return;
    if (this.error) {
      // A DAG that is no graph stays none until its file changes, and who is signed out signs in first.
      if (this.error.code !== "not_a_hogar_graph" && ![401, 403].includes(this.error.status)) this.again();
      return;
    }
    this.connect();
  }

  private async loadEvents(): Promise<void> {
    this.askedEvents = true;
    try {
      this.add((await this.api.events(this.dag)).events);
    } catch {
      // The stream brings the next ones; the events view says what it lacks by being empty.
    }
  }

  private connect(): void {
    this.disconnect();
    if (!this.running || document.hidden) return;
    const source = new EventSource(this.api.streamUrl(this.dag), { withCredentials: true });
    this.source = source;
    let ended = false;
    source.addEventListener("graph", (message) => {
      this.retry = FIRST_RETRY;
      ended = false;
      this.take(JSON.parse((message as MessageEvent<string>).data) as GraphView);
    });
    source.addEventListener("events", (message) => {
      const data = JSON.parse((message as MessageEvent<string>).data) as
        | GraphEvent[]
        | { events: GraphEvent[] };
      this.add(Array.isArray(data) ? data : data.events);
    });
    source.addEventListener("failed", (message) => {
      const { error } = JSON.parse((message as MessageEvent<string>).data) as {
        error: { code: string; message: string };
      };
      this.fail(new ApiError(503, error.code, error.message));
    });
    source.addEventListener("error", () => {
      // Each stream ends within a minute, and the browser connects again by itself. Where it then
      // fails, it would try twice a second for ever.
      if (source.readyState === EventSource.CLOSED || ended) {
        this.disconnect();
        this.again();
      }
      ended = true;
    });
  }

  private disconnect(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private again(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.load(), this.retry);
    this.retry = Math.min(this.retry * 2, LAST_RETRY);
  }

  private shown = (): void => {
    if (document.hidden) this.disconnect();
    else {
      // The stream has told nothing meanwhile.
      this.askedEvents = false;
      void this.load();
    }
  };

  private take(view: GraphView): void {
    this.heard = Date.now();
    this.skew = view.at - this.heard / 1000;
    this.error = null;
    this.view = view;
    // Where no agent runs, nobody knows of events.
    if (view.reachable !== false && !this.askedEvents) void this.loadEvents();
    this.tell();
  }

  /** The stream tells the newest events, perhaps before the older ones were fetched. */
  private add(events: GraphEvent[]): void {
    const known = new Set(this.events.map((event) => event.number));
    const fresh = events.filter((event) => !known.has(event.number));
    if (!fresh.length) return;
    this.events = [...this.events, ...fresh].sort((a, b) => a.number - b.number).slice(-MOST_EVENTS);
    this.tell();
  }

  private fail(error: unknown): void {
    this.error = error instanceof ApiError ? error : new ApiError(0, "broken", String(error));
    this.tell();
  }

  private tell(): void {
    this.dispatchEvent(new Event("change"));
  }
}
