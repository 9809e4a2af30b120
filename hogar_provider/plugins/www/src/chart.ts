/** A chart over time: lines, a legend with the figures under the pointer, marks for what was changed. */

import { css, html } from "lit";
import { property } from "lit/decorators.js";
import type uPlot from "uplot";
import { customElement } from "./element";
import { clock, span } from "./format";
import { last, PlotElement, type PlotMark, type PlotOptions } from "./plot";

export interface Line {
  label: string;
  values: (number | null)[];
  /** A CSS colour; may name custom properties. */
  color: string;
  dash?: number[];
  fill?: boolean;
}

export interface Mark {
  at: number;
  text: string;
  bad?: boolean;
}

const HEIGHT = 128;

@customElement("hogar-chart")
export class HogarChart extends PlotElement {
  @property({ attribute: false }) times: number[] = [];
  @property({ attribute: false }) lines: Line[] = [];
  @property({ attribute: false }) marks: Mark[] = [];
  /** Where the axis has to reach at least. */
  @property({ type: Number }) least = 0;
  /** What is said where there is nothing to draw. */
  @property() none = "nothing passed in this time";
  /** The time axis spans at least so many seconds. */
  @property({ type: Number }) seconds = 900;

  protected readonly height = HEIGHT;
  protected readonly together = "hogar";

  static override styles = [
    PlotElement.styles,
    css`
      .key i { width: 14px; height: 0; border-top: 2.5px solid var(--line); }
      .key.dash i { border-top: 0; height: 2.5px; background: repeating-linear-gradient(90deg, var(--line) 0 5px, transparent 5px 9px); width: 14px; }
      .plot { height: ${HEIGHT}px; }
    `,
  ];

  override render() {
    const at = this.cursor ?? this.times.length - 1;
    const empty = !this.lines.some((line) => line.values.some((value) => value !== null));
    const spoken = this.lines.map((line) => `${line.label} ${this.unit(latest(line.values))}`).join(", ");
    return html`<div class="head"><h4>${this.heading}</h4>
        ${this.lines.map(
          (line) =>
            html`<span class="key ${line.dash ? "dash" : ""}" style="--line:${line.color}"><i></i>${line.label} <b>${this.unit(this.cursor === null ? latest(line.values) : line.values[at])}</b></span>`,
        )}
        ${this.cursor === null ? "" : html`<span class="key">at ${clock(this.times[at] ?? 0)}</span>`}</div>
      <div class="plot" role="img" aria-label="${this.heading} over the last ${span(this.seconds)}; now: ${spoken}">
        ${empty ? html`<div class="none">${this.none}</div>` : ""}</div><i class="probe"></i>`;
  }

  protected data(): uPlot.AlignedData {
    return [this.times, ...this.lines.map((line) => line.values)] as uPlot.AlignedData;
  }

  protected plotMarks(): PlotMark[] {
    return this.marks.map(({ at, text, bad }) => ({ at, text, color: bad ? "var(--dead)" : "var(--fg)" }));
  }

  protected options(axis: uPlot.Axis): PlotOptions {
    return {
      padding: [8, 18, 0, 0],
      scales: {
        x: { time: true, range: (_u, min, max) => [Math.min(min, max - this.seconds), max] },
        y: { range: (_u, _min, max) => [0, Math.max(this.least, (max || 0) * 1.12) || 1] },
      },
      axes: [
        {
          ...axis,
          size: 24,
          // Below the lowest figure of the other axis, which stands at the same corner.
          gap: 6,
          space: 70,
          values: (_u, ticks) => ticks.map((t) => (this.seconds < 240 ? clock(t) : clock(t).slice(0, 5))),
        },
        {
          ...axis,
          size: 56,
          gap: 4,
          space: 24,
          values: (_u, ticks) => ticks.map((t) => this.unit(t).replace(/\.0(?!\d)/, "")),
        },
      ],
      series: [
        {},
        ...this.lines.map((line) => ({
          label: line.label,
          stroke: this.color(line.color),
          width: 1.5,
          dash: line.dash,
          fill: line.fill ? this.color(`color-mix(in srgb, ${line.color} 18%, transparent)`) : undefined,
          // A value that stands alone is a point: no line leads to it.
          points: {
            show: () => false,
            size: 6,
            width: 0,
            fill: this.color(line.color),
            filter: (_u: uPlot, at: number) => alone(this.lines[at - 1]?.values ?? []),
          },
        })),
      ],
    };
  }
}

/** Where a value has none beside it. */
export function alone(values: readonly (number | null)[]): number[] {
  return values.flatMap((value, at) =>
    value !== null && values[at - 1] == null && values[at + 1] == null ? [at] : [],
  );
}

/** Of a figure that came in the last half minute. */
function latest(values: (number | null)[]): number | null {
  return last(values, 30);
}
