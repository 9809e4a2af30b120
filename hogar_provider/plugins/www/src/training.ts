/** The trainings of a graph, or of one operator: curves by epoch, runs beside each other, control. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Api } from "./api";
import { customElement } from "./element";
import type { EpochLine, EpochMark, Values } from "./epoch-chart";
import { moment, plural, span } from "./format";
import { glyph } from "./states";
import { shared } from "./styles";
import { changeWords } from "./training-epochs";
import { batchOf, type Figure, figures, RUN_LOOKS, runWords, scheduleWords, story } from "./training-figures";
import { TrainingFollower } from "./training-follower";
import type { TrainingChoice } from "./training-route";
import { MOST_COMPARED, STYLES } from "./training-runs";
import type { TrainedOperator, TrainingRun } from "./training-types";
import "./epoch-chart";
import "./training-batch";
import "./training-epochs";
import "./training-runs";

const RUNS = 12;
const MOST_RUNS = 50;
/** Figures that are drawn before somebody has chosen. */
const DRAWN = 4;

/** Tells by a `choose` event what is to be shown; the owner keeps it in the address. */
@customElement("hogar-training")
export class HogarTraining extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  /** The operator whose training alone is shown, as on its task's page. */
  @property() only = "";
  /** The run whose page this is. */
  @property() run = "";
  @property({ attribute: false }) choice: TrainingChoice = {};
  /** Unix seconds. */
  @property({ type: Number }) now = 0;
  @state() private announcement = "";
  private follower: TrainingFollower | null = null;
  private spoken = new Map<string, string>();

  static override styles = [
    shared,
    css`
      :host { container-type: inline-size; }
      .operators { display: flex; gap: 8px; flex-wrap: wrap; padding: 10px 14px; border-bottom: 1px solid var(--border); }
      .operators button[aria-pressed="true"] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); font-weight: 600; }
      .both { display: grid; grid-template: "curves side" auto "epochs side" 1fr / minmax(0, 1fr) 390px; }
      .curves { grid-area: curves; min-width: 0; }
      .epochs { grid-area: epochs; min-width: 0; }
      .side { grid-area: side; border-left: 1px solid var(--border); padding: 12px 14px 24px; display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px 24px; align-content: start; }
      .side section { display: grid; gap: 8px; align-content: start; min-width: 0; }
      @container (max-width: 1100px) {
        .both { grid-template: "curves side" auto "epochs epochs" auto / minmax(0, 1fr) 336px; }
        .epochs { border-top: 1px solid var(--border); }
      }
      @container (max-width: 800px) {
        .both { grid-template: "curves" auto "side" auto "epochs" auto / minmax(0, 1fr); }
        .side { border-left: 0; border-top: 1px solid var(--border); grid-template-columns: repeat(auto-fit, minmax(min(380px, 100%), 1fr)); }
      }
      .about { padding: 12px 14px; display: grid; gap: 8px; border-bottom: 1px solid var(--border); }
      .about h2 { display: inline-flex; gap: 8px; align-items: baseline; }
      .facts { display: flex; flex-wrap: wrap; gap: 6px 22px; }
      .facts dt { font-size: 11px; color: var(--fg-muted); }
      .facts dd { font-size: 13px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
      .progress { height: 6px; border-radius: 3px; background: var(--bg-muted); overflow: hidden; }
      .progress i { display: block; height: 100%; background: var(--accent); }
      .chooser { display: flex; gap: 4px 14px; flex-wrap: wrap; padding: 8px 14px 0; border: 0; margin: 0; min-width: 0; }
      .chooser legend { float: left; padding: 0; font-size: 12px; color: var(--fg-muted); }
      .chooser label { display: inline-flex; gap: 5px; align-items: center; min-height: 24px; cursor: pointer; }
      .charts { display: grid; gap: 16px 24px; align-items: end; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); padding: 8px 14px 4px; }
      .notes { display: grid; gap: 6px; padding: 8px 14px 0; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.follow();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.follower?.stop();
    this.follower = null;
  }

  override willUpdate(changed: PropertyValues): void {
    const { follower } = this;
    if (changed.has("dag")) this.spoken.clear();
    if (
      !follower ||
      changed.has("dag") ||
      follower.operator !== this.only ||
      // One that is not among the newest is asked for with all that there are.
      (follower.runs < MOST_RUNS && (this.choice.run || this.run) && follower.loaded && !this.found())
    )
      this.follow();
  }

  private follow(): void {
    this.follower?.stop();
    const wider = this.follower?.dag === this.dag && this.follower.loaded;
    const follower = new TrainingFollower(
      this.api,
      this.dag,
      this.only,
      wider || this.run ? MOST_RUNS : RUNS,
    );
    follower.addEventListener("change", () => {
      this.announce(follower.operators);
      this.requestUpdate();
    });
    this.follower = follower;
    follower.start();
  }

  /** Tells a screen reader how trainings begin and end; epochs go by without a word. */
  private announce(operators: readonly TrainedOperator[]): void {
    const news: string[] = [];
    for (const operator of operators) {
      const run = operator.runs[0];
      if (!run) continue;
      const key = `${run.run_id} ${run.state}`;
      const before = this.spoken.get(operator.operator);
      if (before !== undefined && before !== key)
        news.push(`${operator.operator}: ${RUN_LOOKS[run.state].word}. ${story(operator, run)}`);
      this.spoken.set(operator.operator, key);
    }
    if (news.length) this.announcement = news.join(" ");
  }

  private found(): TrainingRun | undefined {
    const wanted = this.choice.run || this.run;
    return this.opened()?.runs.find((run) => run.run_id === wanted);
  }

  private opened(): TrainedOperator | undefined {
    const all = this.follower?.operators ?? [];
    return (
      all.find((one) => one.operator === (this.only || this.choice.operator)) ??
      all.find((one) => one.runs[0]?.state === "training") ??
      all[0]
    );
  }

  private choose(part: TrainingChoice): void {
    this.dispatchEvent(new CustomEvent("choose", { detail: { ...this.choice, ...part } }));
  }

  override render() {
    const { follower } = this;
    if (!follower?.loaded) return follower?.problem ? this.failed(follower.problem) : this.loading();
    const operator = this.opened();
    const problem = follower.problem
      ? html`<div class="notes"><div class="note bad" role="alert">${glyph("dead")}<span>${follower.problem} What you see may be old.</span></div></div>`
      : nothing;
    return html`${problem}${operator ? html`${this.operators(operator)}${this.body(operator)}` : this.none()}
      <div class="sr" role="status" aria-live="polite">${this.announcement}</div>`;
  }

  private loading() {
    return html`<div class="pad" role="status" aria-label="The trainings are loading" style="display:grid;gap:14px">
      <div class="bones" style="width:40%"></div><div class="bones" style="height:190px"></div><div class="bones" style="width:72%"></div></div>`;
  }

  private failed(problem: string) {
    return html`<div class="empty" role="alert"><h2>The trainings cannot be shown</h2><p>${problem}</p>
      <button @click=${() => this.follower?.refresh()}>Try again</button></div>`;
  }

  private none() {
    return html`<div class="empty"><h2>This graph trains nothing</h2>
      <p>An operator is trained before it serves where its UDGL says so: <code>train package.module:function , epochs 10</code>. Its curves by epoch appear here then.</p></div>`;
  }

  private operators(open: TrainedOperator) {
    const all = this.follower!.operators;
    if (all.length < 2) return nothing;
    return html`<nav class="operators" aria-label="Trained operators">${all.map((one) => {
      const run = one.runs[0];
      const words = run
        ? `${RUN_LOOKS[run.state].word}${run.state === "training" ? `, epoch ${run.epoch ?? 0} of ${run.epochs_planned}` : ""}`
        : "not trained yet";
      return html`<button aria-pressed=${one === open} @click=${() => this.choose({ operator: one.operator, run: undefined, compare: undefined, figures: undefined })}>${glyph(run ? RUN_LOOKS[run.state].glyph : "undeployed", 14)}${one.operator} <span class="muted small">${words}</span></button>`;
    })}</nav>`;
  }

  private body(operator: TrainedOperator) {
    const wanted = this.choice.run || this.run;
    const newest = operator.runs[0];
    const found = operator.runs.find((run) => run.run_id === wanted);
    const run = found ?? operator.runs.find((one) => one.state !== "unchanged") ?? newest;
    if (!run) {
      return html`<section class="about" aria-label="Training of ${operator.operator}">${this.heading(operator)}${this.facts(operator, undefined)}</section>
        <div class="empty"><h2>Not trained yet</h2><p>No run has trained <b>${operator.operator}</b>. Trigger the DAG: it is trained before anything is deployed, and its curves are drawn here while it is.</p></div>`;
    }
    const compared = this.compared(operator, run);
    const all = figures(operator);
    const drawn = this.drawn(operator, all);
    const notes: string[] = [];
    if (wanted && !found)
      notes.push(
        `There is no training of ${operator.operator} in the run ${wanted}, or it is not among the newest ${this.follower!.runs}. Shown is another run.`,
      );
    if (!wanted && newest && newest !== run)
      notes.push(
        `The newest run, of ${runWords(newest)}, has not trained it. ${story(operator, newest)} Shown is the run before.`,
      );
    return html`
      <div class="both">
        <div class="curves">
          ${notes.length ? html`<div class="notes">${notes.map((text) => html`<div class="note"><span>${text}</span></div>`)}</div>` : nothing}
          <section class="about" aria-label="Training of ${operator.operator}">${this.heading(operator, run)}
            ${this.progress(run)}
            <p class=${run.state === "failed" ? "note bad" : ""}>${story(operator, run)}</p>${this.facts(operator, run)}</section>
          ${this.chooser(all, drawn)}
          ${drawn.length ? nothing : html`<p class="small muted pad">No figure is chosen.</p>`}
          <div class="charts">${repeat(
            drawn,
            (figure) => figure.id,
            (figure) => this.chart(figure, run, compared),
          )}</div>
        </div>
        <div class="side">
          <section aria-label="Batch size of the epochs to come"><h3>Batch size of the epochs to come</h3>
            <hogar-training-batch .api=${this.api} .dag=${this.dag} .operator=${operator.operator} .run=${run} @changed=${() => this.follower?.refresh()}></hogar-training-batch></section>
          <section aria-label="Runs"><h3>Runs</h3>
            <hogar-training-runs .operator=${operator} .shown=${run.run_id} .compared=${compared.map((one) => one.run_id)} .figure=${drawn[0] ?? all[0]}
              @show=${(e: CustomEvent<string>) => this.choose({ run: e.detail, compare: this.choice.compare?.filter((id) => id !== e.detail) })}
              @compare=${(e: CustomEvent<string>) => this.toggle(compared, e.detail)}></hogar-training-runs></section>
        </div>
        <hogar-training-epochs class="epochs" .run=${run} .metrics=${operator.metrics}></hogar-training-epochs>
      </div>`;
  }

  private compared(operator: TrainedOperator, run: TrainingRun): TrainingRun[] {
    const able = operator.runs.filter((one) => one !== run && one.epochs.length);
    const { compare } = this.choice;
    if (!compare) return able.filter((one) => (one.run_at ?? 0) < (run.run_at ?? 0)).slice(0, 1);
    return compare.flatMap((id) => able.find((one) => one.run_id === id) ?? []).slice(0, MOST_COMPARED);
  }

  private toggle(compared: readonly TrainingRun[], id: string): void {
    const ids = compared.map((one) => one.run_id);
    this.choose({ compare: ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id] });
  }

  private drawn(operator: TrainedOperator, all: Figure[]): Figure[] {
    const usual = operator.metrics.length ? operator.metrics.slice(0, DRAWN) : ["~duration", "~speed"];
    const wanted = this.choice.figures ?? usual;
    return all.filter((figure) => wanted.includes(figure.id));
  }

  private heading(operator: TrainedOperator, run?: TrainingRun) {
    const state = run && RUN_LOOKS[run.state];
    return html`<div class="row wrap"><h2>${operator.operator}</h2>
      ${state ? html`<span class="badge s-${state.glyph}">${glyph(state.glyph, 14)}<span>${state.word}</span></span>` : nothing}
      ${run ? html`<span class="small muted" title=${run.run_id}>run of ${runWords(run)}${run.try_number > 1 ? `, try ${run.try_number}` : ""}${run.begun ? `, ${run.ended ? `took ${span(run.ended - run.begun)}` : run.state === "training" && this.now ? `for ${span(this.now - run.begun)}` : `begun ${moment(run.begun)}`}` : ""}</span>` : nothing}</div>`;
  }

  private progress(run: TrainingRun) {
    if (run.state !== "training") return nothing;
    const done = run.last_epoch ?? 0;
    return html`<div class="progress" role="progressbar" aria-label="Epochs that are trained" aria-valuemin="0" aria-valuemax=${run.epochs_planned} aria-valuenow=${done}><i style="width:${(100 * done) / Math.max(1, run.epochs_planned)}%"></i></div>`;
  }

  private facts(operator: TrainedOperator, run: TrainingRun | undefined) {
    const rate = run ? run.learning_rate : operator.learning_rate;
    const stop = operator.early_stop;
    const fact = (name: string, value: unknown) =>
      value == null ? nothing : html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
    return html`<dl class="facts">
      ${fact("function", operator.function)}
      ${fact("batch schedule", scheduleWords((run ?? operator).schedule))}
      ${fact("learning rate", rate)}
      ${fact("stops early", stop && `${plural(stop.patience, "epoch")} without a ${stop.less_is_better ? "lower" : "higher"} ${stop.metric}`)}
      ${fact("dataset", operator.dataset)}
      ${Object.entries((run ?? operator).params).map(([name, value]) => fact(`param ${name}`, value))}</dl>`;
  }

  private chooser(all: readonly Figure[], drawn: readonly Figure[]) {
    const ids = drawn.map((figure) => figure.id);
    return html`<fieldset class="chooser"><legend class="sr">Figures that are drawn</legend>${all.map(
      (figure) =>
        html`<label><input type="checkbox" .checked=${ids.includes(figure.id)} @change=${() =>
          this.choose({
            figures: ids.includes(figure.id) ? ids.filter((id) => id !== figure.id) : [...ids, figure.id],
          })} />${figure.label}</label>`,
    )}</fieldset>`;
  }

  private chart(figure: Figure, run: TrainingRun, compared: readonly TrainingRun[]) {
    const { epochs, batch, planned } = steps(run, compared);
    const line = (one: TrainingRun, color: string, dash?: readonly number[]): EpochLine => {
      const values = new Map(one.epochs.map((epoch) => [epoch.epoch, figure.value(epoch)]));
      return {
        label: runWords(one),
        color,
        dash: dash && [...dash],
        values: epochs.map((epoch) => values.get(epoch)),
      };
    };
    const lines = [
      line(run, "var(--accent)"),
      ...compared.map((one, k) => line(one, STYLES[k]!.color, STYLES[k]!.dash)),
    ];
    return html`<hogar-epoch-chart .heading=${figure.label} .epochs=${epochs} .lines=${lines} .batch=${batch} .planned=${planned} .marks=${marks(run)} .unit=${figure.unit}></hogar-epoch-chart>`;
  }
}

/** The epochs of all runs that are drawn, and the batch size of one of them in each. */
export function steps(
  run: TrainingRun,
  compared: readonly TrainingRun[],
): { epochs: number[]; batch: Values; planned: Values } {
  const live = run.state === "training" || run.state === "waiting";
  const last = run.last_epoch ?? 0;
  const known = new Set([0]);
  for (const one of [run, ...compared]) for (const epoch of one.epochs) known.add(epoch.epoch);
  if (live) {
    // A long plan is drawn by its steps alone: nothing else happens in the epochs to come.
    const far = run.epochs_planned - last > 500;
    for (let epoch = last + 1; epoch <= (far ? last + 2 : run.epochs_planned); epoch++) known.add(epoch);
    for (const step of run.schedule) {
      if (step.epoch > last && step.epoch <= run.epochs_planned) known.add(step.epoch - 1).add(step.epoch);
    }
    known.add(run.epochs_planned);
  }
  const epochs = [...known].sort((a, b) => a - b);
  const sizes = new Map(run.epochs.map((epoch) => [epoch.epoch, epoch.batch]));
  const first = run.epochs[0];
  if (first) sizes.set(0, first.batch);
  return {
    epochs,
    batch: epochs.map((epoch) => (epoch > last ? null : sizes.get(epoch))),
    planned: epochs.map((epoch) =>
      live && epoch >= last ? (epoch === last && sizes.get(last)) || batchOf(run, epoch).batch : null,
    ),
  };
}

/** What happened between epochs: a change of the batch size with its author, a resume, the best. */
export function marks(run: TrainingRun): EpochMark[] {
  const found: EpochMark[] = run.changes
    .filter((change) => change.effective_epoch !== null)
    .map((change) => ({
      at: change.effective_epoch! - 1,
      // By which way they did it, the list of changes says.
      text: `${changeWords(change)}, ${change.who.replace(/ \(.*/, "")}`,
      kind: "changed" as const,
    }));
  for (const one of run.resumed)
    found.push({ at: one.epoch, text: `resumed, try ${one.try_number}`, kind: "resumed" });
  if (run.best_epoch && run.state === "trained")
    found.push({ at: run.best_epoch, text: "best", kind: "best" });
  return found;
}
