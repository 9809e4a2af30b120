/** The charts of one node over the last quarter of an hour. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, state } from "lit/decorators.js";
import type { Api } from "./api";
import type { Line, Mark } from "./chart";
import { customElement } from "./element";
import { bytes, count, ms, percent, rate } from "./format";
import { NodeHistory } from "./history";
import { LOOKS } from "./states";
import { shared } from "./styles";
import type { BatchChange, GraphEvent, NodeView, UsageSeries } from "./types";
import "./chart";
import "./heat-map";

const P50 = "var(--accent)";
const P95 = "var(--degraded)";
const P99 = "var(--recovering)";
/** Of the primary's model, its proxy, the backup's model, its proxy. */
const PROCESSES = [P50, P95, P99, "var(--fg-muted)"];

/** `brief` shows latency and throughput alone, as the batching view does. */
@customElement("hogar-node-charts")
export class HogarNodeCharts extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) node!: NodeView;
  @property({ attribute: false }) events: GraphEvent[] = [];
  @property({ type: Boolean }) brief = false;
  /** Counts up when a batch limit was changed here, so that its mark is fetched. */
  @property({ type: Number }) version = 0;
  @state() private changes: BatchChange[] = [];
  private history: NodeHistory | null = null;

  static override styles = [
    shared,
    css`
      .charts { display: grid; gap: 16px; grid-template-columns: 1fr; }
      :host([wide]) .charts { grid-template-columns: repeat(auto-fit, minmax(360px, 1fr)); gap: 20px 28px; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.follow();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.history?.stop();
    this.history = null;
  }

  override willUpdate(changed: PropertyValues): void {
    if (this.history?.index !== this.node.index || changed.has("dag")) this.follow();
    else if (changed.has("version")) void this.loadChanges();
  }

  private follow(): void {
    this.history?.stop();
    const history = new NodeHistory(this.api, this.dag, this.node.index);
    this.history = history;
    history.addEventListener("change", () => this.requestUpdate());
    history.start();
    void this.loadChanges();
  }

  private async loadChanges(): Promise<void> {
    try {
      this.changes = (await this.api.changes(this.dag)).changes;
    } catch {
      this.changes = [];
    }
  }

  private marks(): Mark[] {
    const marks: Mark[] = this.changes
      .filter((change) => change.node === this.node.name)
      .map((change) => ({ at: change.at, text: limitWords(change) }));
    for (const event of this.events) {
      if (event.node === this.node.name && (event.after === "dead" || event.after === "recovering")) {
        marks.push({ at: event.at, text: LOOKS[event.after].word, bad: true });
      }
    }
    return marks;
  }

  override render() {
    const history = this.history;
    if (!history?.loaded) {
      return history?.problem
        ? html`<div class="note warn" role="alert"><span>${history.problem}</span></div>`
        : html`<div role="status" aria-label="The charts are loading" style="display:grid;gap:12px"><div class="bones" style="height:120px"></div><div class="bones" style="height:120px"></div></div>`;
    }
    const { times } = history;
    const marks = this.marks();
    const line = (
      label: string,
      values: (number | null)[],
      color: string,
      more: Partial<Line> = {},
    ): Line => ({ label, values, color, ...more });
    const { usage } = history;
    const used = (figure: "cpu" | "memory") =>
      usage.series.map((one, k) =>
        line(
          processName(one),
          one[figure],
          PROCESSES[k % PROCESSES.length]!,
          one.role === "backup" ? { dash: [5, 4] } : {},
        ),
      );
    return html`${history.problem ? html`<div class="note warn" role="alert" style="margin-bottom:10px"><span>${history.problem}</span></div>` : nothing}
      <div class="charts">
      <hogar-chart heading="Latency" .times=${times} .unit=${ms} .marks=${marks}
        .lines=${[line("p50", history.column("p50_ms"), P50), line("p95", history.column("p95_ms"), P95), line("p99", history.column("p99_ms"), P99)]}></hogar-chart>
      <hogar-chart heading="Throughput" .times=${times} .unit=${rate} .marks=${marks} least="1"
        .lines=${[line("requests/s", history.column("requests"), "var(--ready)", { fill: true }), line("errors/s", history.column("errors"), "var(--dead)")]}></hogar-chart>
      ${
        this.brief
          ? nothing
          : html`<hogar-chart heading="p95 split" .times=${times} .unit=${ms} .marks=${marks}
            .lines=${[line("waits in queue", history.column("queue_p95_ms"), P95), line("computes", history.column("compute_p95_ms"), P50)]}></hogar-chart>
          <hogar-chart heading="Queue" .times=${times} .unit=${count} .marks=${marks} least="4"
            .lines=${[line("queued", history.column("queued"), P95, { fill: true }), line("running", history.column("running"), P50)]}></hogar-chart>
          <hogar-heat-map .times=${[...times]} .samples=${history.samples} limit=${this.node.batch?.limit ?? 1}></hogar-heat-map>
          <hogar-chart heading="CPU, of a core" .times=${usage.times} .unit=${percent} .marks=${marks} none=${NO_USAGE} least="0.1" .lines=${used("cpu")}></hogar-chart>
          <hogar-chart heading="Memory" .times=${usage.times} .unit=${bytes} .marks=${marks} none=${NO_USAGE} least="1000000" .lines=${used("memory")}></hogar-chart>`
      }
    </div>`;
  }
}

const NO_USAGE = "no figures of its processes in this time";

function processName({ kind, role }: UsageSeries): string {
  return role === "primary" ? kind : `${role}'s ${kind}`;
}

/** What a change did, in a few words: for a mark in a chart, and for the list of changes. */
export function limitWords(change: BatchChange): string {
  const from = (change.from ?? {}) as Record<string, unknown>;
  const to = (change.to ?? {}) as Record<string, unknown>;
  const words: string[] = [];
  if (from.limit !== to.limit) words.push(`limit ${from.limit} → ${to.limit}`);
  if (from.dynamic !== to.dynamic) words.push(to.dynamic ? "dynamic" : "static");
  if (from.wait_ms !== to.wait_ms) words.push(`wait ${from.wait_ms} → ${to.wait_ms} ms`);
  if (from.objective_ms !== to.objective_ms)
    words.push(`objective ${from.objective_ms} → ${to.objective_ms} ms`);
  return words.join(", ") || "set again";
}
