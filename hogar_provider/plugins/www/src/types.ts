/** What the API of the live view answers (`/hogar/api/v1`). Times are Unix seconds, durations ms. */

export type State =
  | "unknown"
  | "undeployed"
  | "starting"
  | "ready"
  | "busy"
  | "degraded"
  | "recovering"
  | "dead"
  | "draining";

export type FlowKind = "distribute" | "reduce" | "switch" | "split";

export interface BatchView {
  limit: number;
  /** The most that a dynamic limit may grow to. */
  most: number;
  dynamic: boolean;
  wait_ms: number;
  /** 0: the usual one. */
  objective_ms: number;
  set_by: string;
  /** As in an EARG config: negative is dynamic. */
  declared: number | null;
  mean: number | null;
  /** From 0 to 1. */
  fill: number | null;
  hint: string;
}

export interface PairView {
  role: string;
  state: string;
  host: string;
  address: string;
  model_pids: number[];
  proxy_pid: number | null;
  reason: string;
}

export interface TroubleStep {
  at: number;
  what: string;
}

/** A time in which a node was not whole, however short; told until some seconds after its end. */
export interface Trouble {
  worst: State;
  began: number;
  ended: number | null;
  why: string;
  steps: TroubleStep[];
}

export interface NodeView {
  index: number;
  name: string;
  version: string;
  image: string;
  stateful: boolean;
  state: State;
  reason: string;
  since: number | null;
  declared: { version: string; image: string; batch: number; more?: string } | null;
  drift: string[];
  pairs: PairView[];
  queued: number | null;
  running: number | null;
  leaving: number | null;
  requests: number | null;
  errors: number | null;
  requests_per_second: number | null;
  errors_per_second: number | null;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  queue_p95_ms: number | null;
  compute_p95_ms: number | null;
  batch: BatchView | null;
  lag_ms: number | null;
  exits: number;
  /** Share of one core. */
  cpu: number | null;
  /** Bytes. */
  memory: number | null;
  trouble?: Trouble | null;
}

/** A host of the engine. `nodes` are the names of the graph's nodes on it; of one that does not
 * answer, also of those that were. */
export interface HostView {
  name: string;
  dead: boolean;
  reason: string;
  since: number | null;
  nodes: string[];
}

export interface FlowView {
  source: number;
  target: number;
  kind: FlowKind;
  label: string;
  requests_per_second: number | null;
}

export interface GraphView {
  dag_id: string;
  name: string;
  version: string;
  deployed: boolean;
  /** False where the agent does not answer: then whether it is deployed is not known. */
  reachable?: boolean;
  state: State;
  url: string;
  warnings: string[];
  message: string;
  at: number;
  nodes: NodeView[];
  flows: FlowView[];
  in_graph: number | null;
  errors_per_second: number | null;
  engine?: string;
  /** Empty where the engine has the agent's own host alone. */
  hosts?: HostView[];
  frontend_host?: string;
}

export interface GraphSummary {
  dag_id: string;
  name: string;
  version: string;
  state: State;
  url: string;
  nodes: number;
  nodes_dead: number;
  requests_per_second: number | null;
  errors_per_second: number | null;
  p95_ms: number | null;
  warnings: string[];
  orphaned: boolean;
  engine?: string;
  hosts?: number;
  dead_hosts?: string[];
  /** Why its state is unknown. */
  message?: string;
}

export interface GraphsReply {
  graphs: GraphSummary[];
  agent: { home: string; version: string; pid: number } | null;
  message: string;
}

export interface GraphEvent {
  number: number;
  at: number;
  node: string;
  what: string;
  before: string;
  after: string;
}

export interface Sample {
  requests: number;
  errors: number;
  batches: number;
  queued: number;
  running: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  queue_p95_ms?: number | null;
  compute_p95_ms?: number | null;
  /** How many batches had at most 1, 2, 4 and so on requests; without zeros at the end. */
  sizes?: number[];
}

export interface UsageSeries {
  kind: string;
  role: string;
  /** Cores. */
  cpu: (number | null)[];
  /** Bytes. */
  memory: (number | null)[];
}

export interface Usage {
  times: number[];
  series: UsageSeries[];
}

export interface Histogram {
  bounds_ms?: number[];
  bounds?: number[];
  counts: number[];
}

export interface History {
  step: number;
  end: number;
  samples: Sample[];
  queue: Histogram | null;
  compute: Histogram | null;
  total: Histogram | null;
  batches: Histogram | null;
  usage?: Usage;
}

export interface Position {
  index: number;
  node: string;
  stage: string;
  ms: number;
}

export interface RunningRequest {
  id: number;
  ms: number;
  attempt: number;
  positions: Position[];
}

export interface RequestsReply {
  total: number;
  requests: RunningRequest[];
}

export interface Hop {
  index: number;
  node: string;
  start_ms: number;
  queue_ms: number;
  compute_ms: number;
  leave_ms: number;
  batch: number;
  replica: number;
}

export interface Trace {
  request: number;
  trace_id: string;
  at: number;
  duration_ms: number;
  error: string;
  hops: Hop[];
}

export interface BatchSetting {
  limit?: number;
  wait_ms?: number;
  objective_ms?: number;
  dynamic?: boolean;
  reset?: boolean;
}

export interface BatchChange {
  at: number;
  who: string;
  node: string;
  from: unknown;
  to: unknown;
}

export interface LogReply {
  lines: string[];
  path: string;
}

/** A stretch of text within a line, and what it is coloured as; empty is plain text. */
export interface Piece {
  kind: "" | "key" | "name" | "flow" | "value" | "comment";
  text: string;
}

export interface SourceReply {
  udgl: string;
  /** The lines of `udgl`, coloured by the server; null where it is too long for that. */
  udgl_lines: Piece[][] | null;
  earg: string;
  extras: string;
}

export interface TargetView {
  name: string;
  description: string;
  /** Whether the graph names it in its meta. */
  declared: boolean;
}

export interface Finding {
  code: string;
  severity: "error" | "warning" | "note";
  message: string;
  hint: string;
  /** Of the UDGL text, from 1; 0 where it is about no line. */
  line: number;
}

export interface CompiledView {
  name: string;
  /** Empty where one of the findings is an error. */
  files: { name: string; text: string }[];
  findings: Finding[];
}

export interface SendReply {
  status: number;
  content_type: string;
  body?: string;
  body_base64?: string;
  ms: number;
  traceparent: string;
}
