/** The live graph: nodes left to right as HTML over edges as SVG, to be moved, zoomed and searched. */

import { css, html, LitElement, nothing, type PropertyValues, svg } from "lit";
import { property, query, state } from "lit/decorators.js";
import { classMap } from "lit/directives/class-map.js";
import { repeat } from "lit/directives/repeat.js";
import { customElement } from "./element";
import { count, decimal, plural, rate, shortMs, span } from "./format";
import { deadHosts, isOn, mark, rack, stranded } from "./hosts";
import { curve, type Layout, MARGIN, NODE_HEIGHT, NODE_WIDTH, place, shapeOf } from "./layout";
import { gist } from "./reason";
import { glyph, look, severity, troubled } from "./states";
import { shared } from "./styles";
import { course, headline, lately, strip } from "./trouble";
import type { BatchView, FlowView, GraphView, NodeView, PairView } from "./types";

const SMALLEST = 0.06;
const LARGEST = 1.6;
/** Below this scale a node shows less in larger letters; below the next one its shape alone. */
const BRIEF = 0.72;
/** Below this one what is most wanted alone, in letters that can still be read. */
const SHORT = 0.5;
const TINY = 0.3;
/** Pixels that the tools above the graph take, and that its layout leaves free around it. */
const TOOLS = 48;

type Detail = "full" | "brief" | "short" | "tiny";

@customElement("hogar-graph")
export class HogarGraph extends LitElement {
  @property({ attribute: false }) view!: GraphView;
  @property({ type: Number }) selected = 0;
  @property({ type: Number }) now = 0;
  /** The host whose nodes alone are shown; empty for all. */
  @property() host = "";

  @state() private scale = 1;
  @state() private x = 0;
  @state() private y = 0;
  @state() private search = "";
  @query(".stage") private stage!: HTMLElement;

  private shape = "";
  private placed: Layout = { width: 0, height: 0, nodes: new Map(), edges: [] };
  private moved = false;
  private observer?: ResizeObserver;

  static override styles = [
    shared,
    css`
      :host { display: flex; flex-direction: column; min-height: 0; position: relative; --line: color-mix(in srgb, var(--fg-muted) 50%, var(--bg)); }
      /* They lie over the graph, which keeps free of them. */
      .tools { position: absolute; z-index: 1; inset: 0 0 auto; display: flex; gap: 6px; padding: 8px 10px; align-items: center; pointer-events: none; }
      .tools > :not(.grow) { pointer-events: auto; }
      .tools input { width: 190px; }
      .stage {
        position: relative; flex: 1; min-height: 0; overflow: hidden; cursor: grab; touch-action: none;
        background-color: var(--bg-subtle);
        background-image: radial-gradient(color-mix(in srgb, var(--fg-muted) 26%, transparent) 1px, transparent 1px);
        background-size: 22px 22px;
      }
      .stage.drag { cursor: grabbing; }
      .world { position: absolute; left: 0; top: 0; transform-origin: 0 0; }
      .edges { position: absolute; left: 0; top: 0; overflow: visible; pointer-events: none; }
      .edge { fill: none; stroke: var(--line); stroke-width: 2; }
      .edge.flows { stroke: color-mix(in srgb, var(--accent) 70%, var(--border-strong)); }
      .edge.stuck { stroke: var(--dead); stroke-dasharray: 6 5; }
      .edge.reduce { stroke-width: 2; }
      .edge.switch, .edge.split { stroke-dasharray: 2 4; stroke-linecap: round; }
      .edge.moving { stroke-dasharray: 2 16; stroke-linecap: round; stroke-width: 5; stroke: var(--accent); animation: run 1.2s steps(14) infinite; }
      @keyframes run { to { stroke-dashoffset: -18; } }
      .tip { fill: var(--line); }
      .tip.flows { fill: color-mix(in srgb, var(--accent) 70%, var(--border-strong)); }
      .tip.stuck { fill: var(--dead); }
      .flow {
        position: absolute; transform: translate(-50%, -50%); padding: 0 5px; border-radius: 5px; font-size: 11px; line-height: 1.25;
        background: color-mix(in srgb, var(--bg-subtle) 88%, transparent); white-space: nowrap; text-align: center; display: grid; pointer-events: none;
        color: var(--fg-muted); font-variant-numeric: tabular-nums;
      }
      .flow b { font-weight: 600; color: var(--fg); }

      .node {
        position: absolute; width: ${NODE_WIDTH}px; height: ${NODE_HEIGHT}px; padding: 0; display: flex; flex-direction: column;
        align-items: stretch; justify-content: flex-start; text-align: left; white-space: normal; gap: 0; overflow: hidden;
        border: 1.5px solid var(--border-strong); border-left: 6px solid var(--s); border-radius: 10px; background: var(--bg);
        box-shadow: 0 1px 3px rgb(0 0 0 / 0.1); font-weight: 400; color: var(--fg); line-height: 1.3;
      }
      .node:hover:not(:disabled) { background: var(--bg); border-color: var(--s); }
      .node.selected { outline: 3px solid var(--accent); outline-offset: 2px; }
      .node.faded { opacity: 0.28; }
      .node.s-undeployed, .node.s-unknown { border-style: dashed; border-left-style: solid; }
      .node.s-dead, .node.s-dead:hover:not(:disabled) { border-color: var(--dead); background: var(--dead-bg); box-shadow: 0 0 0 4px color-mix(in srgb, var(--dead) 28%, transparent); overflow: visible; }
      .node.s-dead::after { content: ""; position: absolute; inset: -10px; border-radius: 18px; border: 5px solid var(--dead); pointer-events: none; animation: alarm 1.2s ease-in-out infinite; }
      .tiny .node.s-dead::after { inset: -34px; border-width: 18px; border-radius: 50px; }
      .node.s-recovering, .node.s-recovering:hover:not(:disabled) { border-color: var(--recovering); background: color-mix(in srgb, var(--recovering) 8%, var(--bg)); }
      .node.lately { overflow: visible; }
      .node.lately::after { content: ""; position: absolute; inset: -9px; border-radius: 17px; border: 4px dashed var(--recovering); pointer-events: none; animation: alarm 1.2s ease-in-out infinite; }
      .tiny .node.lately::after { inset: -30px; border-width: 16px; border-radius: 46px; }
      .node .lately { position: absolute; left: 0; right: 0; bottom: 0; padding: 3px 10px 5px; display: grid; font-size: 11px; line-height: 1.3; border-radius: 0 0 8px 0; color: var(--fg); background: color-mix(in srgb, var(--recovering) 16%, var(--bg)); }
      .node.lately .batch, .node.lately .pairs { visibility: hidden; }
      .node .lately b { font-weight: 600; }
      .node .lately > * { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
      .brief .node .lately { font-size: 15px; }
      .brief .node .lately > span { display: none; }
      .brief .node .lately b { white-space: normal; line-height: 1.2; }
      /* Hatched: what is there cannot be seen, whatever colour its state has. */
      .node.stranded, .node.stranded:hover:not(:disabled) { --hatch: 7px; background-image: repeating-linear-gradient(135deg, color-mix(in srgb, var(--dead) 15%, transparent) 0 var(--hatch), transparent var(--hatch) calc(2 * var(--hatch))); }
      .tiny .node.stranded { --hatch: 26px; background-image: repeating-linear-gradient(135deg, color-mix(in srgb, var(--dead) 45%, var(--bg)) 0 var(--hatch), transparent var(--hatch) calc(2 * var(--hatch))); }
      .hostless { display: inline-flex; gap: 4px; align-items: center; flex: none; padding: 0 6px; border-radius: 5px; border: 1.5px dashed var(--dead); color: var(--dead); background: var(--bg); font-size: 11px; font-weight: 600; line-height: 1.45; white-space: nowrap; }
      .state .hostless { margin-left: auto; color: var(--dead); overflow: visible; }
      .brief .state .hostless { font-size: 15px; }
      .tiny .node.stranded.s-dead { background-image: repeating-linear-gradient(135deg, rgb(0 0 0 / 0.3) 0 var(--hatch), transparent var(--hatch) calc(2 * var(--hatch))); }
      .tiny .shapes { display: flex; gap: 16px; }
      .dots .shapes > :not(:first-child) { display: none; }
      .pairs .gone { color: var(--dead); font-weight: 600; }
      .node.s-degraded { border-color: color-mix(in srgb, var(--degraded) 60%, var(--bg)); border-left-color: var(--degraded); }
      @keyframes alarm { from, to { opacity: 0.1; } 50% { opacity: 0.65; } }
      .top { display: flex; align-items: center; gap: 7px; padding: 8px 10px 0; font-size: 14px; font-weight: 600; }
      .state { padding: 1px 10px 0; font-size: 12px; display: flex; gap: 5px; min-width: 0; }
      .state b { color: var(--s); font-weight: 600; white-space: nowrap; }
      .state span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--fg-muted); }
      .s-dead .state b { text-transform: uppercase; letter-spacing: 0.04em; }
      /* A column is as wide as what it says, so that large figures do not run into each other. */
      .figures { display: grid; grid-template-columns: minmax(28%, auto) minmax(28%, auto) auto; justify-content: space-between; gap: 2px 8px; padding: 7px 10px 0; font-variant-numeric: tabular-nums; }
      .figure { min-width: 0; display: grid; }
      .figure small { font-size: 10.5px; color: var(--fg-muted); line-height: 1.2; }
      .figure b { font-size: 13px; font-weight: 600; white-space: nowrap; }
      .batch { padding: 6px 10px 0; display: flex; align-items: center; gap: 7px; font-size: 11px; color: var(--fg-muted); font-variant-numeric: tabular-nums; white-space: nowrap; }
      .bar { flex: 1; height: 5px; border-radius: 3px; background: var(--bg-muted); overflow: hidden; }
      .bar i { display: block; height: 100%; background: var(--accent); border-radius: 3px; }
      .pairs { margin-top: auto; padding: 0 10px 7px; display: flex; gap: 8px; font-size: 10.5px; color: var(--fg-muted); overflow: hidden; white-space: nowrap; }
      .pairs > span { display: inline-flex; gap: 3px; align-items: center; min-width: 0; }
      .why { padding: 5px 10px 0; font-size: 12px; line-height: 1.3; overflow: hidden; display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; }

      .brief .top { font-size: 20px; padding: 8px 10px 0; line-height: 1.15; }
      .brief .state { font-size: 17px; padding: 0 10px; align-items: center; }
      .brief .state .roles { display: inline-flex; gap: 4px; align-items: center; font-size: 14.5px; }
      .brief .why { font-size: 15px; line-height: 1.2; padding: 1px 10px 0; -webkit-line-clamp: 2; flex: none; }
      .brief .s-dead .why { -webkit-line-clamp: 4; overflow-wrap: anywhere; }
      .brief .batch { font-size: 15px; padding: 3px 10px 0; }
      .brief .bar { height: 7px; }
      .brief .figures { grid-template-columns: minmax(20%, auto) minmax(28%, auto) auto; gap: 2px 6px; padding: 4px 10px 0; }
      .brief .figure b { font-size: 18px; line-height: 1.15; }
      .brief .figure small { font-size: 14px; }
      .brief .flow { font-size: 18px; }
      .brief .kind { display: none; }
      .short .top { font-size: 26px; gap: 8px; align-items: flex-start; }
      .short .top .cut { white-space: normal; overflow-wrap: anywhere; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
      .short .state { font-size: 23px; padding-top: 3px; }
      .short .state .hostless { font-size: 22px; }
      .short .both { padding: 3px 10px 0; display: flex; gap: 16px; font-size: 23px; color: var(--fg-muted); font-variant-numeric: tabular-nums; white-space: nowrap; }
      .short .both b { font-weight: 600; color: var(--fg); }
      .short .flow { font-size: 25px; }
      .short .node .lately { font-size: 21px; }
      .short .node.lately .both { visibility: hidden; }
      .tiny .node { border-left-width: 22px; border-radius: 20px; background: color-mix(in srgb, var(--s) 22%, var(--bg)); align-items: center; justify-content: center; }
      .tiny .node .name { font-size: 44px; font-weight: 600; line-height: 1.05; max-width: 96%; overflow: hidden; overflow-wrap: anywhere; max-height: 2.1em; text-align: center; }
      .tiny .node.s-dead { background: var(--dead); color: var(--bg); box-shadow: 0 0 0 16px color-mix(in srgb, var(--dead) 40%, transparent); --on-state: var(--dead); }
      .tiny .node.s-dead .glyph { color: var(--bg); }
      .dots .node .name { position: absolute; clip-path: inset(50%); }
      .tiny .edge { stroke-width: 4; }
      .tiny .edge.moving { display: none; }
      .scalebar { font-size: 12px; min-width: 44px; text-align: center; font-variant-numeric: tabular-nums; color: var(--fg-muted); }
      .list { position: absolute; z-index: 2; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.observer = new ResizeObserver(() => {
      if (!this.moved) this.fit();
    });
    void this.updateComplete.then(() => this.observer?.observe(this.stage));
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.observer?.disconnect();
  }

  override willUpdate(changed: PropertyValues): void {
    if (!changed.has("view")) return;
    const shape = shapeOf(this.view.nodes, this.view.flows);
    if (shape === this.shape) return;
    this.shape = shape;
    this.placed = place(this.view.nodes, this.view.flows);
    this.moved = false;
  }

  override firstUpdated(): void {
    this.stage.addEventListener("wheel", this.wheel, { passive: false });
    this.fit();
  }

  override updated(changed: PropertyValues): void {
    if (changed.has("selected") && this.selected) this.show(this.selected);
  }

  /** Shows the whole graph. */
  fit(): void {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height || !this.placed.width) return;
    const scale = Math.min(width / this.placed.width, (height - TOOLS) / (this.placed.height - MARGIN), 1.1);
    this.scale = Math.max(SMALLEST, scale);
    this.x = (width - this.placed.width * this.scale) / 2;
    const middle = (height - this.placed.height * this.scale) / 2;
    this.y = Math.max(middle, TOOLS - MARGIN * this.scale);
    this.moved = false;
  }

  /** Moves a node into sight, where it is out of it. */
  show(index: number, center = false): void {
    const at = this.placed.nodes.get(index);
    if (!at || !this.stage) return;
    const left = at.x * this.scale + this.x;
    const top = at.y * this.scale + this.y;
    const inside =
      left >= 0 &&
      top >= 0 &&
      left + NODE_WIDTH * this.scale <= this.stage.clientWidth &&
      top + NODE_HEIGHT * this.scale <= this.stage.clientHeight;
    if (inside && !center) return;
    this.moved = true;
    this.x = this.stage.clientWidth / 2 - (at.x + NODE_WIDTH / 2) * this.scale;
    this.y = this.stage.clientHeight / 2 - (at.y + NODE_HEIGHT / 2) * this.scale;
  }

  private zoom(factor: number, cx = this.stage.clientWidth / 2, cy = this.stage.clientHeight / 2): void {
    const scale = Math.min(LARGEST, Math.max(SMALLEST, this.scale * factor));
    this.x = cx - ((cx - this.x) * scale) / this.scale;
    this.y = cy - ((cy - this.y) * scale) / this.scale;
    this.scale = scale;
    this.moved = true;
  }

  private wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    if (event.shiftKey) {
      this.x -= event.deltaY + event.deltaX;
      this.moved = true;
      return;
    }
    this.zoom(Math.exp(-event.deltaY / 500), event.clientX - box.left, event.clientY - box.top);
  };

  private grab = (event: PointerEvent): void => {
    if (event.button !== 0 || (event.target as HTMLElement).closest(".node")) return;
    const stage = this.stage;
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("drag");
    let { clientX, clientY } = event;
    const move = (next: PointerEvent) => {
      this.x += next.clientX - clientX;
      this.y += next.clientY - clientY;
      ({ clientX, clientY } = next);
      this.moved = true;
    };
    const drop = () => {
      stage.classList.remove("drag");
      stage.removeEventListener("pointermove", move);
    };
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", drop, { once: true });
    stage.addEventListener("pointercancel", drop, { once: true });
  };

  /** Arrows go to the nearest node in their direction, + - 0 zoom. */
  private key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.fit();
    else if (event.key.startsWith("Arrow")) {
      const node = (event.target as HTMLElement).closest<HTMLElement>(".node");
      if (!node) return;
      const next = this.neighbour(Number(node.dataset.index), event.key);
      if (next) {
        this.show(next);
        this.renderRoot
          .querySelector<HTMLElement>(`.node[data-index="${next}"]`)
          ?.focus({ preventScroll: true });
      }
    } else return;
    event.preventDefault();
  };

  private neighbour(index: number, key: string): number {
    const from = this.placed.nodes.get(index);
    if (!from) return 0;
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    for (const [other, at] of this.placed.nodes) {
      const dx = at.x - from.x;
      const dy = at.y - from.y;
      const [along, across] =
        key === "ArrowRight"
          ? [dx, dy]
          : key === "ArrowLeft"
            ? [-dx, dy]
            : key === "ArrowDown"
              ? [dy, dx]
              : [-dy, dx];
      if (along <= 1) continue;
      const far = along + 2 * Math.abs(across);
      if (far < least) [best, least] = [other, far];
    }
    return best;
  }

  private pick(index: number): void {
    this.dispatchEvent(new CustomEvent("pick", { detail: index, bubbles: true, composed: true }));
  }

  private found(): NodeView[] {
    const wanted = this.search.trim().toLowerCase();
    if (!wanted) return [];
    return this.view.nodes.filter(
      (node) =>
        node.name.toLowerCase().includes(wanted) ||
        node.state.includes(wanted) ||
        node.pairs.some((p) => p.host.toLowerCase().includes(wanted)),
    );
  }

  private find = (event: KeyboardEvent): void => {
    if (event.key === "Escape") this.search = "";
    if (event.key !== "Enter") return;
    const found = this.found();
    const at = found.findIndex((node) => node.index === this.selected);
    const next = found[(at + 1) % found.length];
    if (!next) return;
    if (this.scale < BRIEF) this.zoom(BRIEF / this.scale);
    this.pick(next.index);
    this.show(next.index, true);
  };

  private worst = (): void => {
    const [node] = this.view.nodes
      .filter((n) => troubled(n.state))
      .sort((a, b) => severity(a.state) - severity(b.state));
    if (!node) return;
    if (this.scale < BRIEF) this.zoom(BRIEF / this.scale);
    this.pick(node.index);
    this.show(node.index, true);
  };

  override render() {
    const detail = detailAt(this.scale);
    const found = this.found();
    const hits = new Set(found.map((node) => node.index));
    const dead = deadHosts(this.view);
    const host = this.host ? this.view.hosts?.find((one) => one.name === this.host) : undefined;
    const off = new Set(host ? this.view.nodes.filter((n) => !isOn(n, host)).map((n) => n.index) : []);
    const troubles = this.view.nodes.filter((node) => troubled(node.state)).length;
    const dots = detail === "tiny" && this.scale < 0.17;
    return html`
      <div class="tools">
        <input type="search" placeholder="Find node, host or state" aria-label="Find a node by name, host or state"
          .value=${this.search} @keydown=${this.find}
          @input=${(e: Event) => {
            this.search = (e.target as HTMLInputElement).value;
          }} />
        ${this.search ? html`<span class="small muted" role="status">${plural(found.length, "node")}${found.length ? ", Enter goes to the next" : ""}</span>` : nothing}
        ${troubles ? html`<button class="danger" @click=${this.worst}>Go to trouble (${troubles})</button>` : nothing}
        <span class="grow"></span>
        <button class="icon" aria-label="Zoom out" title="Zoom out (-)" @click=${() => this.zoom(0.8)}>−</button>
        <span class="scalebar" aria-hidden="true">${Math.round(this.scale * 100)} %</span>
        <button class="icon" aria-label="Zoom in" title="Zoom in (+)" @click=${() => this.zoom(1.25)}>+</button>
        <button title="Show the whole graph (0)" @click=${() => this.fit()}>Fit</button>
      </div>
      <div class=${`stage ${detail}${dots ? " dots" : ""}${detail === "short" ? " brief" : ""}`} @pointerdown=${this.grab} @keydown=${this.key} role="group"
        aria-label="Graph of ${plural(this.view.nodes.length, "node")}; arrow keys go from node to node, plus and minus zoom">
        <div class="world" style=${`transform:translate(${this.x}px,${this.y}px) scale(${this.scale});width:${this.placed.width}px;height:${this.placed.height}px`}>
          <svg class="edges" width=${this.placed.width} height=${this.placed.height} aria-hidden="true">
            ${this.view.flows.map((flow, at) => this.edge(flow, at))}
          </svg>
          ${detail === "tiny" ? nothing : this.view.flows.map((flow, at) => this.label(flow, at))}
          ${repeat(
            this.view.nodes,
            (node) => node.index,
            (node) =>
              this.node(
                node,
                detail,
                dots,
                off.has(node.index) || (!!this.search.trim() && !hits.has(node.index)),
                dead,
              ),
          )}
        </div>
      </div>
    `;
  }

  private edge(flow: FlowView, at: number) {
    const points = this.placed.edges[at]?.points ?? [];
    const end = points[points.length - 1];
    if (!end) return nothing;
    const target = this.view.nodes.find((node) => node.index === flow.target);
    const stuck = target?.state === "dead";
    const flows = !stuck && (flow.requests_per_second ?? 0) > 0;
    const kind = `${flow.kind}${flows ? " flows" : ""}${stuck ? " stuck" : ""}`;
    const path = curve([...points.slice(0, -1), { x: end.x - 8, y: end.y }]);
    return svg`<path class="edge ${kind}" d=${path}/>
      ${flows && this.view.nodes.length <= 60 ? svg`<path class="edge moving" d=${path}/>` : nothing}
      <path class="tip ${kind}" d="M${end.x - 10} ${end.y - 6}L${end.x} ${end.y}l-10 6z"/>`;
  }

  private label(flow: FlowView, at: number) {
    const point = this.placed.edges[at]?.label;
    if (!point) return nothing;
    return html`<div class="flow" style=${`left:${point.x}px;top:${point.y}px`}>
      ${flow.requests_per_second == null ? nothing : html`<b>${rate(flow.requests_per_second)}/s</b>`}
      <span class="kind">${flow.kind}${flow.label ? html` · ${flow.label}` : nothing}</span>
    </div>`;
  }

  private node(node: NodeView, detail: Detail, dots: boolean, faded: boolean, dead: Set<string>) {
    const at = this.placed.nodes.get(node.index);
    if (!at) return nothing;
    const gone = stranded(node, dead);
    const past = lately(node);
    const said = past ? `. It ${headline(past, this.now)}: ${course(past)}` : "";
    return html`<button
      class=${classMap({
        node: true,
        [`s-${node.state}`]: true,
        selected: node.index === this.selected,
        faded,
        stranded: gone.length > 0,
        lately: past !== null,
      })}
      style=${`left:${at.x}px;top:${at.y}px`}
      data-index=${node.index}
      aria-pressed=${node.index === this.selected}
      title=${detail === "full" && !past ? nothing : `${node.name}: ${look(node.state).word}${node.reason ? `, ${gist(node.reason)}` : ""}${said}`}
      @click=${() => this.pick(node.index)}
    >
      ${detail === "tiny" ? html`<span class="shapes">${glyph(node.state, dots ? 92 : 52)}${gone.length ? rack(true, 52) : nothing}</span><span class="name">${node.name}</span><span class="sr">${gone.length ? "a host of it is dead, " : nothing}${look(node.state).word}</span>` : html`${detail === "full" ? this.full(node, gone) : detail === "brief" ? this.brief(node, gone) : this.short(node, gone)}${strip(node, this.now)}`}
    </button>`;
  }

  private state(node: NodeView, reason: string, gone: PairView[], brief = false) {
    const since =
      node.since != null && node.state !== "ready" && node.state !== "undeployed" && !(brief && gone.length)
        ? `for ${span(this.now - node.since)}`
        : "";
    return html`<span class="state"><b>${look(node.state).word}</b> <span>${since}${since && reason ? ": " : ""}${reason}</span>${mark(gone, brief ? 15 : 12)}</span>`;
  }

  // A button holds text alone, so everything in it is a span; its name is what can be read in it.
  private full(node: NodeView, gone: PairView[]) {
    const { batch } = node;
    const silent = node.requests_per_second == null;
    const wanted = node.declared?.batch;
    const declared = wanted === undefined ? "" : `, batch ${wanted < 0 ? `dynamic ${-wanted}` : wanted}`;
    return html`
      <span class="top">${glyph(node.state, 18)}<span class="grow cut">${node.name}</span> ${node.drift.length ? html`<span class="small muted" title=${node.drift.join("; ")}>≠ declared</span>` : nothing}</span>
      ${this.state(node, node.state === "dead" ? "" : reasonOf(node), gone)}
      ${
        node.state === "dead" || silent
          ? html`<span class="why">${node.state === "dead" ? reasonOf(node) || "It serves nothing." : node.state === "undeployed" ? `${node.image}${declared}` : node.state === "unknown" ? "No figures: its agent does not answer." : "No figures: its proxy does not answer."}</span>`
          : html`<span class="figures">${figure("requests/s", rate(node.requests_per_second))} ${figure("p95", shortMs(node.p95_ms))} ${figure("run · queue", `${count(node.running)} · ${count(node.queued)}`)}</span>
          ${batch ? html`<span class="batch"><span>${batched(batch)}${batch.dynamic ? " dyn" : ""}</span>${bar(batch.fill)}</span>` : nothing}`
      }
      <span class="pairs">${node.pairs.slice(0, 3).map((pair) => html`<span class=${gone.includes(pair) ? "gone" : ""}>${gone.includes(pair) ? rack(true, 10) : glyph(pair.state, 10)}<span class="cut">${pair.role}${pair.host ? ` ${pair.host}` : ""}${gone.includes(pair) ? " dead" : ""}</span></span> `)}${node.pairs.length > 3 ? html`<span>+${node.pairs.length - 3}</span>` : nothing}</span>
    `;
  }

  private brief(node: NodeView, gone: PairView[]) {
    const { batch } = node;
    // There is little room: the number of a process that is gone helps nobody at a glance.
    const why = troubled(node.state)
      ? reasonOf(node)
          .replace(/ \(pid \d+\)/, "")
          .replace(/^the model of (?!its )\S+/, "its model")
      : "";
    return html`
      <span class="top">${glyph(node.state, 24)}<span class="grow cut">${node.name}</span></span>
      ${why ? this.state(node, "", gone, true) : node.reason ? this.state(node, reasonOf(node), gone, true) : html`<span class="state"><b>${look(node.state).word}</b><span class="grow"></span>${gone.length ? mark(gone, 15) : this.roles(node)}</span>`}
      ${why ? html`<span class="why">${why}</span>` : nothing}
      ${node.state === "undeployed" ? html`<span class="why">${node.image}${node.declared ? `, batch ${node.declared.batch}` : ""}</span>` : nothing}
      ${
        node.requests_per_second == null
          ? nothing
          : html`<span class="figures">${figure("req/s", rate(node.requests_per_second))} ${figure("p95", shortMs(node.p95_ms))} ${figure("run · queue", `${count(node.running)} · ${count(node.queued)}`)}</span>
          ${batch && !why ? html`<span class="batch"><span>${batched(batch)}</span>${bar(batch.fill)}</span>` : nothing}`
      }
    `;
  }

  private short(node: NodeView, gone: PairView[]) {
    return html`
      <span class="top">${glyph(node.state, 30)}<span class="grow cut">${node.name}</span></span>
      <span class="state"><b>${look(node.state).word}</b>${mark(gone, 22)}</span>
      ${node.requests_per_second == null ? nothing : html`<span class="both"><b>${rate(node.requests_per_second)}/s</b> <span>${node.state === "busy" ? `${count(node.queued)} queued` : node.p95_ms == null ? "" : shortMs(node.p95_ms)}</span></span>`}
    `;
  }

  /** Who holds the node up: its host, or its pairs where there are several. */
  private roles(node: NodeView) {
    const { pairs } = node;
    if (pairs.length < 2)
      return html`<span class="roles"><span class="cut">${pairs[0]?.host ?? ""}</span></span>`;
    return html`<span class="roles" title=${pairs.map((pair) => `${pair.role} ${pair.host}`).join(", ")}>
      ${pairs.slice(0, 2).map((pair) => html`${glyph(pair.state, 13)}<span>${pair.role}</span> `)}${pairs.length > 2 ? html`<span>+${pairs.length - 2}</span>` : nothing}</span>`;
  }
}

/** Why the node is as it is, without the role of the only pair that it has. */
function reasonOf(node: NodeView): string {
  const why = gist(node.reason);
  return node.pairs.length > 1 ? why : why.replace(/^primary: /, "");
}

function detailAt(scale: number): Detail {
  if (scale >= BRIEF) return "full";
  if (scale >= SHORT) return "brief";
  return scale >= TINY ? "short" : "tiny";
}

function batched(batch: BatchView): string {
  return batch.mean === null
    ? `batch limit ${batch.limit}`
    : `batch ${decimal(batch.mean)} of ${batch.limit}`;
}

function bar(fill: number | null) {
  return html`<span class="bar"><i style=${`width:${Math.round(100 * Math.min(1, fill ?? 0))}%`}></i></span>`;
}

function figure(name: string, value: string) {
  return html`<span class="figure"><small>${name}</small> <b>${value}</b></span>`;
}
