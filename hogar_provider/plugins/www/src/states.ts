/** How a state is shown: by a colour, a shape and a word, so that no one of them has to be seen. */

import { html, nothing, svg, type TemplateResult } from "lit";
import type { NodeView, State } from "./types";

interface Look {
  word: string;
  means: string;
  /** Drawn in a box of 16 x 16; `currentColor` is the state's. */
  shape: TemplateResult;
}

const line = "fill:none;stroke:var(--on-state);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round";

export const LOOKS: Record<State, Look> = {
  unknown: {
    word: "unknown",
    means: "its agent does not answer; it may serve all the same",
    shape: svg`<circle cx="8" cy="8" r="7" fill="none" stroke="currentColor" stroke-width="1.6"/><path d="M5.8 6.3a2.2 2.2 0 1 1 3.1 2c-.6.3-.9.7-.9 1.3M8 11.9v.1" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/>`,
  },
  undeployed: {
    word: "not deployed",
    means: "it is declared, and does not run",
    shape: svg`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="1.5 2.5"/>`,
  },
  starting: {
    word: "starting",
    means: "its processes start, or wait to be wired",
    shape: svg`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="7 3"/><circle cx="8" cy="8" r="2" fill="currentColor"/>`,
  },
  ready: {
    word: "ready",
    means: "it serves",
    shape: svg`<circle cx="8" cy="8" r="7" fill="currentColor"/><path d="M5 8.3l2.1 2.1L11.2 6" style=${line}/>`,
  },
  busy: {
    word: "busy",
    means: "it serves, and more waits for it than it can take at once",
    shape: svg`<path d="M8 .6L15.4 8 8 15.4.6 8z" fill="currentColor"/><path d="M5.4 6.2h5.2M5.4 9.8h5.2" style=${line}/>`,
  },
  degraded: {
    word: "degraded",
    means: "it serves without a backup that holds its state, or with fewer replicas than it should",
    shape: svg`<path d="M8 1l7.4 13.6H.6z" fill="currentColor"/><path d="M8 6v3.6M8 12.2v.1" style=${line}/>`,
  },
  recovering: {
    word: "recovering",
    means: "a process of it has died and is being replaced; its requests wait",
    shape: svg`<g><path d="M13.7 8a5.7 5.7 0 1 1-1.8-4.2" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"/><path d="M13.9.9v4.2H9.7z" fill="currentColor"/></g>`,
  },
  dead: {
    word: "dead",
    means: "given up: it serves nothing",
    shape: svg`<path d="M4.9.6h6.2l4.3 4.3v6.2l-4.3 4.3H4.9L.6 11.1V4.9z" fill="currentColor"/><path d="M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4" style=${line}/>`,
  },
  draining: {
    word: "draining",
    means: "the graph takes no new requests",
    shape: svg`<rect x="1" y="1" width="14" height="14" rx="2.5" fill="currentColor"/><path d="M8 4v7M5 8.4l3 3 3-3" style=${line}/>`,
  },
};

export function look(state: string): Look {
  return LOOKS[state as State] ?? { ...LOOKS.undeployed, word: state || "unknown", means: "" };
}

/** The shape alone; the word has to stand beside it or in a label. */
export function glyph(state: string, size = 16): TemplateResult {
  return html`<svg class="glyph s-${state}" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true">${look(state).shape}</svg>`;
}

export function badge(state: string): TemplateResult {
  return html`<span class="badge s-${state}" title=${look(state).means || nothing}>${glyph(state, 14)}<span>${look(state).word}</span></span>`;
}

/** Stands before a hint. */
export const BULB = html`<svg class="bulb" width="14" height="14" viewBox="0 0 16 16" aria-hidden="true"><path d="M5.7 11.2a4.6 4.6 0 1 1 4.6 0v1.3H5.7z" fill="none" stroke="currentColor" stroke-width="1.5"/><path d="M6.2 14.8h3.6" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"/></svg>`;

/** From worst to best: what a person has to look at first. */
const ORDER: State[] = [
  "dead",
  "unknown",
  "recovering",
  "degraded",
  "busy",
  "draining",
  "starting",
  "undeployed",
  "ready",
];

export function severity(state: State): number {
  const at = ORDER.indexOf(state);
  return at < 0 ? ORDER.length : at;
}

/** Whether somebody should look at the node. */
export function troubled(state: string): boolean {
  return state === "dead" || state === "recovering" || state === "degraded";
}

/** How many nodes are in each state, the worst first. */
export function tally(nodes: readonly NodeView[]): [State, number][] {
  const counts = new Map<State, number>();
  for (const node of nodes) counts.set(node.state, (counts.get(node.state) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => severity(a) - severity(b));
}
