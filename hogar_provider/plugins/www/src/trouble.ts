/** What went wrong at a node a moment ago and is over, or nearly so: a look a second would miss it. */

import { html, nothing, type TemplateResult } from "lit";
import { clock, ms, span } from "./format";
import { glyph } from "./states";
import type { NodeView, Trouble } from "./types";

/** The node's trouble where its state does not show all of it: that has passed, or has got better. */
export function lately(node: NodeView): Trouble | null {
  const { trouble } = node;
  if (!trouble || node.state === "undeployed" || node.state === "unknown") return null;
  if (trouble.ended !== null) return trouble;
  return died(trouble) && node.state !== "dead" && node.state !== "recovering" ? trouble : null;
}

/** Whether a process died on which its requests depend. */
export function died(trouble: Trouble): boolean {
  return trouble.worst === "dead" || trouble.worst === "recovering";
}

function ago(trouble: Trouble, now: number): string {
  return now - trouble.began < 1 ? "just now" : `${span(now - trouble.began)} ago`;
}

/** In one line: what happened, how long ago, and how long it lasted. */
export function headline(trouble: Trouble, now: number): string {
  const what = died(trouble) ? "died" : "was degraded";
  const over = trouble.ended === null ? "" : `, whole after ${ms((trouble.ended - trouble.began) * 1000)}`;
  return `${what} ${ago(trouble, now)}${over}`;
}

/** Why, and what was done about it. */
export function course(trouble: Trouble): string {
  return [trouble.why, ...trouble.steps.map((step) => step.what)].filter(Boolean).join("; ");
}

/** A strip at the foot of a node in the graph. */
export function strip(node: NodeView, now: number): TemplateResult | typeof nothing {
  const trouble = lately(node);
  if (!trouble) return nothing;
  const last = trouble.steps[trouble.steps.length - 1];
  return html`<span class="lately"><b>${headline(trouble, now)}</b> <span>${last ? last.what : trouble.why}</span></span>`;
}

/** A line about one node, for the bar over every view and for its panel. */
export function story(node: NodeView, trouble: Trouble, now: number): TemplateResult {
  const over =
    trouble.ended === null ? "" : ` Whole again after ${ms((trouble.ended - trouble.began) * 1000)}.`;
  return html`<span><b>${node.name}</b> ${died(trouble) ? "died" : "was degraded"} at ${clock(trouble.began)}, ${ago(trouble, now)}: ${course(trouble)}.${over}</span>`;
}

/** In its panel. */
export function note(node: NodeView, now: number): TemplateResult | typeof nothing {
  const trouble = lately(node);
  return trouble
    ? html`<div class="note warn lately">${glyph(trouble.ended === null ? trouble.worst : "ready", 16)}${story(node, trouble, now)}</div>`
    : nothing;
}
