/** How every node batches, and the means to change it. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Api } from "./api";
import { declaredWords } from "./batch-editor";
import { customElement } from "./element";
import { decimal, moment, ms, percent, rate } from "./format";
import { limitWords } from "./node-charts";
import { BULB, glyph, look } from "./states";
import { shared } from "./styles";
import type { BatchChange, GraphView, NodeView } from "./types";
import "./batch-editor";
import "./node-charts";

const PERIOD = 10_000;

@customElement("hogar-batching")
export class HogarBatching extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) view!: GraphView;
  @state() private selected = 0;
  @state() private search = "";
  @state() private changes: BatchChange[] = [];
  @state() private version = 0;
  private timer: ReturnType<typeof setInterval> | undefined;

  static override styles = [
    shared,
    css`
      :host { container-type: inline-size; display: flex; flex-direction: column; min-height: 100%; }
      .both { flex: 1; display: grid; grid-template: "nodes side" auto "changes side" 1fr / minmax(0, 1fr) 420px; align-items: start; }
      .side { grid-area: side; align-self: stretch; border-left: 1px solid var(--border); padding: 12px 14px 24px; display: grid; grid-template-columns: minmax(0, 1fr); align-content: start; gap: 16px; }
      .side h2 { overflow-wrap: anywhere; }
      .side h2 span { min-width: 0; }
      /* What the editor beside it says as well is not said twice where there is little room. */
      @container (max-width: 980px) {
        .both { grid-template-columns: minmax(0, 1fr) 340px; }
        .more { display: none; }
        td.hinted { max-width: 0; }
      }
      @container (max-width: 780px) {
        .both { grid-template: "nodes" "side" "changes" / minmax(0, 1fr); }
        .side { border-left: 0; border-top: 1px solid var(--border); }
      }
      .tools { padding: 8px 14px; border-bottom: 1px solid var(--border); }
      tr.on td { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
      tbody tr { cursor: pointer; }
      tbody tr:hover td { background: var(--bg-subtle); }
      tbody tr.on:hover td { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
      .pick { border: 0; background: none; padding: 0; min-height: 24px; font-weight: 600; gap: 7px; max-width: 100%; }
      .pick .cut { max-width: 22ch; }
      .fill { display: flex; align-items: center; gap: 8px; justify-content: flex-end; white-space: nowrap; }
      .bar { width: 72px; height: 6px; border-radius: 3px; background: var(--bg-muted); overflow: hidden; }
      .bar i { display: block; height: 100%; background: var(--accent); }
      .hint { display: flex; gap: 6px; align-items: center; color: var(--fg-muted); font-size: 12px; padding: 0 10px 8px 33px; }
      tr.has td { border-bottom: 0; padding-bottom: 3px; }
      tr.hints td { padding: 0; }
      .off { color: var(--fg-muted); }
      .changes { grid-area: changes; padding: 14px; border-top: 1px solid var(--border); }
      .changes h3 { margin-bottom: 6px; }
      .set { font-weight: 600; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.timer = setInterval(() => void this.load(), PERIOD);
    void this.updateComplete.then(() => this.load());
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  private async load(): Promise<void> {
    if (document.hidden) return;
    try {
      this.changes = (await this.api.changes(this.dag)).changes;
    } catch {
      // The list stays as it was; the graph's own state is said above it.
    }
  }

  override render() {
    const wanted = this.search.trim().toLowerCase();
    const nodes = this.view.nodes.filter((node) => !wanted || node.name.toLowerCase().includes(wanted));
    const open = this.view.nodes.find((node) => node.index === this.selected) ?? this.view.nodes[0];
    if (!open) return html`<div class="empty"><h2>No nodes</h2><p>Nothing batches yet.</p></div>`;
    return html`
      ${
        this.view.nodes.length > 12
          ? html`<div class="tools"><input type="search" placeholder="Find a node" aria-label="Find a node" @input=${(
              e: Event,
            ) => {
              this.search = (e.target as HTMLInputElement).value;
            }} /></div>`
          : nothing
      }
      <div class="both">
        <div class="scroll"><table>
            <thead><tr><th scope="col">Node</th><th scope="col">Limit</th><th scope="col" class="more">Kind</th><th scope="col" class="right more">Wait</th><th scope="col" class="right more">Objective</th><th scope="col" class="right">Mean batch, fill</th><th scope="col" class="right">Req/s</th><th scope="col" class="right">p95</th><th scope="col" class="more">Set by</th></tr></thead>
            <tbody>${repeat(
              nodes,
              (node) => node.index,
              (node) => this.line(node, node === open),
            )}</tbody>
        </table></div>
        <section class="side" aria-label="Batching of ${open.name}">
          <h2 class="row">${glyph(open.state)}<span>${open.name}</span></h2>
          <hogar-batch-editor .api=${this.api} .dag=${this.dag} .node=${open} @changed=${() => {
            this.version++;
            void this.load();
          }}></hogar-batch-editor>
          ${open.state === "undeployed" ? nothing : html`<hogar-node-charts brief .api=${this.api} .dag=${this.dag} .node=${open} .version=${this.version}></hogar-node-charts>`}
        </section>
        ${this.history()}
      </div>`;
  }

  private line(node: NodeView, on: boolean) {
    const { batch } = node;
    const pick = () => {
      this.selected = node.index;
    };
    const declared = node.declared ? Math.max(1, Math.abs(node.declared.batch)) : null;
    const row = html`<tr class="${on ? "on" : ""} ${batch?.hint ? "has" : ""}" @click=${pick}>
      <td><button class="pick" aria-pressed=${on} aria-label="${node.name}, ${look(node.state).word}: show how it batches">${glyph(node.state, 15)}<span class="cut" title=${node.name}>${node.name}</span></button></td>
      ${
        batch
          ? html`<td class="num"><b>${batch.limit}</b>${batch.dynamic ? html` <span class="muted small">of ${batch.most}</span>` : nothing}${declared !== null && !batch.dynamic && declared !== batch.limit ? html` <span class="muted small">declared ${declared}</span>` : nothing}</td>
          <td class="more">${batch.dynamic ? "dynamic" : "static"}</td>
          <td class="right more">${batch.wait_ms ? ms(batch.wait_ms) : html`<span class="off">none</span>`}</td>
          <td class="right more">${batch.dynamic ? (batch.objective_ms ? ms(batch.objective_ms) : "usual") : html`<span class="off">–</span>`}</td>
          <td class="right"><span class="fill">${decimal(batch.mean)}<span class="bar"><i style="width:${Math.round(100 * Math.min(1, batch.fill ?? 0))}%"></i></span>${percent(batch.fill)}</span></td>
          <td class="right">${rate(node.requests_per_second)}</td><td class="right">${ms(node.p95_ms)}</td>
          <td class="more">${batch.set_by && batch.set_by !== "config" ? html`<span class="set">${batch.set_by}</span>` : html`<span class="off">declared</span>`}</td>`
          : html`<td colspan="8" class="off">${node.declared ? `declared: ${declaredWords(node.declared.batch)}` : "nothing is known while it does not run"}</td>`
      }
    </tr>`;
    if (!batch?.hint) return row;
    return html`${row}<tr class="hints ${on ? "on" : ""}" @click=${pick}><td colspan="9" class="hinted"><div class="hint">${BULB} ${batch.hint}</div></td></tr>`;
  }

  private history() {
    return html`<section class="changes" aria-label="Changes"><h3>Who changed what</h3>
      ${
        this.changes.length
          ? html`<table><thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">Node</th><th scope="col">Change</th></tr></thead>
            <tbody>${this.changes.slice(0, 50).map((change) => html`<tr style="cursor:default"><td class="num">${moment(change.at)}</td><td>${change.who}</td><td>${change.node}</td><td>${limitWords(change)}</td></tr>`)}</tbody></table>`
          : html`<p class="muted small">Nobody has changed a batch limit here. A change counts from the node's next batch on, outlives its processes, and is written to Airflow's audit log.</p>`
      }
    </section>`;
  }
}
