/** The runs of one operator's training: which is shown, and which are drawn beside it. */

import { css, html, LitElement, nothing } from "lit";
import { property } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { customElement } from "./element";
import { swatch } from "./epoch-chart";
import { plural } from "./format";
import { glyph } from "./states";
import { shared } from "./styles";
import { type Figure, number, RUN_LOOKS, runWords, scheduleWords } from "./training-figures";
import type { TrainedOperator, TrainingRun } from "./training-types";

/** Runs that can be compared with the one that is shown. */
export const MOST_COMPARED = 5;

/** How the k-th run that is compared is drawn. */
export const STYLES = [
  { color: "var(--degraded)", dash: [6, 3] },
  { color: "var(--recovering)", dash: [2, 3] },
  { color: "var(--ready)", dash: [9, 3, 2, 3] },
  { color: "var(--starting)", dash: [4, 2] },
  { color: "var(--dead)", dash: [1, 2] },
] as const;

/** `show` and `compare` events carry a run's id. */
@customElement("hogar-training-runs")
export class HogarTrainingRuns extends LitElement {
  @property({ attribute: false }) operator!: TrainedOperator;
  @property() shown = "";
  @property({ attribute: false }) compared: readonly string[] = [];
  /** Whose last value is told of each run. */
  @property({ attribute: false }) figure: Figure | undefined;

  static override styles = [
    shared,
    css`
      table { table-layout: fixed; }
      th, td { padding: 5px 6px; }
      th:nth-child(1) { width: 42px; } th:nth-child(2) { width: 63px; } th:nth-child(4) { width: 76px; }
      .right { white-space: nowrap; }
      td { vertical-align: top; }
      td:nth-child(-n+2), th:nth-child(-n+2) { text-align: center; }
      input { min-height: 0; margin: 3px 0 0; accent-color: var(--solid); }
      .name { display: flex; gap: 6px; align-items: center; font-variant-numeric: tabular-nums; }
      tr.on td { background: color-mix(in srgb, var(--accent) 9%, var(--bg)); }
      .swatch { display: block; height: 8px; line-height: 0; margin-top: 4px; }
    `,
  ];

  private tell(name: string, run: TrainingRun): void {
    this.dispatchEvent(new CustomEvent(name, { detail: run.run_id }));
  }

  override render() {
    return html`<table aria-label="Runs of ${this.operator.operator}">
      <thead><tr><th scope="col">Show</th><th scope="col">Compare</th><th scope="col">Run</th><th scope="col" class="right cut">${this.figure?.label ?? ""}</th></tr></thead>
      <tbody>${repeat(
        this.operator.runs,
        (run) => run.run_id,
        (run) => this.line(run),
      )}</tbody></table>`;
  }

  private line(run: TrainingRun) {
    const { word, glyph: shape } = RUN_LOOKS[run.state];
    const words = runWords(run);
    const on = run.run_id === this.shown;
    const at = this.compared.indexOf(run.run_id);
    const last = run.epochs[run.epochs.length - 1];
    const style = at >= 0 ? STYLES[at] : undefined;
    const full = at < 0 && this.compared.length >= MOST_COMPARED;
    return html`<tr class=${on ? "on" : ""}>
      <td><input type="radio" name="shown" aria-label="Show the run of ${words}, ${word}" .checked=${on} @change=${() => this.tell("show", run)} /></td>
      <td>${
        on
          ? html`<span class="swatch">${swatch("var(--accent)")}</span>`
          : html`<input type="checkbox" aria-label="Compare with the run of ${words}" .checked=${at >= 0} ?disabled=${full || !last} @change=${() => this.tell("compare", run)} />
            ${style ? html`<span class="swatch">${swatch(style.color, style.dash)}</span>` : nothing}`
      }</td>
      <td><span class="name" title=${run.run_id}>${glyph(shape, 13)}<span class="cut">${words}</span></span>
        <span class="small muted">${word}${run.last_epoch ? `, ${run.last_epoch} of ${plural(run.epochs_planned, "epoch")}` : ""}${this.differs(run)}</span></td>
      <td class="right">${last && this.figure ? (this.figure.id.startsWith("~") ? this.figure.unit(this.figure.value(last)) : number(this.figure.value(last))) : "–"}</td>
    </tr>`;
  }

  /** What was not as the file says now, or was changed meanwhile. */
  private differs(run: TrainingRun): string {
    const { operator } = this;
    const words: string[] = [];
    if (run.ended_by === "early-stop") words.push("stopped early");
    if (run.resumed.length) words.push("resumed");
    const schedule = scheduleWords(run.schedule);
    if (schedule !== scheduleWords(operator.schedule)) words.push(`batch ${schedule}`);
    if (run.changes.length) words.push("batch changed");
    if (run.learning_rate !== operator.learning_rate)
      words.push(`learning rate ${run.learning_rate ?? "not given"}`);
    for (const name of new Set([...Object.keys(run.params), ...Object.keys(operator.params)])) {
      if (run.params[name] !== operator.params[name])
        words.push(`${name} ${run.params[name] ?? "not given"}`);
    }
    return words.map((word) => `, ${word}`).join("");
  }
}
