/** The outermost element: which of the views is shown where, and the states around them. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, state } from "lit/decorators.js";
import { Api, apiBase } from "./api";
import { copied } from "./copy";
import { customElement } from "./element";
import { count, plural, rate, span } from "./format";
import { isOn, loss, rack } from "./hosts";
import { LiveGraph } from "./live";
import { dagPage, graphPage } from "./places";
import { gist } from "./reason";
import { type Route, read, VIEWS, type ViewName, write } from "./route";
import { badge, glyph, look, tally, troubled } from "./states";
import { shared, tokens } from "./styles";
import { course, died, lately, story } from "./trouble";
import type { GraphView, NodeView } from "./types";
import "./batching";
import "./events";
import "./graph";
import "./graphs";
import "./node-panel";
import "./requests";
import "./send";
import "./source";
import "./stopping";
import "./training";

/** Two sheets: it copies. */
const SHEETS = html`<svg width="14" height="14" viewBox="0 0 16 16" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.5"><rect x="5.5" y="5.5" width="8.5" height="9" rx="1.5"/><path d="M10.5 5.5V3A1.5 1.5 0 0 0 9 1.5H3.5A1.5 1.5 0 0 0 2 3v6A1.5 1.5 0 0 0 3.5 10.5h2"/></svg>`;

const TITLES: Record<ViewName, string> = {
  graph: "Live graph",
  batching: "Batching",
  training: "Training",
  requests: "Requests",
  events: "Events",
  source: "Source",
  test: "Test request",
};

/** `place` says where the host shows it: `nav`, `dag`, `task` or `dashboard`. */
@customElement("hogar-app")
export class HogarApp extends LitElement {
  @property({ attribute: "dag-id" }) dagId = "";
  @property({ attribute: "task-id" }) taskId = "";
  @property({ attribute: "run-id" }) runId = "";
  @property() place: "nav" | "dag" | "task" | "dashboard" = "dag";
  /** Where the API is, for a page that does not load this module from beside it. */
  @property({ attribute: "api-base" }) apiBase = "";

  @state() private route: Route = read("");
  @state() private now = Date.now() / 1000;
  private live: LiveGraph | null = null;
  private api!: Api;
  private ticker: ReturnType<typeof setInterval> | undefined;
  private painter = new MutationObserver(() => this.themed());
  private spoken = new Map<number, string>();
  /** Whether each host was dead when it was told of last. */
  private silent = new Map<string, boolean>();
  /** Of each node, when the last death began that was told after it. */
  private mourned = new Map<number, number>();
  @state() private announcement = "";
  /** What is said where the address was, for a moment. */
  @state() private clipped = "";

  static override styles = [
    tokens,
    shared,
    css`
      :host { display: flex !important; flex-direction: column; min-height: 0; container-type: inline-size; background: var(--bg); height: 100%; }
      :host([place="nav"]), :host([place="dag"]), :host([place="task"]) { min-height: 440px; }
      :host([place="dashboard"]) { height: auto; }
      :host(:fullscreen) { width: 100vw; height: 100vh; }
      header { display: flex; align-items: center; gap: 6px 14px; padding: 10px 14px; flex-wrap: wrap; border-bottom: 1px solid var(--border); }
      header h2 { display: flex; gap: 8px; align-items: baseline; min-width: 0; }
      header .acts { margin-left: auto; }
      header .version { font-weight: 400; white-space: nowrap; }
      header .url { min-height: 28px; color: var(--fg-muted); min-width: 0; margin-left: -8px; }
      header .figure { font-size: 13px; color: var(--fg-muted); white-space: nowrap; font-variant-numeric: tabular-nums; }
      header .figure b { color: var(--fg); font-weight: 600; }
      header .figure b.bad { color: var(--dead); }
      [role="tablist"] { display: flex; gap: 2px; padding: 0 8px; border-bottom: 1px solid var(--border); overflow-x: auto; flex: none; }
      [role="tab"] { border: 0; border-radius: 0; background: none; min-height: 38px; padding: 6px 12px; color: var(--fg-muted); border-bottom: 2px solid transparent; }
      [role="tab"][aria-selected="true"] { color: var(--fg); border-bottom-color: var(--accent); font-weight: 600; }
      [role="tab"]:focus-visible { outline-offset: -3px; }
      .alone { flex: 1; min-height: 0; overflow: auto; }
      [role="tabpanel"] { flex: 1; min-height: 0; display: flex; flex-direction: column; overflow: auto; }
      .old { filter: saturate(0.2); }
      .both { flex: 1; min-height: 0; display: flex; }
      .both > hogar-graph { flex: 1; min-width: 0; min-height: 260px; }
      .both > hogar-node-panel { width: min(460px, 44%); border-left: 1px solid var(--border); overflow: auto; flex: none; }
      .open-graph { padding: 8px 14px 0; font-size: 13px; }
      @container (max-width: 1240px) { header .url .mono { display: none; } }
      @container (max-width: 1000px) {
        .both > hogar-node-panel { width: 400px; }
      }
      @container (max-width: 780px) {
        .both.open { flex-direction: column; overflow: auto; }
        .both.open > hogar-graph { flex: none; height: 284px; min-height: 0; }
        .both.open + .legend { display: none; }
        .both > hogar-node-panel { width: 100%; border-left: 0; border-top: 1px solid var(--border); overflow: visible; }
      }
      .alarm { display: flex; gap: 4px 12px; align-items: center; padding: 7px 14px; font-size: 13px; font-weight: 500; border-bottom: 1px solid var(--border); }
      .alarm .all { flex: 1; min-width: 0; display: grid; gap: 2px; }
      .alarm .all span { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden; overflow-wrap: anywhere; }
      .alarm.dead { background: #b91c1c; color: #fff; --on-state: #b91c1c; }
      .alarm.dead .glyph { color: #fff; }
      .alarm.dead button { color: #fff; background: transparent; border-color: rgb(255 255 255 / 0.6); min-height: 26px; }
      .alarm.dead button:hover:not(:disabled) { background: rgb(0 0 0 / 0.2); }
      .alarm.warn { background: color-mix(in srgb, var(--recovering) 10%, var(--bg)); }
      .alarm.past { background: color-mix(in srgb, var(--recovering) 10%, var(--bg)); font-weight: 400; }
      .alarm.warn button, .alarm.past button { min-height: 26px; }
      .legend { display: flex; gap: 4px 12px; flex-wrap: wrap; padding: 6px 14px; border-top: 1px solid var(--border); font-size: 12px; color: var(--fg-muted); }
      .legend span { display: inline-flex; gap: 5px; align-items: center; }
      .notes { display: grid; gap: 6px; padding: 8px 14px; }
      .back { background: none; border: 0; padding: 0 4px; min-height: 28px; color: var(--accent-text); }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.api = new Api(this.apiBase || apiBase(import.meta.url));
    this.readRoute();
    window.addEventListener("hashchange", this.readRoute);
    window.addEventListener("popstate", this.readRoute);
    this.themed();
    this.painter.observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["class", "style", "data-theme"],
    });
    this.ticker = setInterval(() => {
      // News brings the time with it; without news, time goes on all the same.
      if (this.live && !document.hidden && this.live.now() - this.now > 1.4) this.now = this.live.now();
    }, 1000);
    this.attach();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.removeEventListener("hashchange", this.readRoute);
    window.removeEventListener("popstate", this.readRoute);
    clearInterval(this.ticker);
    this.painter.disconnect();
    this.detach();
  }

  /** The host's class says which theme is on; charts are painted, and have to be told. */
  private themed(): void {
    const { classList, dataset } = document.documentElement;
    let theme = classList.contains("dark") || dataset.theme === "dark" ? "dark" : "";
    if (!theme && classList.contains("light")) theme = "light";
    // A page without Airflow's frame takes what was chosen in Airflow.
    const chosen = theme || localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") theme = chosen;
    if (theme) this.setAttribute("theme", theme);
    else this.removeAttribute("theme");
    window.dispatchEvent(new Event("hogar-theme"));
  }

  override willUpdate(changed: PropertyValues): void {
    if (changed.has("dagId") || changed.has("route")) this.attach();
  }

  /** The DAG whose graph is shown: the host's, or the one that is open on the page of all graphs. */
  private get dag(): string {
    return this.place === "nav" ? this.route.dag : this.place === "dashboard" ? "" : this.dagId;
  }

  private attach(): void {
    if (!this.isConnected || (this.live?.dag ?? "") === this.dag) return;
    this.detach();
    if (!this.dag) return;
    this.live = new LiveGraph(this.api, this.dag);
    this.live.addEventListener("change", this.changed);
    this.live.start();
  }

  private detach(): void {
    this.live?.removeEventListener("change", this.changed);
    this.live?.stop();
    this.live = null;
    this.spoken.clear();
    this.silent.clear();
    this.mourned.clear();
  }

  private changed = (): void => {
    if (this.live) {
      this.now = this.live.now();
      this.announce();
    }
    this.requestUpdate();
  };

  /** Tells a screen reader what changed for better or worse; figures change without a word. */
  private announce(): void {
    const view = this.live?.view;
    if (!view) return;
    const news: string[] = [];
    for (const host of view.hosts ?? []) {
      const before = this.silent.get(host.name);
      if (host.dead && before === false) news.push(`Host ${host.name} ${loss(view, host, this.now)}`);
      else if (!host.dead && before) news.push(`Host ${host.name} answers again`);
      this.silent.set(host.name, host.dead);
    }
    for (const node of view.nodes) {
      const before = this.spoken.get(node.index);
      if (before && before !== node.state && (troubled(node.state) || troubled(before))) {
        news.push(`${node.name} is ${look(node.state).word}${node.reason ? `: ${gist(node.reason)}` : ""}`);
      }
      this.spoken.set(node.index, node.state);
      const past = lately(node);
      if (past && died(past) && this.mourned.get(node.index) !== past.began) {
        this.mourned.set(node.index, past.began);
        // What was seen dying has been told.
        if (before === node.state) news.push(`${node.name} died and serves: ${course(past)}`);
      }
    }
    if (news.length) this.announcement = `${news.slice(0, 5).join(". ")}.`;
  }

  private readRoute = (): void => {
    this.route = read(location.hash);
  };

  /** Another view makes an entry in the browser's history. */
  private go(part: Partial<Route>): void {
    const next = write({ ...this.route, ...part });
    if (next === location.hash) return;
    // Assigning it keeps the host's router informed, and takes no notice of the page's <base>.
    location.hash = next;
    this.readRoute();
  }

  private pick = (event: CustomEvent<number>): void => {
    this.go({ view: "graph", node: event.detail === this.route.node ? 0 : event.detail });
  };

  private enlarge = (): void => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.requestFullscreen?.().catch(() => {});
  };

  private async copy(address: string): Promise<void> {
    this.clipped = (await copied(address)) ? "Copied" : "Not copied: the browser allows it on https only";
    this.announcement = this.clipped;
    setTimeout(() => {
      this.clipped = "";
    }, 2000);
  }

  private keyTab = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = VIEWS[(VIEWS.indexOf(this.route.view) + step + VIEWS.length) % VIEWS.length]!;
    this.go({ view: next });
    void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>(`#tab-${next}`)?.focus());
    event.preventDefault();
  };

  override render() {
    if (this.place === "dashboard") return html`<hogar-card .api=${this.api}></hogar-card>`;
    if (this.place === "nav" && !this.dag) {
      return html`<hogar-graphs .api=${this.api} .href=${this.hrefOf} @open-graph=${(e: CustomEvent<string>) => this.go({ dag: e.detail, view: "graph", node: 0, host: undefined })}></hogar-graphs>`;
    }
    const { live } = this;
    if (!live) return nothing;
    if (!live.view) return live.error ? this.failed() : this.loading();
    if (this.place === "task") return this.task(live.view);
    return html`${this.head(live.view)} ${this.tabs()} ${this.alarm(live.view)} ${this.notes(live.view)}
      <div role="tabpanel" class=${live.error || live.stale ? "old" : ""} id="panel" aria-labelledby="tab-${this.route.view}" tabindex=${this.route.view === "graph" ? nothing : 0}>${this.body(live.view)}</div>
      <div class="sr" role="status" aria-live="polite">${this.announcement}</div>`;
  }

  private hrefOf = (dag: string): string =>
    location.pathname + location.search + write({ dag, view: "graph", node: 0, part: "" });

  private loading() {
    return html`<div class="pad" role="status" aria-label="The graph is loading" style="display:grid;gap:14px">
      <div class="bones" style="width:40%"></div><div class="bones" style="width:72%"></div><div class="bones" style="height:280px"></div>
    </div>`;
  }

  private failed() {
    const error = this.live!.error!;
    if (error.code === "not_a_hogar_graph") {
      return html`<div class="empty"><h2>Not a HOGAR graph</h2>
        <p>${this.dag ? html`<b>${this.dag}</b> is an ordinary DAG.` : nothing} This page shows the live service of DAGs that come from a UDGL file: their nodes, requests and batches.</p>
        <p>To make one, put a <code>.udgl</code> file into the DAGs folder.</p></div>`;
    }
    return html`<div class="empty" role="alert"><h2>${error.status === 403 ? "You may not see this graph" : "The graph cannot be shown"}</h2>
      <p>${error.message}</p>
      ${error.status === 401 || error.status === 403 ? nothing : html`<p class="small">It is tried again by itself.</p>`}
      <button @click=${() => void this.live?.refresh()}>Try again</button></div>`;
  }

  private head(view: GraphView) {
    const entry = this.throughput(view);
    return html`<header>
      ${this.place === "nav" ? html`<button class="back" @click=${() => this.go({ dag: "", view: "graph", node: 0, host: undefined })}>← All graphs</button>` : nothing}
      <h2><span class="cut">${view.name}</span><span class="muted small version">version ${view.version}</span></h2>
      ${badge(view.state)}
      ${view.engine && view.engine !== "local" ? html`<span class="figure">on <b>${view.engine}</b></span>` : nothing}
      ${
        view.deployed
          ? html`<span class="figure"><b>${rate(entry)}</b> requests/s</span>
            <span class="figure"><b>${count(view.in_graph)}</b> in flight</span>
            <span class="figure" title="What clients got an error for: refused and too late included"><b class=${view.errors_per_second ? "bad" : ""}>${rate(view.errors_per_second)}</b> errors/s</span>`
          : nothing
      }
      ${view.url ? html`<button class="quiet url" aria-label="Copy the address ${view.url}" title=${`Copy ${view.url}: where clients send requests${view.frontend_host ? `. The frontend is on ${view.frontend_host}` : ""}`} @click=${() => void this.copy(view.url)}><span class="mono cut">${view.url}</span>${this.clipped ? html`<span class="small">${this.clipped}</span>` : SHEETS}</button>` : nothing}
      <span class="grow"></span>
      <span class="row acts">${this.place === "nav" ? html`<a class="button" href=${dagPage(this.dag)} title="The DAG: its runs and tasks">Open DAG</a>` : nothing}<button title="Full screen; Escape leaves it" @click=${this.enlarge}>Full screen</button>
      ${view.deployed ? html`<hogar-stopping .api=${this.api} .dag=${this.dag} .view=${view} @done=${() => void this.live?.refresh()}></hogar-stopping>` : nothing}</span>
    </header>`;
  }

  /** What enters the graph: the rate of the nodes that no flow leads to. */
  private throughput(view: GraphView): number | null {
    const targets = new Set(view.flows.map((flow) => flow.target));
    const entries = view.nodes.filter((node) => !targets.has(node.index) && node.requests_per_second != null);
    return entries.length ? entries.reduce((sum, node) => sum + node.requests_per_second!, 0) : null;
  }

  private alarm(view: GraphView) {
    const silent = (view.hosts ?? []).filter((host) => host.dead);
    // What was on a dead host is told with it.
    const alone = view.nodes.filter((node) => !silent.some((host) => isOn(node, host)));
    const dead = alone.filter((node) => node.state === "dead");
    const recovering = alone.filter((node) => node.state === "recovering");
    const past = view.nodes.flatMap((node) => {
      const trouble = lately(node);
      return trouble && died(trouble) ? [{ node, trouble }] : [];
    });
    const line = (node: NodeView) =>
      html`<span><b>${node.name}</b> ${node.since == null ? "is" : "has been"} ${look(node.state).word}${node.since == null ? "" : ` for ${span(this.now - node.since)}`}${node.reason ? `: ${gist(node.reason)}` : ""}</span>`;
    const bar = (nodes: NodeView[], kind: string, name: string) =>
      nodes.length
        ? html`<div class="alarm ${kind}">${glyph(nodes[0]!.state)}<div class="all">${nodes.length > 2 ? html`<b>${plural(nodes.length, "node")} ${name}</b>` : nothing}${nodes.slice(0, 2).map(line)}</div>
            <button @click=${() => this.go({ view: "graph", node: nodes[0]!.index })}>Open ${nodes[0]!.name}</button></div>`
        : nothing;
    return html`${
      silent.length
        ? html`<div class="alarm dead hosts">${rack(true, 18)}<div class="all">${silent.length > 2 ? html`<b>${plural(silent.length, "host")} do not answer</b>` : nothing}${silent.slice(0, 2).map((host) => html`<span>Host <b>${host.name}</b> ${loss(view, host, this.now)}</span>`)}</div>
            <button @click=${() => this.go({ view: "graph", node: 0, host: silent[0]!.name })}>Show its nodes</button></div>`
        : nothing
    }${bar(dead, "dead", "are dead")}${bar(recovering, "warn", "are recovering")}${
      past.length
        ? html`<div class="alarm past">${glyph(past.some(({ trouble }) => trouble.ended === null) ? "recovering" : "ready")} ${past.length > 2 ? html`<b>${plural(past.length, "node")} died and serve again</b>` : nothing} ${past.slice(0, 2).map(({ node, trouble }) => story(node, trouble, this.now))}
            <span class="grow"></span><button @click=${() => this.go({ view: "graph", node: past[0]!.node.index })}>Open ${past[0]!.node.name}</button></div>`
        : nothing
    }`;
  }

  private notes(view: GraphView) {
    const notes: unknown[] = view.warnings.map(
      (text) => html`<div class="note warn">${glyph("degraded")}<span>${text}</span></div>`,
    );
    for (const host of view.hosts ?? []) {
      if (host.reason && !host.dead) {
        notes.push(
          html`<div class="note warn">${rack(false, 16)}<span>Host <b>${host.name}</b>: ${host.reason}</span></div>`,
        );
      }
    }
    if (view.message)
      notes.push(
        html`<div class="note ${view.reachable === false ? "warn" : ""}"><span>${view.message}</span></div>`,
      );
    if (!view.deployed && view.reachable !== false && !view.message) {
      notes.push(
        html`<div class="note"><span>This graph is declared and not deployed. Trigger its DAG to deploy it; its nodes appear here as they start.</span></div>`,
      );
    }
    if (this.live?.error) {
      notes.push(
        html`<div class="note bad" role="alert">${glyph("dead")}<span class="grow">${this.live.error.message} What you see is ${span(this.now - view.at)} old.</span>${this.live.error.status === 401 ? html`<button @click=${() => location.reload()}>Load again</button>` : nothing}</div>`,
      );
    } else if (this.live?.stale) {
      notes.push(
        html`<div class="note warn" role="status">${glyph("degraded")}<span>No news for ${span(this.now - view.at)}: connecting again. What you see may have changed.</span></div>`,
      );
    }
    return notes.length ? html`<div class="notes">${notes}</div>` : nothing;
  }

  private tabs() {
    return html`<div role="tablist" aria-label="Views of the graph" @keydown=${this.keyTab}>
      ${VIEWS.map(
        (
          view,
        ) => html`<button role="tab" id="tab-${view}" aria-selected=${view === this.route.view} aria-controls="panel"
          tabindex=${view === this.route.view ? 0 : -1} @click=${() => this.go({ view })}>${TITLES[view]}</button>`,
      )}
    </div>`;
  }

  private body(view: GraphView) {
    const { api, dag } = this;
    const live = this.live!;
    switch (this.route.view) {
      case "batching":
        return html`<hogar-batching .api=${api} .dag=${dag} .view=${view} @changed=${() => void live.refresh()}></hogar-batching>`;
      case "training":
        return this.training("");
      case "requests":
        return html`<hogar-requests .api=${api} .dag=${dag} .view=${view} @pick=${this.pick}></hogar-requests>`;
      case "events":
        return html`<hogar-events .events=${live.events}></hogar-events>`;
      case "source":
        return html`<hogar-source .api=${api} .dag=${dag} .name=${view.name}></hogar-source>`;
      case "test":
        return html`<hogar-send .api=${api} .dag=${dag} .view=${view}></hogar-send>`;
      case "graph": {
        if (!view.nodes.length) {
          return html`<div class="empty"><h2>No nodes</h2><p>Nothing is known of this graph's nodes yet. They appear as the DAG's run deploys them.</p></div>`;
        }
        const node = view.nodes.find((n) => n.index === this.route.node);
        return html`${view.hosts?.length ? html`<hogar-hosts .view=${view} .chosen=${this.route.host ?? ""} .now=${this.now} @host=${(e: CustomEvent<string>) => this.go({ host: e.detail })}></hogar-hosts>` : nothing}<div class="both ${node ? "open" : ""}">
            <hogar-graph .view=${view} .selected=${node?.index ?? 0} .now=${this.now} .host=${this.route.host ?? ""} @pick=${this.pick}></hogar-graph>
            ${node ? this.panel(node, true) : nothing}
          </div>
          <div class="legend" aria-label="How many nodes are in each state">${tally(view.nodes).map(([state, n]) => html`<span>${glyph(state, 12)}${n} ${look(state).word}</span>`)}
            <span class="grow"></span>${view.deployed ? html`<span>rates of the last 5 s, p95 of the last 30 s</span>` : nothing}</div>`;
      }
    }
  }

  private panel(node: NodeView, closable: boolean) {
    const live = this.live!;
    return html`<hogar-node-panel .api=${this.api} .dag=${this.dag} .node=${node} .now=${this.now} .at=${live.view!.at}
      .events=${live.events} .hosts=${live.view!.hosts ?? []} .section=${this.route.part} .closable=${closable}
      @part=${(e: CustomEvent<string>) => this.go({ part: e.detail, node: closable ? node.index : this.route.node })}
      @close-panel=${() => this.go({ node: 0, part: "" })} @changed=${() => void live.refresh()}></hogar-node-panel>`;
  }

  /** Of one operator, or of all where it is empty. */
  private training(operator: string) {
    return html`<hogar-training .api=${this.api} .dag=${this.dag} .only=${operator} .run=${operator ? this.runId : ""} .choice=${this.route.training ?? {}} .now=${this.now}
      @choose=${(e: CustomEvent<Route["training"]>) => this.go({ view: "training", training: e.detail })}></hogar-training>`;
  }

  private task(view: GraphView) {
    const trained = /^train\.(.+)$/.exec(this.taskId)?.[1];
    if (trained !== undefined) return html`<div class="alone">${this.training(trained)}</div>`;
    const node = nodeOf(view, this.taskId);
    if (!node) {
      return html`${this.head(view)} ${this.alarm(view)} ${this.notes(view)}
        <div class="note" style="margin:10px 14px"><span>This task concerns the whole graph, not one node: here is all of it.</span></div>
        <div class="both">${view.nodes.length ? html`<hogar-graph .view=${view} .now=${this.now} .selected=${this.route.node} @pick=${this.pick}></hogar-graph>` : nothing}
        ${view.nodes.filter((n) => n.index === this.route.node).map((n) => this.panel(n, true))}</div>`;
    }
    return html`${this.notes(view)}<div class="alone"><p class="open-graph"><a href=${graphPage(this.dag, node.index)}>Show it in the graph</a></p>${this.panel(node, false)}</div><div class="sr" role="status" aria-live="polite">${this.announcement}</div>`;
  }
}

/** The node that a task deploys or probes: `deploy.NAME` or `probe.NAME`. */
export function nodeOf(view: GraphView, task: string): NodeView | undefined {
  const name = /^(?:deploy|probe)\.(.+)$/.exec(task)?.[1];
  return name === undefined ? undefined : view.nodes.find((node) => node.name === name);
}
