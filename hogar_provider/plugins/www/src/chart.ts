/** A chart over time: lines, a legend with the figures under the pointer, marks for what was changed. */

import { css, html, LitElement, type PropertyValues, unsafeCSS } from "lit";
import { property, query, state } from "lit/decorators.js";
import uPlot from "uplot";
import uplotCss from "uplot/dist/uPlot.min.css?inline";
import { customElement } from "./element";
import { clock, span } from "./format";
import { shared } from "./styles";

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
export class HogarChart extends LitElement {
  @property() heading = "";
  @property({ attribute: false }) times: number[] = [];
  @property({ attribute: false }) lines: Line[] = [];
  @property({ attribute: false }) marks: Mark[] = [];
  @property({ attribute: false }) unit: (value: number | null | undefined) => string = String;
  /** Where the axis has to reach at least. */
  @property({ type: Number }) least = 0;
  /** The time axis spans at least so many seconds. */
  @property({ type: Number }) seconds = 900;
  @state() private cursor: number | null = null;
  @query(".plot") private place!: HTMLElement;
  @query(".probe") private probe!: HTMLElement;

  private plot: uPlot | null = null;
  private drawn = "";
  private observer = new ResizeObserver(() => this.resize());

  static override styles = [
    shared,
    unsafeCSS(uplotCss),
    css`
      :host { display: block; min-width: 0; }
      .head { display: flex; gap: 2px 12px; flex-wrap: wrap; align-items: baseline; margin-bottom: 2px; }
      h4 { font-size: 13px; font-weight: 600; }
      .key { font-size: 12px; color: var(--fg-muted); display: inline-flex; gap: 5px; align-items: center; font-variant-numeric: tabular-nums; }
      .key i { width: 12px; height: 0; border-top: 2.5px solid var(--line); }
      .key.dash i { border-top-style: dashed; }
      .key b { color: var(--fg); font-weight: 600; }
      .plot { height: ${HEIGHT}px; overflow: hidden; position: relative; }
      .probe { display: none; }
      .u-select { background: color-mix(in srgb, var(--fg-muted) 12%, transparent); }
      .u-cursor-x { border-right-color: var(--fg-muted) !important; }
      .none { position: absolute; inset: 0; display: grid; place-items: center; color: var(--fg-muted); font-size: 12px; pointer-events: none; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    window.addEventListener("hogar-theme", this.repaint);
    void this.updateComplete.then(() => this.observer.observe(this.place));
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.removeEventListener("hogar-theme", this.repaint);
    this.observer.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  override render() {
    const at = this.cursor ?? this.times.length - 1;
    const empty = !this.lines.some((line) => line.values.some((value) => value !== null));
    const spoken = this.lines.map((line) => `${line.label} ${this.unit(last(line.values))}`).join(", ");
    return html`<div class="head"><h4>${this.heading}</h4>
        ${this.lines.map(
          (line) =>
            html`<span class="key ${line.dash ? "dash" : ""}" style="--line:${line.color}"><i></i>${line.label} <b>${this.unit(this.cursor === null ? last(line.values) : line.values[at])}</b></span>`,
        )}
        ${this.cursor === null ? "" : html`<span class="key">at ${clock(this.times[at] ?? 0)}</span>`}</div>
      <div class="plot" role="img" aria-label="${this.heading} over the last ${span(this.seconds)}; now: ${spoken}">
        ${empty ? html`<div class="none">nothing passed in this time</div>` : ""}</div><i class="probe"></i>`;
  }

  override updated(changed: PropertyValues): void {
    if (![...changed.keys()].some((key) => key !== "cursor")) return;
    const layout = this.lines.map((line) => `${line.label}${line.color}`).join();
    if (!this.plot || layout !== this.drawn) {
      this.drawn = layout;
      this.build();
    } else this.plot.setData(this.data());
  }

  private data(): uPlot.AlignedData {
    return [this.times, ...this.lines.map((line) => line.values)] as uPlot.AlignedData;
  }

  private color(text: string): string {
    this.probe.style.color = text;
    return getComputedStyle(this.probe).color;
  }

  private repaint = (): void => {
    // The styles that follow the theme are there after the next frame.
    requestAnimationFrame(() => {
      if (this.isConnected && this.plot) this.build();
    });
  };

  private resize(): void {
    const width = this.place.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    else if (!this.plot && width) this.build();
  }

  private build(): void {
    this.plot?.destroy();
    const width = this.place.clientWidth;
    // A test's DOM has no canvas.
    if (!width || !this.lines.length) return;
    const muted = this.color("var(--fg-muted)");
    const grid = this.color("var(--border)");
    const axis = {
      stroke: muted,
      font: "11px system-ui, sans-serif",
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
    };
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, sync: { key: "hogar" } },
        scales: {
          x: { time: true, range: (_u, min, max) => [Math.min(min, max - this.seconds), max] },
          y: { range: (_u, _min, max) => [0, Math.max(this.least, (max || 0) * 1.12) || 1] },
        },
        axes: [
          {
            ...axis,
            size: 20,
            gap: 2,
            space: 70,
            values: (_u, ticks) => ticks.map((t) => (this.seconds < 240 ? clock(t) : clock(t).slice(0, 5))),
          },
          {
            ...axis,
            size: 56,
            gap: 4,
            space: 24,
            values: (_u, ticks) => ticks.map((t) => this.unit(t)),
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
            points: { show: () => false, size: 4 },
          })),
        ],
        hooks: {
          draw: [(plot) => this.drawMarks(plot)],
          setCursor: [
            (plot) => {
              this.cursor = plot.cursor.idx ?? null;
            },
          ],
        },
      },
      this.data(),
      this.place,
    );
  }

  private drawMarks(plot: uPlot): void {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    const ground = this.color("var(--bg)");
    let free = left;
    for (const mark of [...this.marks].sort((a, b) => a.at - b.at)) {
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      if (x < left || x > left + width) continue;
      const color = this.color(mark.bad ? "var(--dead)" : "var(--fg)");
      ctx.strokeStyle = ctx.fillStyle = color;
      ctx.lineWidth = ratio;
      ctx.setLineDash([4 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      const wide = ctx.measureText(mark.text).width + 8 * ratio;
      const start = x + wide > left + width ? x - wide : x + 4 * ratio;
      if (start >= free) {
        ctx.fillStyle = ground;
        ctx.fillRect(start - 2 * ratio, top, wide - 4 * ratio, 14 * ratio);
        ctx.fillStyle = color;
        ctx.fillText(mark.text, start, top + 11 * ratio);
        free = start + wide;
      }
    }
    ctx.restore();
  }
}

function last(values: (number | null)[]): number | null {
  for (let k = values.length - 1; k >= 0 && k >= values.length - 30; k--) {
    const value = values[k];
    if (value != null) return value;
  }
  return null;
}
