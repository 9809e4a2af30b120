/** One recorded request: how long it waited and computed at each node. */

import { css, html, LitElement, nothing } from "lit";
import { property } from "lit/decorators.js";
import { customElement } from "./element";
import { moment, ms } from "./format";
import { shared } from "./styles";
import type { Hop, Trace } from "./types";

@customElement("hogar-waterfall")
export class HogarWaterfall extends LitElement {
  @property({ attribute: false }) trace!: Trace;

  static override styles = [
    shared,
    css`
      .hop { display: grid; grid-template-columns: 150px 1fr; gap: 10px; align-items: center; padding: 4px 0; font-size: 13px; border-top: 1px solid var(--border); }
      .track { position: relative; height: 22px; }
      .track i { position: absolute; top: 4px; height: 14px; min-width: 1.5px; }
      .queue { background: repeating-linear-gradient(135deg, var(--degraded) 0 3px, transparent 3px 6px); border: 1px solid var(--degraded); }
      .compute { background: var(--accent); }
      .leave { background: var(--border-strong); }
      .label { position: absolute; top: 2px; font-size: 11px; color: var(--fg-muted); white-space: nowrap; font-variant-numeric: tabular-nums; padding: 0 5px; }
      .label.inside { color: var(--bg); font-weight: 600; top: 3px; }
      .scale { display: flex; justify-content: space-between; margin-left: 160px; font-size: 11px; color: var(--fg-muted); padding-bottom: 3px; }
      .key { display: flex; gap: 14px; font-size: 12px; color: var(--fg-muted); margin-top: 8px; flex-wrap: wrap; }
      .key i { display: inline-block; width: 18px; height: 10px; margin-right: 5px; }
    `,
  ];

  override render() {
    const { trace } = this;
    const whole = Math.max(
      trace.duration_ms,
      ...trace.hops.map((hop) => hop.start_ms + hop.queue_ms + hop.compute_ms + hop.leave_ms),
      0.001,
    );
    return html`
      <p class="small muted" style="margin-bottom:10px">Request ${trace.request}, ${moment(trace.at)}, <b>${ms(trace.duration_ms)}</b> · trace <span class="mono">${trace.trace_id}</span></p>
      ${trace.error ? html`<div class="note bad" style="margin-bottom:10px"><span>${trace.error}</span></div>` : nothing}
      ${trace.hops.length ? this.hops(whole) : html`<p class="small muted">No node has told of it: it waited in a queue all the time, or was refused before it came to one.</p>`}`;
  }

  private hops(whole: number) {
    const { trace } = this;
    return html`<div class="scale" aria-hidden="true">${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<span>${ms(whole * part)}</span>`)}</div>
      <ol>${[...trace.hops].sort((a, b) => a.start_ms - b.start_ms).map((hop) => this.hop(hop, whole))}</ol>
      <div class="key"><span><i class="queue"></i>waits for the model</span><span><i class="compute"></i>computes</span><span><i class="leave"></i>is handed on</span></div>`;
  }

  private hop(hop: Hop, whole: number) {
    const at = (value: number) => `${(100 * value) / whole}%`;
    const computes = hop.start_ms + hop.queue_ms;
    const leaves = computes + hop.compute_ms;
    const end = leaves + hop.leave_ms;
    // Beside the bar where there is room, on it where it leaves none.
    const inside = end / whole > 0.62 && hop.start_ms / whole < 0.5;
    const beside = inside
      ? `left:${at(computes)}`
      : end / whole > 0.62
        ? `right:${100 - (100 * hop.start_ms) / whole}%`
        : `left:${at(end)}`;
    return html`<li class="hop"><span class="cut" title=${hop.node}>${hop.node}</span>
      <div class="track" role="img" aria-label="waits ${ms(hop.queue_ms)}, computes ${ms(hop.compute_ms)} in a batch of ${hop.batch}">
        <i class="queue" style="left:${at(hop.start_ms)};width:${at(hop.queue_ms)}"></i>
        <i class="compute" style="left:${at(computes)};width:${at(hop.compute_ms)}"></i>
        <i class="leave" style="left:${at(leaves)};width:${at(hop.leave_ms)}"></i>
        <span class="label ${inside ? "inside" : ""}" style=${beside}>${ms(hop.queue_ms)} + ${ms(hop.compute_ms)}, batch of ${hop.batch}${hop.replica ? `, replica ${hop.replica}` : ""}</span>
      </div></li>`;
  }
}
