/** The requests in flight, and the way of recorded ones. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { clock, count, ms, plural } from "./format";
import { shared } from "./styles";
import type { GraphView, Position, RequestsReply, Trace } from "./types";
import "./waterfall";

const PERIOD = 1000;

@customElement("hogar-requests")
export class HogarRequests extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) view!: GraphView;
  @state() private reply: RequestsReply | null = null;
  @state() private traces: Trace[] | null = null;
  @state() private selected = "";
  @state() private problem = "";
  @state() private held = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private turn = 0;

  static override styles = [
    shared,
    css`
      :host { container-type: inline-size; display: flex; flex-direction: column; min-height: 100%; }
      .both { flex: 1; display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
      section { padding: 12px 14px; min-width: 0; }
      section + section { border-left: 1px solid var(--border); }
      @container (max-width: 900px) {
        .both { grid-template-columns: minmax(0, 1fr); }
        section + section { border-left: 0; border-top: 1px solid var(--border); }
      }
      .head { display: flex; gap: 10px; align-items: center; margin-bottom: 8px; min-height: 32px; }
      td:first-child { white-space: nowrap; }
      .where { display: flex; gap: 4px 8px; flex-wrap: wrap; }
      .at { border: 1px solid var(--border); border-radius: 6px; padding: 1px 7px; font-size: 12px; min-height: 24px; }
      .pick { border: 0; background: none; padding: 0; min-height: 22px; font-weight: 500; }
      tr.on td { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
      .traces { max-height: max(236px, 38vh); overflow: auto; border: 1px solid var(--border); border-radius: 6px; margin-bottom: 14px; }
      .traces tr { cursor: pointer; }
      .length { width: 34%; }
      .length i { display: block; height: 8px; background: var(--accent); border-radius: 2px; min-width: 2px; }
      .length i.bad { background: var(--dead); }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.updateComplete.then(() => this.load());
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  private async load(): Promise<void> {
    clearTimeout(this.timer);
    if (!this.isConnected) return;
    if (!document.hidden && !this.held && this.view.deployed) {
      try {
        this.reply = await this.api.requests(this.dag);
        if (this.turn++ % 4 === 0 || !this.traces) this.keep((await this.api.traces(this.dag)).traces);
        this.problem = "";
      } catch (error) {
        this.problem = sentence(error);
      }
    }
    if (this.isConnected) this.timer = setTimeout(() => void this.load(), PERIOD);
  }

  /** The one that somebody reads stays, though newer ones have pushed it out. */
  private keep(traces: Trace[]): void {
    const read = this.traces?.find((trace) => trace.trace_id === this.selected);
    this.traces =
      read && !traces.some((trace) => trace.trace_id === read.trace_id) ? [...traces, read] : traces;
  }

  override render() {
    if (!this.view.deployed)
      return html`<div class="empty"><h2>No requests</h2><p>The graph is not deployed.</p></div>`;
    return html`${this.problem ? html`<div class="note warn" role="alert" style="margin:10px 14px 0"><span>${this.problem}</span></div>` : nothing}
      <div class="both"><section aria-label="In flight">${this.flight()}</section><section aria-label="Recorded">${this.recorded()}</section></div>`;
  }

  private flight() {
    const { reply } = this;
    return html`<div class="head"><h2>In flight</h2><span class="muted small num">${reply ? (reply.total > reply.requests.length ? `${count(reply.total)}, the ${reply.requests.length} oldest are shown` : plural(reply.total, "request")) : ""}</span>
        <span class="grow"></span><button aria-pressed=${this.held} @click=${() => {
          this.held = !this.held;
        }}>${this.held ? "Go on" : "Hold"}</button></div>
      ${
        !reply
          ? this.problem
            ? nothing
            : html`<div class="bones"></div>`
          : reply.requests.length
            ? html`<div class="scroll"><table><thead><tr><th scope="col">Request</th><th scope="col" class="right">For</th><th scope="col">Where it is now</th></tr></thead>
              <tbody>${repeat(
                reply.requests,
                (r) => r.id,
                (r) =>
                  html`<tr><td class="num">${r.id}${r.attempt > 1 ? html` <span class="muted small">attempt ${r.attempt}</span>` : nothing}</td><td class="right">${ms(r.ms)}</td><td><div class="where">${r.positions.length ? r.positions.map((p) => this.position(p)) : html`<span class="muted small">between nodes</span>`}</div></td></tr>`,
              )}</tbody></table></div>`
            : html`<div class="empty"><p>No request is in the graph at this moment.</p></div>`
      }`;
  }

  private position(position: Position) {
    return html`<button class="at" title="Open ${position.node}" @click=${() => this.dispatchEvent(new CustomEvent("pick", { detail: position.index }))}>${position.node} <span class="muted">${position.stage} ${ms(position.ms)}</span></button>`;
  }

  private recorded() {
    const traces = this.traces ?? [];
    const open = traces.find((trace) => trace.trace_id === this.selected) ?? traces[0];
    const longest = Math.max(...traces.map((trace) => trace.duration_ms), 0.001);
    return html`<div class="head"><h2>Recorded</h2><span class="muted small">one request a second is followed</span></div>
      ${
        !this.traces
          ? this.problem
            ? nothing
            : html`<div class="bones"></div>`
          : !open
            ? html`<div class="empty"><p>No request has been recorded yet. Send one, and its way is shown here.</p></div>`
            : html`<div class="traces" tabindex="0" role="region" aria-label="Recorded requests"><table><thead><tr><th scope="col">At</th><th scope="col">Request</th><th scope="col" class="right">Time</th><th scope="col" class="length"><span class="sr">Time as a bar</span></th></tr></thead>
              <tbody>${repeat(
                traces,
                (t) => t.trace_id,
                (t) =>
                  html`<tr class=${t === open ? "on" : ""} @click=${() => {
                    this.selected = t.trace_id;
                  }}><td class="num">${clock(t.at)}</td><td><button class="pick" aria-pressed=${t === open}>${t.request}${t.error ? html` <span style="color:var(--dead)">failed</span>` : nothing}</button></td><td class="right">${ms(t.duration_ms)}</td><td class="length"><i class=${t.error ? "bad" : ""} style="width:${(100 * t.duration_ms) / longest}%"></i></td></tr>`,
              )}</tbody></table></div>
            <hogar-waterfall .trace=${open}></hogar-waterfall>`
      }`;
  }
}
