import { Api } from "../src/api";
import type { BatchView, GraphSummary, GraphView, NodeView, Sample } from "../src/types";

export function batch(part: Partial<BatchView> = {}): BatchView {
  return {
    limit: 32,
    most: 32,
    dynamic: false,
    wait_ms: 0,
    objective_ms: 0,
    set_by: "config",
    declared: 32,
    mean: 4,
    fill: 0.125,
    hint: "",
    ...part,
  };
}

export function summary(name: string, part: Partial<GraphSummary> = {}): GraphSummary {
  return {
    dag_id: name,
    name,
    version: "1",
    state: part.nodes_dead ? "dead" : "ready",
    url: "",
    nodes: 3,
    nodes_dead: 0,
    requests_per_second: 1,
    errors_per_second: 0,
    p95_ms: 3,
    warnings: [],
    orphaned: false,
    ...part,
  };
}

export function node(index: number, part: Partial<NodeView> = {}): NodeView {
  return {
    index,
    name: `Node-${index}`,
    version: "1",
    image: `some/image-${index}:v1`,
    stateful: false,
    state: "ready",
    reason: "",
    since: 1000,
    declared: { version: "1", image: `some/image-${index}:v1`, batch: 32 },
    drift: [],
    pairs: [
      {
        role: "primary",
        state: "ready",
        host: "10.0.0.4",
        address: "10.0.0.4:7001",
        model_pids: [4001],
        proxy_pid: 5001,
        reason: "",
      },
    ],
    queued: 2,
    running: 3,
    leaving: 0,
    requests: 100,
    errors: 0,
    requests_per_second: 41.7,
    errors_per_second: 0,
    p50_ms: 10,
    p95_ms: 18,
    p99_ms: 25,
    queue_p95_ms: 5,
    compute_p95_ms: 12,
    batch: batch(),
    lag_ms: 0.4,
    exits: 0,
    cpu: 0.2,
    memory: 200_000_000,
    ...part,
  };
}

export function view(nodes: NodeView[] = [node(1), node(2)], part: Partial<GraphView> = {}): GraphView {
  return {
    dag_id: "Senti",
    name: "Senti",
    version: "3",
    deployed: true,
    state: "ready",
    url: "http://127.0.0.1:18900",
    warnings: [],
    message: "",
    at: Date.now() / 1000,
    nodes,
    flows: nodes.slice(1).map((n) => ({
      source: n.index - 1,
      target: n.index,
      kind: "distribute",
      label: "",
      requests_per_second: 40,
    })),
    in_graph: 5,
    errors_per_second: 0,
    ...part,
  };
}

export function sample(part: Partial<Sample> = {}): Sample {
  return {
    requests: 40,
    errors: 0,
    batches: 10,
    queued: 1,
    running: 2,
    p50_ms: 9,
    p95_ms: 15,
    p99_ms: 20,
    ...part,
  };
}

export interface Call {
  method: string;
  path: string;
  body: unknown;
}

/** An API whose answers are given by `METHOD path`; what it was asked is in `calls`. */
export function fakeApi(answers: Record<string, unknown>): { api: Api; calls: Call[] } {
  const calls: Call[] = [];
  const base = "http://localhost/hogar/api/v1";
  globalThis.fetch = (async (url: string, init: RequestInit = {}) => {
    const path = String(url).slice(base.length);
    const method = init.method ?? "GET";
    calls.push({ method, path, body: init.body ? JSON.parse(String(init.body)) : undefined });
    const answer = answers[`${method} ${path.split("?")[0]}`];
    if (answer instanceof Response) return answer.clone();
    if (answer === undefined) {
      return Response.json(
        { error: { code: "not_found", message: `No answer to ${method} ${path}.` } },
        { status: 404 },
      );
    }
    return Response.json(answer);
  }) as typeof fetch;
  return { api: new Api(base), calls };
}

/** Puts an element into the page with its properties, and waits until it is drawn. */
export async function mount<T extends HTMLElement>(
  tag: string,
  properties: Record<string, unknown>,
): Promise<T> {
  const element = Object.assign(document.createElement(tag), properties) as unknown as T & {
    updateComplete: Promise<unknown>;
  };
  document.body.append(element);
  await element.updateComplete;
  return element;
}

export function text(element: HTMLElement): string {
  return (element.shadowRoot?.textContent ?? "").replace(/\s+/g, " ");
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`Never saw: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** An EventSource that a test plays by hand. */
export class PlayedStream extends EventTarget {
  static last: PlayedStream | null = null;
  static readonly CLOSED = 2;
  readyState = 1;
  constructor(readonly url: string) {
    super();
    PlayedStream.last = this;
  }
  send(name: string, data: unknown): void {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
  }
  close(): void {
    this.readyState = 2;
  }
}
