/** Batch sizes over time: the darker a cell, the more of the batches of its half minute had that size. */

import { css, html, LitElement, svg } from "lit";
import { property } from "lit/decorators.js";
import { customElement } from "./element";
import { clock } from "./format";
import { shared } from "./styles";
import type { Sample } from "./types";

export const COLUMN_SECONDS = 30;
const COLUMNS = 30;

export interface Heat {
  /** Upper bounds of the rows, the lowest first. */
  sizes: number[];
  /** Begin of each column. */
  starts: number[];
  /** `cells[column][row]`: share of the column's batches, from 0 to 1. */
  cells: number[][];
}

/** The heat of the samples: all batches of each half minute, by size. */
export function heat(times: readonly number[], samples: readonly Sample[], limit: number, end: number): Heat {
  const most = Math.max(2, ...samples.map((sample) => sample.sizes?.length ?? 0));
  const sizes: number[] = [];
  for (let size = 1; ; size *= 2) {
    sizes.push(size);
    if (sizes.length >= most && size >= limit) break;
  }
  const begin = end - COLUMNS * COLUMN_SECONDS;
  const starts = Array.from({ length: COLUMNS }, (_, k) => begin + k * COLUMN_SECONDS);
  const cells = starts.map(() => sizes.map(() => 0));
  const totals = starts.map(() => 0);
  times.forEach((at, k) => {
    const column = Math.floor((at - begin - 1e-6) / COLUMN_SECONDS);
    const sample = samples[k]!;
    if (column < 0 || column >= COLUMNS) return;
    sample.sizes?.forEach((batches, row) => {
      cells[column]![row]! += batches;
      totals[column]! += batches;
    });
  });
  cells.forEach((column, k) => {
    for (let row = 0; row < column.length; row++) column[row] = totals[k] ? column[row]! / totals[k]! : 0;
  });
  return { sizes, starts, cells };
}

const LEFT = 56;
const ROW = 15;

@customElement("hogar-heat-map")
export class HogarHeatMap extends LitElement {
  @property({ attribute: false }) times: number[] = [];
  @property({ attribute: false }) samples: Sample[] = [];
  @property({ type: Number }) limit = 1;

  static override styles = [
    shared,
    css`
      h4 { font-size: 13px; font-weight: 600; margin-bottom: 4px; }
      svg { display: block; width: 100%; overflow: visible; }
      text { font-size: 11px; fill: var(--fg-muted); font-family: system-ui, sans-serif; }
      .cell { fill: var(--accent); }
      .ground { fill: var(--bg-muted); opacity: 0.6; }
      .limit { stroke: var(--fg); stroke-width: 1.2; stroke-dasharray: 4 3; }
      .why { font-size: 11px; color: var(--fg-muted); margin-top: 2px; }
    `,
  ];

  override render() {
    const end = this.times[this.times.length - 1] ?? Date.now() / 1000;
    const { sizes, starts, cells } = heat(this.times, this.samples, this.limit, end);
    const height = sizes.length * ROW;
    const width = 400;
    const wide = (width - LEFT) / COLUMNS;
    const y = (row: number) => height - (row + 1) * ROW;
    const limitRow = sizes.findIndex((size) => this.limit <= size);
    const now = cells[COLUMNS - 1]!;
    const most = now.indexOf(Math.max(...now));
    return html`<h4>Batch sizes</h4>
      <svg viewBox="0 0 ${width} ${height + 16}" role="img" aria-label="Batch sizes over the last 15 minutes; now most batches are of at most ${sizes[most]} requests, the limit is ${this.limit}">
        ${sizes.map(
          (
            size,
            row,
          ) => svg`<text x=${LEFT - 6} y=${y(row) + 11} text-anchor="end">${row ? `${sizes[row - 1]! + 1 === size ? size : `${sizes[row - 1]! + 1}–${size}`}` : "1"}</text>
          <rect class="ground" x=${LEFT} y=${y(row) + 0.5} width=${width - LEFT} height=${ROW - 1}/>`,
        )}
        ${cells.map((column, k) => column.map((share, row) => (share ? svg`<rect class="cell" x=${LEFT + k * wide + 0.5} y=${y(row) + 0.5} width=${wide - 1} height=${ROW - 1} opacity=${0.12 + 0.88 * share}><title>${clock(starts[k]!)}: ${Math.round(share * 100)} % of batches</title></rect>` : "")))}
        ${limitRow >= 0 ? svg`<path class="limit" d="M${LEFT} ${y(limitRow)}H${width}"/>` : ""}
        ${[0, 10, 20].map((k) => svg`<text x=${LEFT + k * wide} y=${height + 12}>${clock(starts[k]!).slice(0, 5)}</text>`)}
      </svg>
      <p class="why">Darker: more of the batches of that half minute were so large. The dashed line is the limit, ${this.limit}.</p>`;
  }
}
