/** What happened, the newest first. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { customElement } from "./element";
import { moment, plural } from "./format";
import { told } from "./reason";
import { glyph, LOOKS } from "./states";
import { shared } from "./styles";
import type { GraphEvent } from "./types";

@customElement("hogar-events")
export class HogarEvents extends LitElement {
  @property({ attribute: false }) events: GraphEvent[] = [];
  /** Of one node only, where it is set. */
  @property() node = "";
  @state() private search = "";

  static override styles = [
    shared,
    css`
      .bar { padding: 10px 14px; display: flex; gap: 10px; align-items: center; }
      ul { display: grid; grid-template-columns: max-content fit-content(220px) max-content 1fr; }
      li { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; gap: 2px 16px; padding: 6px 14px; border-top: 1px solid var(--border); font-size: 13px; align-items: baseline; }
      :host([compact]) ul { grid-template-columns: max-content 1fr; }
      :host([compact]) li { padding: 6px 0; gap: 2px 12px; }
      :host([compact]) .what { grid-column: 2; }
      .change { display: inline-flex; gap: 5px; align-items: baseline; font-size: 12px; color: var(--fg-muted); white-space: nowrap; }
      .change .glyph { position: relative; top: 1.5px; }
      time { color: var(--fg-muted); font-size: 12px; font-variant-numeric: tabular-nums; }
      .what { overflow-wrap: anywhere; }
    `,
  ];

  override render() {
    const wanted = this.search.trim().toLowerCase();
    const all = once(this.events.filter((event) => !this.node || event.node === this.node));
    const shown = all
      .filter((e) => !wanted || `${e.node} ${e.what} ${e.before} ${e.after}`.toLowerCase().includes(wanted))
      .reverse();
    return html`
      ${
        this.node
          ? nothing
          : html`<div class="bar"><input type="search" placeholder="Find in events" aria-label="Find in events" .value=${this.search}
            @input=${(e: Event) => {
              this.search = (e.target as HTMLInputElement).value;
            }} /><span class="small muted">${plural(shown.length, "event")}</span></div>`
      }
      ${
        shown.length
          ? html`<ul>${repeat(
              shown.slice(0, this.node ? 60 : 300),
              (event) => event.number,
              (event) => this.line(event),
            )}</ul>`
          : html`<div class="empty"><p>${all.length ? "No event says that." : "Nothing has happened yet. Starts, deaths, takeovers and changes of batch limits are told here."}</p></div>`
      }
    `;
  }

  private line(event: GraphEvent) {
    const from = event.before in LOOKS;
    const to = event.after in LOOKS;
    return html`<li><time datetime=${new Date(event.at * 1000).toISOString()}>${moment(event.at)}</time>
      ${this.node ? nothing : html`<b class="cut">${event.node || "graph"}</b>`}
      ${event.before || event.after ? html`<span class="change">${from ? glyph(event.before, 11) : nothing}${event.before ? `${event.before} →` : ""} ${to ? glyph(event.after, 11) : nothing}${event.after || "–"}</span>` : this.node ? nothing : html`<span></span>`}
      <span class="what">${told(event.what)}</span></li>`;
  }
}

/** The agent tells what happened, and in the same moment that a state changed for it: one line. */
export function once(events: readonly GraphEvent[]): GraphEvent[] {
  return events.filter((event, at) => {
    if (event.before || event.after) return true;
    const near = events.slice(Math.max(0, at - 3), at + 4);
    return !near.some(
      (other) =>
        other.node === event.node &&
        other.what === event.what &&
        !!(other.before || other.after) &&
        Math.abs(other.at - event.at) < 1.5,
    );
  });
}
