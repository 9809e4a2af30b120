/** Calls of the live view's API. */

import type { TrainingBatchChange, TrainingBatchSetting, TrainingReply } from "./training-types";
import type {
  BatchChange,
  BatchSetting,
  BatchView,
  CompiledView,
  GraphEvent,
  GraphsReply,
  GraphView,
  History,
  LogReply,
  RequestsReply,
  SendReply,
  SourceReply,
  TargetView,
  Trace,
} from "./types";

/** Milliseconds after which a call that got no answer fails, unless it names its own. */
const DEADLINE = 15_000;

/** What the API refused, in a sentence; `code` and `status` say which kind. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

interface Refusal {
  error: { code: string; message: string };
}

/** Where the API is: beside the module that this code came in, so also below a base path. */
export function apiBase(module: string): string {
  const at = new URL(module);
  const end = at.pathname.indexOf("/hogar/static/");
  const root = end < 0 ? "" : at.pathname.slice(0, end);
  return `${at.origin}${root}/hogar/api/v1`;
}

export class Api {
  constructor(readonly base: string) {}

  graphs = (): Promise<GraphsReply> => this.call("GET", "/graphs");
  /** Fails, with status 404, where the DAG is no graph; quietly, as the browser logs each real 404. */
  graph = async (dag: string): Promise<GraphView> => {
    const reply = await this.call<GraphView | Refusal>("GET", `${of(dag)}/graph?quiet=true`);
    if ("error" in reply) throw new ApiError(404, reply.error.code, reply.error.message);
    return reply;
  };
  streamUrl = (dag: string): string => `${this.base}${of(dag)}/stream`;
  history = (dag: string, index: number, seconds = 900): Promise<History> =>
    this.call("GET", `${of(dag)}/nodes/${index}/history?seconds=${seconds}`);
  events = (dag: string, after = 0, limit = 200): Promise<{ events: GraphEvent[] }> =>
    this.call("GET", `${of(dag)}/events?after=${after}&limit=${limit}`);
  requests = (dag: string, most = 50): Promise<RequestsReply> =>
    this.call("GET", `${of(dag)}/requests?most=${most}`);
  traces = (dag: string, most = 20): Promise<{ traces: Trace[] }> =>
    this.call("GET", `${of(dag)}/traces?most=${most}`);
  changes = (dag: string): Promise<{ changes: BatchChange[] }> =>
    this.call("GET", `${of(dag)}/batching/changes`);
  targets = (dag: string): Promise<{ targets: TargetView[] }> => this.call("GET", `${of(dag)}/targets`);
  target = (dag: string, name: string): Promise<CompiledView> =>
    this.call("GET", `${of(dag)}/targets/${encodeURIComponent(name)}`);
  /** Where the browser downloads a target's files as one. */
  archiveUrl = (dag: string, name: string): string =>
    `${this.base}${of(dag)}/targets/${encodeURIComponent(name)}/archive`;
  source = (dag: string): Promise<SourceReply> => this.call("GET", `${of(dag)}/source`);
  logs = (dag: string, index: number, which: { proxy?: boolean; backup?: boolean } = {}): Promise<LogReply> =>
    this.call(
      "GET",
      `${of(dag)}/nodes/${index}/logs?lines=200&proxy=${!!which.proxy}&backup=${!!which.backup}`,
    );
  setBatching = (dag: string, index: number, setting: BatchSetting): Promise<BatchView> =>
    this.call("PUT", `${of(dag)}/nodes/${index}/batching`, setting);
  /** Of all trained operators where `operator` is empty; only what is new where `since` is a cursor. */
  trainings = (dag: string, operator: string, runs: number, since: string): Promise<TrainingReply> =>
    this.call(
      "GET",
      `${of(dag)}/training${operator ? `/${encodeURIComponent(operator)}` : ""}?runs=${runs}${since ? `&since=${since}` : ""}`,
    );
  setTrainingBatch = (
    dag: string,
    operator: string,
    setting: TrainingBatchSetting,
  ): Promise<TrainingBatchChange> =>
    this.call("PUT", `${of(dag)}/training/${encodeURIComponent(operator)}/batch`, setting);
  send = (dag: string, message: { content_type: string; body?: string; body_base64?: string }) =>
    this.call<SendReply>("POST", `${of(dag)}/send`, message, 75_000);
  drain = (dag: string, timeout_s: number, force: boolean) =>
    this.call<{ stopped: boolean; left: number }>(
      "POST",
      `${of(dag)}/drain`,
      { timeout_s, force },
      (timeout_s + 20) * 1000,
    );
  down = (dag: string) => this.call<unknown>("POST", `${of(dag)}/down`, {}, 60_000);

  private async call<T>(method: string, path: string, body?: unknown, deadline = DEADLINE): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.base + path, {
        method,
        credentials: "same-origin",
        headers: body === undefined ? {} : { "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(deadline),
      });
    } catch (error) {
      const late = error instanceof DOMException && error.name === "TimeoutError";
      throw new ApiError(
        0,
        late ? "timeout" : "unreachable",
        late
          ? `Airflow's API server did not answer within ${Math.round(deadline / 1000)} s.`
          : "Airflow's API server cannot be reached. Is it running, and are you still connected?",
      );
    }
    if (response.ok) return (await response.json()) as T;
    throw await refusal(response);
  }
}

function of(dag: string): string {
  return `/dags/${encodeURIComponent(dag)}`;
}

async function refusal(response: Response): Promise<ApiError> {
  let code = "";
  let message = "";
  try {
    const reply = (await response.json()) as {
      error?: { code?: string; message?: string };
      detail?: unknown;
    };
    code = reply.error?.code ?? "";
    message = reply.error?.message ?? (typeof reply.detail === "string" ? reply.detail : "");
  } catch {
    // Not JSON: a proxy in between answered.
  }
  if (response.status === 401) {
    return new ApiError(401, code || "signed_out", "You are signed out. Load the page again to sign in.");
  }
  if (!message) {
    message =
      response.status === 403
        ? "You may not do this. Ask an administrator for the permission on this DAG and on HOGAR."
        : `Airflow's API server answered ${response.status}.`;
  }
  return new ApiError(response.status, code, message);
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
