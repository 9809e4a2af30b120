/** All graphs: as a page, and as a small card. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import type { Api } from "./api";
import { sentence } from "./api";
import { customElement } from "./element";
import { ms, plural, rate } from "./format";
import { rack } from "./hosts";
import { graphPage, graphsPage } from "./places";
import { badge, glyph, severity } from "./states";
import { shared } from "./styles";
import type { GraphSummary, GraphsReply } from "./types";

const PERIOD = 4000;

/** Asks for all graphs again and again while the page is seen. */
abstract class Watching extends LitElement {
  @property({ attribute: false }) api!: Api;
  @state() protected reply: GraphsReply | null = null;
  @state() protected problem = "";
  private timer: ReturnType<typeof setTimeout> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.ask();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  protected ask = async (): Promise<void> => {
    clearTimeout(this.timer);
    if (!document.hidden && this.api) {
      try {
        this.reply = await this.api.graphs();
        this.problem = "";
      } catch (error) {
        this.problem = sentence(error);
      }
    }
    if (this.isConnected) this.timer = setTimeout(() => void this.ask(), PERIOD);
  };
}

@customElement("hogar-graphs")
export class HogarGraphs extends Watching {
  @property({ attribute: false }) href: (dag: string) => string = () => "";
  @state() private search = "";

  static override styles = [
    shared,
    css`
      header { padding: 14px 10px 8px; display: flex; gap: 10px 16px; align-items: center; flex-wrap: wrap; }
      h2 { font-size: 18px; }
      .name { font-weight: 600; }
      tr.dead td { background: var(--dead-bg); }
      .url { max-width: 260px; }
      .host { color: var(--dead); font-weight: 600; }
      .message { max-width: 340px; overflow-wrap: anywhere; }
      .problem { margin: 0 14px 12px; }
    `,
  ];

  override render() {
    const all = this.reply?.graphs ?? [];
    const wanted = this.search.trim().toLowerCase();
    const shown = all
      .filter((g) => !wanted || `${g.name} ${g.dag_id} ${g.state}`.toLowerCase().includes(wanted))
      .sort(
        (a, b) =>
          (b.dead_hosts?.length ?? 0) - (a.dead_hosts?.length ?? 0) ||
          b.nodes_dead - a.nodes_dead ||
          severity(a.state) - severity(b.state) ||
          a.name.localeCompare(b.name),
      );
    const hosts = all.some((graph) => graph.hosts);
    return html`
      <header><h2>HOGAR graphs</h2>
        ${this.reply ? html`<span class="muted small">${plural(up(all).length, "graph")} up${up(all).length < all.length ? `, ${all.length - up(all).length} unknown` : ""}${this.reply.agent ? html` · agent ${this.reply.agent.version}, process ${this.reply.agent.pid}` : nothing}</span>` : nothing}
        <span class="grow"></span>
        ${
          all.length > 6
            ? html`<input type="search" placeholder="Find a graph" aria-label="Find a graph" @input=${(
                e: Event,
              ) => {
                this.search = (e.target as HTMLInputElement).value;
              }} />`
            : nothing
        }
      </header>
      ${this.problem ? html`<div class="note bad problem" role="alert">${glyph("dead")}<span>${this.problem}</span></div>` : nothing}
      ${this.reply?.message ? html`<div class="note problem"><span>${this.reply.message}</span></div>` : nothing}
      ${
        !this.reply
          ? this.problem
            ? nothing
            : html`<div class="pad" role="status" aria-label="The graphs are loading"><div class="bones"></div></div>`
          : !all.length
            ? html`<div class="empty"><h2>No graph is deployed</h2><p>${this.reply.agent ? "" : "No agent runs yet: the first deploy starts one."} Trigger the DAG of a UDGL file, and its service appears here.</p></div>`
            : html`<div class="scroll"><table>
              <thead><tr><th scope="col">Graph</th><th scope="col">State</th><th scope="col" class="right">Nodes</th><th scope="col" class="right">Dead</th>${hosts ? html`<th scope="col">Hosts</th>` : nothing}<th scope="col" class="right">Requests/s</th><th scope="col" class="right">Errors/s</th><th scope="col" class="right">p95</th><th scope="col">Address</th></tr></thead>
              <tbody>${shown.map((graph) => this.line(graph, hosts))}</tbody>
            </table></div>`
      }
    `;
  }

  private line(graph: GraphSummary, hosts: boolean) {
    const open = (event: MouseEvent) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("open-graph", { detail: graph.dag_id }));
    };
    return html`<tr class=${graph.nodes_dead || graph.dead_hosts?.length ? "dead" : ""}>
      <td>${graph.dag_id ? html`<a class="name" href=${this.href(graph.dag_id)} @click=${open}>${graph.name}</a>` : html`<span class="name">${graph.name}</span>`} <span class="muted small">version ${graph.version}${graph.engine && graph.engine !== "local" ? ` on ${graph.engine}` : ""}</span>
        ${graph.orphaned ? html`<span class="small muted" title="It runs, and no DAG declares it any more. Take it down with: earg down ${graph.name}">· orphaned</span>` : nothing}
        ${graph.warnings.length ? html`<span title=${graph.warnings.join("\n")} class="small">⚠ ${plural(graph.warnings.length, "warning")}</span>` : nothing}</td>
      <td>${badge(graph.state)}${graph.message ? html`<div class="small muted message">${graph.message}</div>` : nothing}</td>
      <td class="right">${graph.nodes || "–"}</td><td class="right">${graph.state === "unknown" ? "–" : graph.nodes_dead ? html`<b style="color:var(--dead)">${graph.nodes_dead}</b>` : "0"}</td>
      ${hosts ? html`<td>${this.hosts(graph)}</td>` : nothing}
      <td class="right">${rate(graph.requests_per_second)}</td><td class="right">${rate(graph.errors_per_second)}</td><td class="right">${ms(graph.p95_ms)}</td>
      <td><div class="mono cut url">${graph.url}</div></td>
    </tr>`;
  }

  private hosts(graph: GraphSummary) {
    const dead = graph.dead_hosts ?? [];
    if (!graph.hosts) return nothing;
    if (!dead.length) return html`<span class="row">${rack(false)} ${graph.hosts}</span>`;
    return html`<span class="row host">${rack(true)} ${dead.slice(0, 2).join(", ")}${dead.length > 2 ? ` and ${dead.length - 2} more` : ""} of ${graph.hosts} dead</span>`;
  }
}

/** Those that run, as their agents tell: of the others nothing is known. */
function up(graphs: readonly GraphSummary[]): GraphSummary[] {
  return graphs.filter((graph) => graph.state !== "unknown");
}

/** The names of the hosts that do not answer, of all graphs. */
function silentHosts(graphs: readonly GraphSummary[]): string[] {
  return [...new Set(graphs.flatMap((graph) => graph.dead_hosts ?? []))].sort();
}

@customElement("hogar-card")
export class HogarCard extends Watching {
  static override styles = [
    shared,
    css`
      .card { padding: 12px 16px; display: flex; gap: 8px 28px; align-items: center; flex-wrap: wrap; }
      .big { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.1; }
      .stat { display: flex; gap: 8px; align-items: center; }
      .stat.dead .big { color: var(--dead); }
    `,
  ];

  override render() {
    const graphs = this.reply?.graphs ?? [];
    const dead = graphs.reduce((sum, graph) => sum + graph.nodes_dead, 0);
    const flow = graphs.reduce((sum, graph) => sum + (graph.requests_per_second ?? 0), 0);
    const hosts = graphs.some((graph) => graph.hosts);
    const silent = silentHosts(graphs);
    const running = up(graphs).length;
    const troubled = graphs.filter(
      (graph) =>
        graph.nodes_dead || graph.state === "dead" || graph.state === "unknown" || graph.dead_hosts?.length,
    );
    return html`<section class="card" aria-label="HOGAR graphs">
      <h3><a href=${graphsPage()} title="All HOGAR graphs">HOGAR</a></h3>
      ${
        this.problem
          ? html`<span class="small muted" role="alert">${this.problem}</span>`
          : !this.reply
            ? html`<span class="bones" style="width:140px" role="status" aria-label="Loading"></span>`
            : html`<div class="stat">${glyph(running ? "ready" : "undeployed")}<span class="big">${running}</span><span class="small muted">${running === 1 ? "graph" : "graphs"} up</span></div>
            ${running < graphs.length ? html`<div class="stat">${glyph("unknown")}<span class="big">${graphs.length - running}</span><span class="small muted">unknown</span></div>` : nothing}
            <div class="stat ${dead ? "dead" : ""}">${glyph(dead ? "dead" : "ready")}<span class="big">${dead}</span><span class="small muted">${dead === 1 ? "node" : "nodes"} dead</span></div>
            ${hosts ? html`<div class="stat ${silent.length ? "dead" : ""}" title=${silent.join(", ") || nothing}>${rack(silent.length > 0, 16)}<span class="big">${silent.length}</span><span class="small muted">${silent.length === 1 ? "host" : "hosts"} dead</span></div>` : nothing}
            <div class="stat"><span class="big">${rate(flow)}</span><span class="small muted">requests/s</span></div>
            ${troubled.length ? html`<span class="small">Look at ${troubled.slice(0, 3).map((graph, at) => html`${at ? ", " : ""}${graph.dag_id ? html`<a href=${graphPage(graph.dag_id)}>${graph.name}</a>` : graph.name}`)}${troubled.length > 3 ? html` and <a href=${graphsPage()}>${troubled.length - 3} more</a>` : nothing}</span>` : nothing}`
      }
    </section>`;
  }
}
