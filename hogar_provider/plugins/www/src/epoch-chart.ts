/** A chart over epochs: a figure of some runs, the batch size as steps on a scale of its own, marks.
 * An epoch's figures stand at its end, so its step reaches from the epoch before to it. */

import { css, html } from "lit";
import { property } from "lit/decorators.js";
import uPlot from "uplot";
import { customElement } from "./element";
import { last, PlotElement, type PlotMark, type PlotOptions } from "./plot";

/** A value is null where there is none, and undefined where the line goes on to the next. */
export type Values = (number | null | undefined)[];

export interface EpochLine {
  label: string;
  values: Values;
  color: string;
  dash?: number[];
}

export interface EpochMark {
  /** Between which epochs: 2 is where epoch 2 ended. */
  at: number;
  text: string;
  kind?: "changed" | "resumed" | "best";
}

const HEIGHT = 196;
const STEPS = [1, 2, 4, 8].concat(Array.from({ length: 24 }, (_, k) => 2 ** (k + 4)));

const COLORS = { changed: "var(--fg)", resumed: "var(--degraded)", best: "var(--ready)" };

@customElement("hogar-epoch-chart")
export class HogarEpochChart extends PlotElement {
  /** The first is 0. */
  @property({ attribute: false }) epochs: number[] = [];
  @property({ attribute: false }) lines: EpochLine[] = [];
  @property({ attribute: false }) batch: Values = [];
  @property({ attribute: false }) planned: Values = [];
  @property({ attribute: false }) marks: EpochMark[] = [];

  protected readonly height = HEIGHT;
  protected readonly together = "hogar-epochs";
  protected override readonly rows = 3;

  static override styles = [
    PlotElement.styles,
    css`
      .head { gap: 2px 10px; }
      .key svg { flex: none; }
      .step { width: 12px; height: 8px; border-top: 2px solid var(--fg-muted); background: color-mix(in srgb, var(--fg-muted) 16%, transparent); }
      .plot { height: ${HEIGHT}px; }
    `,
  ];

  override render() {
    const under = (values: Values) => (this.cursor === null ? last(values) : (values[this.cursor] ?? null));
    const empty = !this.lines.some((line) => line.values.some((value) => value != null));
    const spoken = this.lines.map((line) => `${line.label} ${this.unit(last(line.values))}`).join(", ");
    const batch = under(this.batch) ?? under(this.planned);
    const epoch = this.cursor === null ? null : this.epochs[this.cursor];
    return html`<div class="head"><h4>${this.heading}</h4>
        ${this.lines.map(
          (line) =>
            html`<span class="key">${swatch(line.color, line.dash)}${line.label} <b>${this.unit(under(line.values))}</b></span>`,
        )}
        <span class="key"><i class="step"></i>batch <b>${batch ?? "–"}</b></span>
        ${epoch ? html`<span class="key">epoch ${epoch}</span>` : ""}</div>
      <div class="plot" role="img" aria-label="${this.heading} by epoch; last: ${spoken || "none"}; batch size ${last(this.batch) ?? "not known"}${this.marks.map((mark) => `; ${mark.text}`).join("")}. The table has the figures.">
        ${empty ? html`<div class="none">no epoch has reported it yet</div>` : ""}</div><i class="probe"></i>`;
  }

  protected override layout(): string {
    return this.heading + super.layout();
  }

  protected data(): uPlot.AlignedData {
    return [
      this.epochs,
      this.batch,
      this.planned,
      ...this.lines.map((line) => line.values),
    ] as uPlot.AlignedData;
  }

  protected plotMarks(): PlotMark[] {
    return this.marks.map(({ at, text, kind }) => ({ at, text, color: COLORS[kind ?? "changed"] }));
  }

  protected options(axis: uPlot.Axis): PlotOptions {
    const steps = {
      scale: "batch",
      stroke: this.color("color-mix(in srgb, var(--fg-muted) 75%, transparent)"),
      width: 1.5,
      paths: uPlot.paths.stepped?.({ align: -1 }),
      points: { show: false },
    };
    return {
      padding: [8, 0, 0, 0],
      scales: {
        x: { time: false, range: (_u, _min, max) => [0, Math.max(1, max)] },
        y: { range: (_u, min, max) => bounds(min, max, this.marks.length > 1 ? 0.32 : 0.2) },
        batch: { range: (_u, _min, max) => [0, (max || 1) * 1.3] },
      },
      axes: [
        {
          ...axis,
          size: 20,
          gap: 2,
          space: 28,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000],
          values: (_u, ticks) => ticks.map((t) => (t ? String(t) : "")),
        },
        {
          ...axis,
          size: 52,
          gap: 4,
          space: 26,
          values: (_u, ticks) => ticks.map((t) => this.unit(t)),
        },
        {
          ...axis,
          scale: "batch",
          side: 1,
          size: 40,
          gap: 4,
          space: 26,
          incrs: STEPS,
          grid: { show: false },
          // Its zero would stand in the last epoch's number.
          values: (_u, ticks) => ticks.map((t) => (t ? String(t) : "")),
        },
      ],
      series: [
        {},
        { ...steps, fill: this.color("color-mix(in srgb, var(--fg-muted) 11%, transparent)") },
        { ...steps, dash: [3, 3] },
        ...this.lines.map((line, k) => ({
          label: line.label,
          stroke: this.color(line.color),
          width: k ? 1.5 : 2.25,
          dash: line.dash,
          points: { show: (_u: uPlot) => !k && this.epochs.length <= 40, size: 5 },
        })),
      ],
    };
  }
}

/** A piece of a line, for a legend. */
export function swatch(color: string, dash?: readonly number[]) {
  return html`<svg width="16" height="6" aria-hidden="true"><line x1="0" y1="3" x2="16" y2="3" stroke-width="2.5" style="stroke:${color};stroke-dasharray:${dash?.join(" ") ?? "none"}"/></svg>`;
}

/** The scale of a figure: from zero where that costs the curve little. `head` is the share of its
 * range that is left free above it, for the marks' text. */
export function bounds(min: number | null, max: number | null, head = 0.2): [number, number] {
  if (min == null || max == null) return [0, 1];
  const pad = (max - min) * 0.1 || Math.abs(max) * 0.1 || 1;
  const low = min >= 0 && (min < 0.35 * max || min - pad < 0) ? 0 : min - pad;
  return [low, max + Math.max(pad, head * (max - low))];
}
