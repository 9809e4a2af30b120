/** What charts have in common: a plot that follows its element's width and the theme, a cursor whose
 * figures stand in the legend, and marks with a text. */

import { type CSSResultGroup, css, LitElement, type PropertyValues, unsafeCSS } from "lit";
import { property, query, state } from "lit/decorators.js";
import uPlot from "uplot";
import uplotCss from "uplot/dist/uPlot.min.css?inline";
import { shared } from "./styles";

/** A vertical line with a text; `color` is a CSS colour and may name custom properties. */
export interface PlotMark {
  at: number;
  text: string;
  color: string;
}

interface Plotted {
  label: string;
  color: string;
}

export type PlotOptions = Pick<uPlot.Options, "padding" | "scales" | "axes" | "series">;

export abstract class PlotElement extends LitElement {
  @property() heading = "";
  @property({ attribute: false }) unit: (value: number | null | undefined) => string = String;
  @state() protected cursor: number | null = null;
  @query(".plot") private place!: HTMLElement;
  @query(".probe") private probe!: HTMLElement;

  abstract lines: Plotted[];

  /** Pixels; the element's styles say the same of `.plot`. */
  protected abstract readonly height: number;
  /** Charts with the same key share their cursor. */
  protected abstract readonly together: string;
  /** Rows of marks' texts: each holds what does not fit into the one above. */
  protected readonly rows: number = 1;

  private plot: uPlot | null = null;
  private drawn = "";
  private observer = new ResizeObserver(() => this.resize());

  static override styles: CSSResultGroup = [
    shared,
    unsafeCSS(uplotCss),
    css`
      :host { display: block; min-width: 0; }
      .head { display: flex; gap: 2px 12px; flex-wrap: wrap; align-items: baseline; margin-bottom: 2px; }
      h4 { font-size: 13px; font-weight: 600; }
      .key { font-size: 12px; color: var(--fg-muted); display: inline-flex; gap: 5px; align-items: center; font-variant-numeric: tabular-nums; }
      .key b { color: var(--fg); font-weight: 600; }
      .plot { overflow: hidden; position: relative; }
      .probe { display: none; }
      .u-select { background: color-mix(in srgb, var(--fg-muted) 12%, transparent); }
      .u-cursor-x { border-right-color: var(--fg-muted) !important; }
      .none { position: absolute; inset: 0; display: grid; place-items: center; color: var(--fg-muted); font-size: 12px; pointer-events: none; }
    `,
  ];

  protected abstract data(): uPlot.AlignedData;
  protected abstract options(axis: uPlot.Axis): PlotOptions;
  protected abstract plotMarks(): PlotMark[];

  /** The plot is built anew where this changes; otherwise it is given other data. */
  protected layout(): string {
    return this.lines.map((line) => `${line.label}${line.color}`).join();
  }

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

  override updated(changed: PropertyValues): void {
    if (![...changed.keys()].some((key) => key !== "cursor")) return;
    const layout = this.layout();
    if (!this.plot || layout !== this.drawn) {
      this.drawn = layout;
      this.build();
    } else this.plot.setData(this.data());
  }

  protected color(text: string): string {
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
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
    else if (!this.plot && width) this.build();
  }

  private build(): void {
    this.plot?.destroy();
    this.plot = null;
    const width = this.place.clientWidth;
    // A test's DOM has no canvas.
    if (!width || !this.lines.length) return;
    const axis: uPlot.Axis = {
      stroke: this.color("var(--fg-muted)"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: this.color("var(--border)"), width: 1 },
      ticks: { show: false },
    };
    this.plot = new uPlot(
      {
        width,
        height: this.height,
        legend: { show: false },
        cursor: {
          y: false,
          points: { size: 6 },
          drag: { x: false, y: false },
          sync: { key: this.together },
        },
        hooks: {
          draw: [(plot) => this.drawMarks(plot)],
          setCursor: [
            (plot) => {
              this.cursor = plot.cursor.idx ?? null;
            },
          ],
        },
        ...this.options(axis),
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
    const free: number[] = new Array(this.rows).fill(left);
    for (const mark of this.plotMarks().sort((a, b) => a.at - b.at)) {
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      if (x < left || x > left + width) continue;
      const color = this.color(mark.color);
      ctx.strokeStyle = color;
      ctx.lineWidth = ratio;
      ctx.setLineDash([4 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      const wide = ctx.measureText(mark.text).width + 8 * ratio;
      const start = x + wide > left + width ? x - wide : x + 4 * ratio;
      const row = free.findIndex((from) => start >= from);
      if (row < 0) continue;
      const y = top + row * 15 * ratio;
      ctx.fillStyle = ground;
      ctx.fillRect(start - 2 * ratio, y, wide - 4 * ratio, 14 * ratio);
      ctx.fillStyle = color;
      ctx.fillText(mark.text, start, y + 11 * ratio);
      free[row] = start + wide;
    }
    ctx.restore();
  }
}

/** The last value that there is, of the last `most`. */
export function last(values: (number | null | undefined)[], most = Infinity): number | null {
  for (let k = values.length - 1; k >= 0 && k >= values.length - most; k--) {
    const value = values[k];
    if (value != null) return value;
  }
  return null;
}
