/** All about one node. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import type { Api } from "./api";
import { declaredWords } from "./batch-editor";
import { customElement } from "./element";
import { bytes, count, moment, ms, percent, rate, shortMs, span } from "./format";
import { rack } from "./hosts";
import { gist, told } from "./reason";
import { badge, glyph, look } from "./states";
import { shared } from "./styles";
import { note } from "./trouble";
import type { GraphEvent, HostView, NodeView, PairView } from "./types";
import "./batch-editor";
import "./events";
import "./node-charts";
import "./node-log";

const PARTS = {
  charts: "Charts",
  batching: "Batching",
  events: "Events",
  log: "Log",
  details: "Details",
} as const;
type Part = keyof typeof PARTS;

@customElement("hogar-node-panel")
export class HogarNodePanel extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) node!: NodeView;
  @property({ type: Number }) now = 0;
  @property({ type: Number }) at = 0;
  /** Those of the engine; empty where it has the agent's own alone. */
  @property({ attribute: false }) hosts: HostView[] = [];
  @property({ attribute: false }) events: GraphEvent[] = [];
  @property() section = "";
  @property({ type: Boolean, reflect: true }) closable = false;
  @state() private version = 0;

  static override styles = [
    shared,
    css`
      :host { background: var(--bg); min-height: 0; }
      header { padding: 12px 14px 8px; display: grid; grid-template-columns: minmax(0, 1fr); gap: 8px; }
      .title { display: flex; gap: 8px; align-items: flex-start; }
      .title .wrap { gap: 2px 8px; min-height: 32px; }
      h3 { font-size: 16px; min-width: 0; overflow-wrap: anywhere; }
      .why { font-size: 13px; }
      .why.bad { border-color: var(--dead); }
      .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)); gap: 8px; padding: 2px 0 4px; }
      .facts dt { font-size: 11px; color: var(--fg-muted); }
      .facts dd { font-size: 14px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
      .pairs { display: grid; gap: 4px; }
      .pair { display: grid; grid-template-columns: 14px 76px minmax(0, max-content) 1fr; gap: 8px; align-items: center; font-size: 12px; }
      .pair.placed { grid-template-columns: 14px 60px minmax(0, max-content) minmax(0, max-content) 1fr; }
      .on { display: inline-flex; gap: 5px; align-items: center; min-width: 0; }
      .gone { color: var(--dead); white-space: nowrap; }
      [role="tablist"] { display: flex; border-bottom: 1px solid var(--border); padding: 0 6px; position: sticky; top: 0; background: var(--bg); z-index: 1; overflow-x: auto; }
      [role="tab"] { border: 0; background: none; border-radius: 0; border-bottom: 2px solid transparent; padding: 6px 9px; min-height: 34px; color: var(--fg-muted); }
      [role="tab"][aria-selected="true"] { color: var(--fg); border-bottom-color: var(--accent); font-weight: 600; }
      [role="tab"]:focus-visible { outline-offset: -3px; }
      .body { padding: 12px 14px 20px; }
      .about { display: grid; grid-template-columns: 110px 1fr; gap: 6px 12px; font-size: 13px; }
      .about dt { color: var(--fg-muted); }
      .about dd { overflow-wrap: anywhere; }
      .drift li { padding: 2px 0; }
    `,
  ];

  private open(part: Part): void {
    this.dispatchEvent(new CustomEvent("part", { detail: part === "charts" ? "" : part }));
  }

  private key = (event: KeyboardEvent): void => {
    const parts = Object.keys(PARTS) as Part[];
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = parts[(parts.indexOf(this.shown) + step + parts.length) % parts.length]!;
    this.open(next);
    event.preventDefault();
    void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>(`#part-${next}`)?.focus());
  };

  private get shown(): Part {
    return this.section in PARTS ? (this.section as Part) : "charts";
  }

  override render() {
    const { node } = this;
    const serves = node.requests_per_second != null;
    return html`
      <header>
        <div class="title"><div class="row wrap grow"><h3>${node.name}</h3>${badge(node.state)}${node.since != null ? html`<span class="small muted cut">for ${span(this.now - node.since)}, since ${moment(node.since)}</span>` : nothing}</div>
          ${this.closable ? html`<button class="quiet icon" aria-label="Close ${node.name}" @click=${() => this.dispatchEvent(new CustomEvent("close-panel"))}>✕</button>` : nothing}</div>
        ${node.reason ? html`<div class="note ${node.state === "dead" ? "bad" : ""} why">${glyph(node.state, 16)}<div class="grow">${told(node.reason)}</div></div>` : nothing}
        ${note(node, this.now)}
        ${
          serves
            ? html`<dl class="facts">
              ${this.fact("requests/s", rate(node.requests_per_second))}${this.fact("errors/s", rate(node.errors_per_second))}
              ${this.fact("p50", shortMs(node.p50_ms))}${this.fact("p95", shortMs(node.p95_ms))}${this.fact("p99", shortMs(node.p99_ms))}
              ${this.fact("queued", count(node.queued))}${this.fact("running", count(node.running))}${this.fact("cpu", percent(node.cpu))}${this.fact("memory", bytes(node.memory))}
            </dl>`
            : html`<p class="small muted">${node.state === "undeployed" ? "It is declared and not deployed: there are no figures." : `No figures at present: its ${node.state === "unknown" ? "agent" : "proxy"} does not answer.`}</p>`
        }
        ${node.pairs.length ? html`<div class="pairs">${node.pairs.map((pair) => this.pair(pair))}</div>` : nothing}
      </header>
      <div role="tablist" aria-label="About ${node.name}" @keydown=${this.key}>
        ${(Object.keys(PARTS) as Part[]).map((part) => html`<button role="tab" id="part-${part}" aria-controls="part" aria-selected=${part === this.shown} tabindex=${part === this.shown ? 0 : -1} @click=${() => this.open(part)}>${PARTS[part]}${part === "details" && node.drift.length ? html` <span title="What runs differs from what is declared">≠</span>` : nothing}</button>`)}
      </div>
      <div class="body" role="tabpanel" id="part" aria-labelledby="part-${this.shown}">${this.body()}</div>
    `;
  }

  private fact(name: string, value: string) {
    return html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  }

  private pair(pair: PairView) {
    const host = this.hosts.find((one) => one.name === pair.host);
    if (host) {
      return html`<div class="pair placed" title=${gist(pair.reason) || nothing}>${glyph(pair.state, 13)}<b>${pair.role}</b><span class="on">on ${rack(host.dead, 13)} <span class="cut">${host.name}</span>${host.dead ? html` <b class="gone">does not answer</b>` : nothing}</span><span class="mono cut">${pair.address}</span><span class="muted">${look(pair.state).word}</span></div>`;
    }
    return html`<div class="pair" title=${gist(pair.reason) || nothing}>${glyph(pair.state, 13)}<b>${pair.role}</b><span class="mono cut">${pair.address || pair.host}</span><span class="muted">${look(pair.state).word}</span></div>`;
  }

  private body() {
    const { api, dag, node } = this;
    switch (this.shown) {
      case "charts":
        return node.state === "undeployed"
          ? html`<p class="muted small">Charts appear once it runs.</p>`
          : html`<hogar-node-charts .api=${api} .dag=${dag} .node=${node} .events=${this.events} .version=${this.version} ?wide=${!this.closable}></hogar-node-charts>`;
      case "batching":
        return html`<hogar-batch-editor .api=${api} .dag=${dag} .node=${node} @changed=${() => {
          this.version++;
        }}></hogar-batch-editor>
          ${node.state === "undeployed" ? nothing : html`<hogar-node-charts brief style="margin-top:18px" .api=${api} .dag=${dag} .node=${node} .events=${this.events} .version=${this.version}></hogar-node-charts>`}`;
      case "events":
        return html`<hogar-events compact .events=${this.events} .node=${node.name}></hogar-events>`;
      case "log":
        return html`<hogar-node-log .api=${api} .dag=${dag} .node=${node}></hogar-node-log>`;
      case "details":
        return this.details();
    }
  }

  private details() {
    const { node } = this;
    const declared = node.declared;
    return html`
      ${
        node.drift.length
          ? html`<div class="note warn" style="margin-bottom:12px">${glyph("degraded")}<div><b>What runs differs from what UDGL declares</b><ul class="drift">${node.drift.map((line) => html`<li>${line}</li>`)}</ul></div></div>`
          : declared && node.state !== "undeployed" && node.state !== "unknown"
            ? html`<div class="note good" style="margin-bottom:12px">${glyph("ready")}<span>It runs as UDGL declares it.</span></div>`
            : nothing
      }
      <dl class="about">
        <dt>Version</dt><dd>${node.version}</dd>
        <dt>Image</dt><dd class="mono">${node.image}</dd>
        <dt>Stateful</dt><dd>${node.stateful ? (node.pairs.length === 1 ? "yes, without a backup" : "yes: a backup holds its state") : "no"}</dd>
        <dt>Declared batch</dt><dd>${declared ? declaredWords(declared.batch) : "not declared"}</dd>
        ${declared?.more ? html`<dt>Declared besides</dt><dd>${declared.more}</dd>` : nothing}
        <dt>Requests</dt><dd>${count(node.requests)}, ${count(node.errors)} failed</dd>
        <dt>Exits</dt><dd>${node.exits ? `${node.exits} of its processes ended unasked` : "none"}</dd>
        <dt>Event loop lag</dt><dd>${ms(node.lag_ms)}</dd>
        ${node.pairs.map((pair) => html`<dt>${pair.role}</dt><dd>${this.hosts.some((one) => one.name === pair.host) ? `on ${pair.host} · ` : ""}${pair.address || "no address yet"}${this.hosts.length && !pair.proxy_pid ? nothing : html` · ${pair.model_pids.filter(Boolean).length > 1 ? "models" : "model"} ${pair.model_pids.filter(Boolean).join(", ") || "–"} · proxy ${pair.proxy_pid || "–"}`}${pair.reason ? html`<br /><span class="muted">${gist(pair.reason)}</span>` : nothing}</dd>`)}
      </dl>`;
  }
}
