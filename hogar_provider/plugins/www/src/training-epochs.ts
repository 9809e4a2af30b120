/** The epochs of one training in figures, and who changed its batch size. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { customElement } from "./element";
import { bytes, moment, ms, plural } from "./format";
import { shared } from "./styles";
import { batchOf, cores, number } from "./training-figures";
import type { Epoch, TrainingBatchChange, TrainingRun } from "./training-types";

/** Epochs that are listed before somebody asks for all. */
const FEW = 100;

/** In words: for the list of changes, and for a mark in a chart. */
export function changeWords(change: TrainingBatchChange): string {
  return change.to === null ? "back to the schedule" : `${change.from} → ${change.to}`;
}

@customElement("hogar-training-epochs")
export class HogarTrainingEpochs extends LitElement {
  @property({ attribute: false }) run!: TrainingRun;
  @property({ attribute: false }) metrics: readonly string[] = [];
  @state() private all = false;

  static override styles = [
    shared,
    css`
      section { padding: 4px 14px 14px; }
      h3 { margin: 10px 0 4px; }
      .set { font-weight: 600; }
      .tag { font-size: 11px; font-weight: 600; margin-left: 6px; color: var(--fg-muted); }
      .tag.best { color: var(--ready); }
      .tag.resumed { color: var(--degraded); }
      tr.now td { background: color-mix(in srgb, var(--accent) 7%, var(--bg)); }
      .more { padding: 8px 0; }
    `,
  ];

  override render() {
    const { run } = this;
    const newest = [...run.epochs].reverse();
    const shown = this.all ? newest : newest.slice(0, FEW);
    const runs = run.state === "training" && run.epoch !== null && run.epoch > (run.last_epoch ?? 0);
    return html`<section aria-label="Epochs"><h3>Epochs</h3>
      ${
        newest.length || runs
          ? html`<div class="scroll" role="region" aria-label="Figures of each epoch" tabindex="0"><table>
            <thead><tr><th scope="col">Epoch</th>${this.metrics.map((name) => html`<th scope="col" class="right">${name}</th>`)}<th scope="col" class="right">Batch</th><th scope="col">Set by</th><th scope="col" class="right">Samples/s</th><th scope="col" class="right">Duration</th><th scope="col" class="right">CPU</th><th scope="col" class="right">Memory</th></tr></thead>
            <tbody>${runs ? this.running(run.epoch!) : nothing}${repeat(
              shown,
              (one) => one.epoch,
              (one) => this.line(one),
            )}</tbody></table></div>
            ${shown.length < newest.length ? html`<div class="more"><button @click=${() => (this.all = true)}>Show all ${plural(newest.length, "epoch")}</button></div>` : nothing}`
          : html`<p class="small muted">No epoch has ended yet.</p>`
      }</section>
      <section aria-label="Changes"><h3>Who changed the batch size</h3>
      ${
        run.changes.length
          ? html`<table><thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">Change</th><th scope="col">Epochs</th><th scope="col">Took effect</th></tr></thead>
            <tbody>${[...run.changes].reverse().map(
              (change) =>
                html`<tr><td class="num">${moment(change.at)}</td><td class="set">${change.who}</td><td class="num">${changeWords(change)}</td>
                <td>${change.only ? `${change.from_epoch} only` : `from ${change.from_epoch} on`}</td><td>${change.effective_epoch ? `in epoch ${change.effective_epoch}` : run.next_batch ? html`<span class="muted">not yet</span>` : html`<span class="muted">never: it was over before</span>`}</td></tr>`,
            )}</tbody></table>`
          : html`<p class="small muted">Nobody has changed it in this run.</p>`
      }</section>`;
  }

  private running(epoch: number) {
    const { batch, set_by } = batchOf(this.run, epoch);
    return html`<tr class="now"><td class="num"><b>${epoch}</b><span class="tag">runs</span></td>${this.metrics.map(() => html`<td class="right muted">–</td>`)}
      <td class="right">${batch}</td><td>${this.who(set_by)}</td><td class="right muted" colspan="4">figures come when it ends</td></tr>`;
  }

  private line(one: Epoch) {
    const { run } = this;
    const resumed = run.resumed.find((r) => r.epoch === one.epoch - 1);
    return html`<tr><td class="num"><b>${one.epoch}</b>${run.best_epoch === one.epoch ? html`<span class="tag best">best</span>` : nothing}${resumed ? html`<span class="tag resumed" title="The training went on here, in try ${resumed.try_number} of its task">resumed</span>` : nothing}</td>
      ${this.metrics.map((name) => html`<td class="right">${name in one.metrics ? (one.metrics[name] === null ? html`<span title="The function reported no finite number">NaN</span>` : number(one.metrics[name])) : "–"}</td>`)}
      <td class="right">${one.batch}</td><td>${this.who(one.batch_set_by)}</td><td class="right">${one.samples_per_s === null ? "–" : Math.round(one.samples_per_s)}</td><td class="right">${ms(one.duration_s * 1000)}</td><td class="right">${cores(one.cpu_cores)}</td><td class="right">${bytes(one.memory_bytes)}</td></tr>`;
  }

  private who(set_by: string) {
    return set_by === "schedule"
      ? html`<span class="muted">schedule</span>`
      : html`<span class="set">${set_by}</span>`;
  }
}
