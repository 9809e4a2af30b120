/** A chart over epochs: a figure of some runs, the batch size as steps on a scale of its own, marks.
 * An epoch's figures stand at its end, so its step reaches from the epoch before to it. */

import { css, html, LitElement, type PropertyValues, unsafeCSS } from "lit";
import { property, query, state } from "lit/decorators.js";
import uPlot from "uplot";
import uplotCss from "uplot/dist/uPlot.min.css?inline";
import { customElement } from "./element";
import { shared } from "./styles";

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

@customElement("hogar-epoch-chart")
export class HogarEpochChart extends LitElement {
  @property() heading = "";
  /** The first is 0. */
  @property({ attribute: false }) epochs: number[] = [];
  @property({ attribute: false }) lines: EpochLine[] = [];
  @property({ attribute: false }) batch: Values = [];
  @property({ attribute: false }) planned: Values = [];
  @property({ attribute: false }) marks: EpochMark[] = [];
  @property({ attribute: false }) unit: (value: number | null | undefined) => string = String;
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
      .head { display: flex; gap: 2px 10px; flex-wrap: wrap; align-items: baseline; margin-bottom: 2px; }
      h4 { font-size: 13px; font-weight: 600; }
      .key { font-size: 12px; color: var(--fg-muted); display: inline-flex; gap: 5px; align-items: center; font-variant-numeric: tabular-nums; }
      .key svg { flex: none; }
      .key b { color: var(--fg); font-weight: 600; }
      .step { width: 12px; height: 8px; border-top: 2px solid var(--fg-muted); background: color-mix(in srgb, var(--fg-muted) 16%, transparent); }
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

  override updated(changed: PropertyValues): void {
    if (![...changed.keys()].some((key) => key !== "cursor")) return;
    const layout = this.heading + this.lines.map((line) => `${line.label}${line.color}`).join();
    if (!this.plot || layout !== this.drawn) {
      this.drawn = layout;
      this.build();
    } else this.plot.setData(this.data());
  }

  private data(): uPlot.AlignedData {
    return [
      this.epochs,
      this.batch,
      this.planned,
      ...this.lines.map((line) => line.values),
    ] as uPlot.AlignedData;
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
    this.plot = null;
    const width = this.place.clientWidth;
    // A test's DOM has no canvas.
    if (!width || !this.lines.length) return;
    const muted = this.color("var(--fg-muted)");
    const axis = {
      stroke: muted,
      font: "11px system-ui, sans-serif",
      grid: { stroke: this.color("var(--border)"), width: 1 },
      ticks: { show: false },
    };
    const steps = {
      scale: "batch",
      stroke: this.color("color-mix(in srgb, var(--fg-muted) 75%, transparent)"),
      width: 1.5,
      paths: uPlot.paths.stepped?.({ align: -1 }),
      points: { show: false },
    };
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 0, 0, 0],
        cursor: {
          y: false,
          points: { size: 6 },
          drag: { x: false, y: false },
          sync: { key: "hogar-epochs" },
        },
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
    const ground = this.color("var(--bg)");
    const colors = { changed: "var(--fg)", resumed: "var(--degraded)", best: "var(--ready)" };
    // Each row of text holds what does not fit into the one above.
    const free = [left, left, left];
    for (const mark of [...this.marks].sort((a, b) => a.at - b.at)) {
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      if (x < left || x > left + width) continue;
      const color = this.color(colors[mark.kind ?? "changed"]);
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

function last(values: Values): number | null {
  for (let k = values.length - 1; k >= 0; k--) {
    const value = values[k];
    if (value != null) return value;
  }
  return null;
}
