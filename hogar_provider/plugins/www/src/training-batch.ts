/** The batch size of the epochs to come of one training, to be changed while it runs. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, state } from "lit/decorators.js";
import { type Api, ApiError, sentence } from "./api";
import { customElement } from "./element";
import { shared } from "./styles";
import { batchOf, scheduleWords } from "./training-figures";
import type { TrainingBatchChange, TrainingBatchSetting, TrainingRun } from "./training-types";

const LARGEST = 2 ** 31 - 1;

@customElement("hogar-training-batch")
export class HogarTrainingBatch extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property() operator = "";
  @property({ attribute: false }) run!: TrainingRun;
  @state() private batch = 1;
  /** 0: the next one, whichever that is. */
  @state() private from = 0;
  @state() private only = false;
  @state() private touched = false;
  @state() private working = false;
  @state() private made: TrainingBatchChange | null = null;
  @state() private refused = "";
  /** Why this user cannot change it. */
  @state() private locked = "";
  private waited: TrainingRun["next_batch"] = null;

  static override styles = [
    shared,
    css`
      :host { display: grid; gap: 8px; }
      form { display: grid; gap: 10px; }
      .field { display: grid; grid-template-columns: 80px minmax(0, 1fr); gap: 8px; align-items: center; }
      input[type="number"] { width: 84px; }
      .choice { display: inline-flex; justify-self: start; border: 1px solid var(--border-strong); border-radius: 6px; overflow: hidden; }
      .choice label { padding: 5px 12px; cursor: pointer; position: relative; }
      .choice label + label { border-left: 1px solid var(--border-strong); }
      .choice input { position: absolute; opacity: 0; }
      .choice label:has(:checked) { background: var(--bg-muted); font-weight: 600; box-shadow: inset 0 -2px 0 var(--accent); }
      .choice label:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: -2px; }
      .now { font-size: 13px; font-variant-numeric: tabular-nums; }
      button.factor { padding: 4px 8px; }
    `,
  ];

  override willUpdate(changed: PropertyValues): void {
    if (changed.has("dag") || changed.has("operator")) this.locked = "";
    if (!changed.has("run")) return;
    const before = changed.get("run") as TrainingRun | undefined;
    if (before?.run_id !== this.run.run_id) {
      this.touched = false;
      this.from = 0;
      this.only = false;
      this.made = null;
      this.refused = "";
    }
    const next = this.run.next_batch;
    if (next && !this.touched && !this.working && next.batch !== this.waited?.batch) this.batch = next.batch;
    this.waited = next;
  }

  private get target(): number {
    return this.from || this.run.next_batch?.epoch || 1;
  }

  private get wrong(): string {
    const next = this.run.next_batch;
    if (!next) return "";
    if (!Number.isInteger(this.batch) || this.batch < 1 || this.batch > LARGEST)
      return "The batch size has to be a whole number, at least 1.";
    if (this.from && (!Number.isInteger(this.from) || this.from > this.run.epochs_planned))
      return `The last epoch is ${this.run.epochs_planned}.`;
    if (this.from && this.from < next.epoch)
      return `Epoch ${this.from} has begun already; the next is ${next.epoch}.`;
    return "";
  }

  private edit(part: { batch?: number; from?: number; only?: boolean }): void {
    if (part.batch !== undefined) this.batch = part.batch;
    if (part.from !== undefined) this.from = part.from;
    if (part.only !== undefined) this.only = part.only;
    this.touched = true;
    this.made = null;
    this.refused = "";
  }

  private async put(setting: TrainingBatchSetting): Promise<void> {
    this.working = true;
    this.made = null;
    this.refused = "";
    try {
      this.made = await this.api.setTrainingBatch(this.dag, this.operator, {
        ...setting,
        run_id: this.run.run_id,
      });
      this.touched = false;
      this.from = 0;
      this.waited = null;
      this.dispatchEvent(new CustomEvent("changed"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 403) this.locked = sentence(error);
      else this.refused = sentence(error);
    } finally {
      this.working = false;
    }
  }

  private apply = (event: Event): void => {
    event.preventDefault();
    if (this.wrong || !this.touched || this.working || this.locked) return;
    const setting: TrainingBatchSetting = { batch: this.batch };
    if (this.from) setting.from_epoch = this.from;
    if (this.only) setting.only = true;
    void this.put(setting);
  };

  /** What applying it does, said before. */
  private preview(): string {
    const { run, target, only, batch } = this;
    const was = batchOf(run, target).batch;
    const which = reach(target, run.epochs_planned, only);
    const plural = !only && target < run.epochs_planned;
    const rest =
      only && target < run.epochs_planned ? ` Epoch ${target + 1} and those after it stay as they are.` : "";
    const now =
      run.state === "training" && run.epoch && run.epoch < target
        ? ` Epoch ${run.epoch}, which runs now, keeps ${batchOf(run, run.epoch).batch}.`
        : "";
    return `${which} will train with ${batch}${plural ? `; as things stand, epoch ${target} would have ${was}` : ` instead of ${was}`}.${rest}${now}`;
  }

  /** What the change that was made here does, or did. */
  private confirmation(): string {
    const made = this.made!;
    const kept = this.run.changes.find((one) => one.id === made.id) ?? made;
    const which = reach(made.from_epoch, this.run.epochs_planned, made.only);
    const what =
      made.to === null
        ? `${which} will follow the schedule again`
        : `${which} will train with ${made.to} instead of ${made.from}`;
    return kept.effective_epoch === null
      ? `Set. ${what}: it takes effect when epoch ${made.from_epoch} begins.`
      : `It took effect in epoch ${kept.effective_epoch}.`;
  }

  override render() {
    const { run } = this;
    const next = run.next_batch;
    const said = html`${this.refused ? html`<div class="note bad" role="alert">${this.refused}</div>` : nothing}
      <div role="status">${this.made ? html`<div class="note good">${this.confirmation()}</div>` : nothing}</div>`;
    if (!next) return html`<p class="small muted">${this.over()}</p>${said}`;
    const value = (event: Event) => (event.target as HTMLInputElement).valueAsNumber;
    const off = this.working || !!this.locked;
    const { wrong } = this;
    const asks = this.touched && !wrong && !this.locked;
    const overridden = run.changes.some((change) => change.to !== null);
    const times = (factor: number) =>
      this.edit({ batch: Math.min(LARGEST, Math.max(1, Math.round(this.batch * factor) || 1)) });
    return html`<form @submit=${this.apply} novalidate aria-label="Batch size of ${this.operator}">
      <p class="now">Epoch <b>${next.epoch}</b> will train with <b>${next.batch}</b>, set by ${next.set_by === "schedule" ? "the schedule" : next.set_by}.</p>
      <div class="field">
        <label for="batch">Batch size</label>
        <span class="row"><input id="batch" type="number" min="1" max=${LARGEST} step="1" inputmode="numeric" ?disabled=${off} .value=${String(this.batch)} @input=${(e: Event) => this.edit({ batch: value(e) })} />
          <button type="button" class="factor" aria-label="Half the batch size" ?disabled=${off} @click=${() => times(0.5)}>Half</button>
          <button type="button" class="factor" aria-label="Double the batch size" ?disabled=${off} @click=${() => times(2)}>Double</button></span>
        <label for="from">From epoch</label>
        <span class="row"><input id="from" type="number" min=${next.epoch} max=${run.epochs_planned} step="1" inputmode="numeric" placeholder=${next.epoch} ?disabled=${off} .value=${this.from ? String(this.from) : ""} @input=${(e: Event) => this.edit({ from: value(e) || 0 })} />
          <span class="small muted">${this.from ? `of ${run.epochs_planned}` : "empty: the next"}</span></span>
        <span id="which" class="small">In</span>
        <span class="choice" role="radiogroup" aria-labelledby="which">
          <label><input type="radio" name="which" ?disabled=${off} .checked=${!this.only} @change=${() => this.edit({ only: false })} />the rest</label>
          <label><input type="radio" name="which" ?disabled=${off} .checked=${this.only} @change=${() => this.edit({ only: true })} />that epoch only</label>
        </span>
      </div>
      ${asks ? html`<p class="note" id="effect"><span>${this.preview()}</span></p>` : nothing}
      <div class="row wrap">
        <button class="primary" aria-describedby=${asks ? "effect" : nothing} ?disabled=${off || !this.touched || !!wrong}>${this.working ? "Setting…" : "Apply"}</button>
        <button type="button" ?disabled=${off || (!overridden && !this.touched)} @click=${() => (overridden ? void this.put({ reset: true }) : this.forget())}>Back to the schedule</button>
      </div>
      <p class="small muted">Schedule: ${scheduleWords(run.schedule)}. A change is of this run, holds from the next epoch on at the earliest, and is in Airflow's audit log.</p>
      ${wrong ? html`<div class="note bad" role="alert">${wrong}</div>` : nothing}
      ${this.locked ? html`<div class="note warn" role="alert">${this.locked}</div>` : nothing}
    </form>${said}`;
  }

  /** Back to what was there before it was edited: no change was made that could be taken back. */
  private forget(): void {
    this.touched = false;
    this.only = false;
    this.from = 0;
    this.batch = this.run.next_batch?.batch ?? this.batch;
  }

  private over(): string {
    if (this.run.state === "training") return "The last epoch runs: no batch size is left to be changed.";
    if (this.run.state === "unchanged")
      return "This run was skipped and trains nothing, so it has no batch size that could be changed.";
    return `This training is over. The next run begins with the file's schedule, ${scheduleWords(this.run.schedule)}, and its batch size can be changed here while it trains.`;
  }
}

function reach(epoch: number, last: number, only: boolean): string {
  if (epoch >= last) return `Epoch ${epoch}, the last,`;
  return only ? `Epoch ${epoch} alone` : `Epochs ${epoch} to ${last}`;
}
