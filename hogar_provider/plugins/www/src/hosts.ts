/** The hosts that nodes are on: which of them answer, and what was on one that does not any more. */

import { css, html, LitElement, nothing, svg, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { customElement } from "./element";
import { clock, plural, span } from "./format";
import { look } from "./states";
import { shared } from "./styles";
import type { GraphView, HostView, NodeView, PairView } from "./types";

/** So many hosts are shown before somebody asks for all of them. */
const MOST = 12;

const cross = "stroke:var(--on-state);stroke-width:4.4;stroke-linecap:round";

/** A machine; one that does not answer is crossed out. The word has to stand beside it. */
export function rack(dead: boolean, size = 14): TemplateResult {
  return html`<svg class="glyph s-${dead ? "dead" : "ready"}" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true">
    <path d="M1.5 2.2h13v4.6h-13zM1.5 9.2h13v4.6h-13z" fill=${dead ? "none" : "currentColor"} stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" />
    ${
      dead
        ? svg`<path d="M2.5 2.5l11 11M13.5 2.5l-11 11" style=${cross} /><path d="M2.5 2.5l11 11M13.5 2.5l-11 11" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />`
        : svg`<path d="M4 4.5h.1M4 11.5h.1" stroke="var(--on-state)" stroke-width="2" stroke-linecap="round" />`
    }
  </svg>`;
}

/** The names of the hosts that do not answer. */
export function deadHosts(view: GraphView): Set<string> {
  return new Set((view.hosts ?? []).filter((host) => host.dead).map((host) => host.name));
}

/** The pairs of a node that are on a host that does not answer. */
export function stranded(node: NodeView, dead: Set<string>): PairView[] {
  return dead.size ? node.pairs.filter((pair) => dead.has(pair.host)) : [];
}

/** Whether the node is on the host, or was before that stopped answering. */
export function isOn(node: NodeView, host: HostView): boolean {
  return host.nodes.includes(node.name) || node.pairs.some((pair) => pair.host === host.name);
}

/** Since when a host does not answer, as a part of a sentence. */
function silence(host: HostView, now: number): string {
  return host.since == null ? "" : ` since ${clock(host.since)}, for ${span(now - host.since)}`;
}

/** What became of a node of a dead host. */
function fate(node: NodeView, dead: Set<string>): string {
  const word = look(node.state).word;
  const now = node.pairs.find((pair) => pair.role === "primary")?.host;
  const elsewhere = now && !dead.has(now) ? ` on ${now}` : "";
  return `${node.name} is ${word}${elsewhere}`;
}

/** What a dead host means for the graph, in a sentence. */
export function loss(view: GraphView, host: HostView, now: number): string {
  const dead = deadHosts(view);
  const nodes = view.nodes.filter((node) => isOn(node, host));
  const front = view.frontend_host === host.name ? " and the graph's frontend" : "";
  const many = nodes.length > 4 ? ", …" : "";
  const what = nodes.length
    ? `${plural(nodes.length, "node")}${front} ${nodes.length === 1 && !front ? "was" : "were"} there: ${nodes
        .slice(0, 4)
        .map((node) => fate(node, dead))
        .join(", ")}${many}`
    : front
      ? "the graph's frontend was there"
      : "no node of this graph was there";
  const why = host.reason ? ` (${host.reason.replace(/\.$/, "")})` : "";
  return `does not answer${silence(host, now)}${why}: ${what}`;
}

/** A mark in a node of the graph whose host does not answer. */
export function mark(gone: PairView[], size: number): TemplateResult | typeof nothing {
  const [first] = gone;
  if (!first) return nothing;
  const primary = gone.some((pair) => pair.role === "primary");
  return html`<span class="hostless" title=${gone.map((pair) => `${pair.role} on ${pair.host}, which does not answer`).join("; ")}>${rack(true, size)} ${primary ? "host dead" : html`<span class="sr">host of its </span>backup<span class="sr"> dead</span>`}</span>`;
}

/** All hosts of a graph's engine; a click on one shows its nodes alone. */
@customElement("hogar-hosts")
export class HogarHosts extends LitElement {
  @property({ attribute: false }) view!: GraphView;
  @property() chosen = "";
  @property({ type: Number }) now = 0;
  @state() private all = false;

  static override styles = [
    shared,
    css`
      ul { display: flex; flex-wrap: wrap; gap: 6px; padding: 7px 14px; border-bottom: 1px solid var(--border); max-height: 124px; overflow: auto; align-items: center; }
      .title { font-size: 12px; color: var(--fg-muted); }
      button { min-height: 28px; padding: 2px 9px; font-size: 12px; gap: 6px; max-width: 100%; }
      button[aria-pressed="true"] { outline: 2px solid var(--accent); outline-offset: 1px; }
      button .n { color: var(--fg-muted); font-weight: 400; }
      .dead { border: 1.5px dashed var(--dead); background: var(--dead-bg); }
      .dead:hover:not(:disabled) { background: var(--dead-bg); border-style: solid; }
      .dead .word { color: var(--dead); font-weight: 600; }
      .dead .n { color: var(--fg); }
    `,
  ];

  private choose(name: string): void {
    this.dispatchEvent(new CustomEvent("host", { detail: name === this.chosen ? "" : name }));
  }

  override render() {
    const hosts = this.view.hosts ?? [];
    if (!hosts.length) return nothing;
    const shown = this.all ? hosts : hosts.filter((host, at) => at < MOST || host.name === this.chosen);
    const more = hosts.length - shown.length;
    return html`<ul aria-label="Hosts of the engine ${this.view.engine ?? ""}">
      <li class="title">${plural(hosts.length, "host")}</li>
      ${shown.map((host) => html`<li>${this.host(host)}</li>`)}
      ${
        more > 0
          ? html`<li><button class="quiet" @click=${() => {
              this.all = true;
            }}>${more} more</button></li>`
          : nothing
      }
      ${this.chosen ? html`<li><button class="quiet" @click=${() => this.choose("")}>Show all nodes</button></li>` : nothing}
    </ul>`;
  }

  private host(host: HostView) {
    const n = this.view.nodes.filter((node) => isOn(node, host)).length;
    const front = this.view.frontend_host === host.name ? ", frontend" : "";
    const word = host.dead
      ? `dead${host.since == null ? "" : ` for ${span(this.now - host.since)}`}`
      : "answers";
    return html`<button class=${host.dead ? "dead" : ""} aria-pressed=${host.name === this.chosen} title=${host.dead ? `${host.name} ${loss(this.view, host, this.now)}` : `Show the nodes on ${host.name} alone`}
      @click=${() => this.choose(host.name)}>${rack(host.dead)}<span class="cut">${host.name}</span> <span class="word">${word}</span> <span class="n">${plural(n, "node")}${front}</span></button>`;
  }
}
