/** How one node batches, to be changed while it runs. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { decimal, percent } from "./format";
import { BULB } from "./states";
import { shared } from "./styles";
import type { BatchSetting, BatchView, NodeView } from "./types";

interface Draft {
  limit: number;
  dynamic: boolean;
  wait_ms: number;
  objective_ms: number;
}

/** What an EARG config's batch means. */
export function declaredWords(batch: number): string {
  if (batch === 0) return "one call a request";
  return batch < 0 ? `dynamic, at most ${-batch}` : `static, ${batch}`;
}

function draftOf(batch: BatchView): Draft {
  return {
    // A dynamic limit moves by itself: what a person sets is how far it may go.
    limit: batch.dynamic ? batch.most : batch.limit,
    dynamic: batch.dynamic,
    wait_ms: batch.wait_ms,
    objective_ms: batch.objective_ms,
  };
}

@customElement("hogar-batch-editor")
export class HogarBatchEditor extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) node!: NodeView;
  @state() private draft: Draft = { limit: 1, dynamic: false, wait_ms: 0, objective_ms: 0 };
  @state() private touched = false;
  @state() private working = false;
  @state() private said = "";
  @state() private failed = false;
  private reach = 64;

  static override styles = [
    shared,
    css`
      form { display: grid; gap: 10px; }
      .field { display: grid; grid-template-columns: 104px 1fr; gap: 8px 10px; align-items: center; }
      .slide { display: flex; gap: 10px; align-items: center; min-width: 0; }
      .slide input[type="range"] { flex: 1; min-width: 60px; }
      input[type="number"] { width: 92px; }
      .choice { display: inline-flex; justify-self: start; border: 1px solid var(--border-strong); border-radius: 6px; overflow: hidden; }
      .choice label { padding: 5px 12px; cursor: pointer; position: relative; }
      .choice label + label { border-left: 1px solid var(--border-strong); }
      .choice input { position: absolute; opacity: 0; }
      .choice label:has(:checked) { background: var(--bg-muted); font-weight: 600; box-shadow: inset 0 -2px 0 var(--accent); }
      .choice label:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: -2px; }
      .fill { display: flex; gap: 8px; align-items: center; font-size: 12px; color: var(--fg-muted); font-variant-numeric: tabular-nums; }
      .bar { flex: 1; height: 7px; border-radius: 4px; background: var(--bg-muted); overflow: hidden; }
      .bar i { display: block; height: 100%; background: var(--accent); }
    `,
  ];

  override willUpdate(changed: PropertyValues): void {
    if (!changed.has("node") || !this.node.batch) return;
    const before = changed.get("node") as NodeView | undefined;
    if (before?.index !== this.node.index) {
      this.touched = false;
      this.said = "";
      const { limit, most, declared } = this.node.batch;
      this.reach = Math.max(64, 2 * limit, 2 * most, 2 * Math.abs(declared ?? 0));
    }
    if (!this.touched && !this.working) this.draft = draftOf(this.node.batch);
  }

  private edit(part: Partial<Draft>): void {
    this.draft = { ...this.draft, ...part };
    this.touched = true;
    this.said = "";
  }

  private get wrong(): string {
    const { limit, wait_ms, objective_ms } = this.draft;
    if (!Number.isInteger(limit) || limit < 1) return "The limit has to be a whole number, at least 1.";
    if (!(wait_ms >= 0 && wait_ms <= 60_000)) return "The wait has to be between 0 and 60000 ms.";
    if (!(objective_ms >= 0 && objective_ms <= 86_400_000))
      return "The objective has to be between 0 ms and 24 h.";
    return "";
  }

  private async put(setting: BatchSetting, done: (batch: BatchView) => string): Promise<void> {
    this.working = true;
    this.said = "";
    try {
      const batch = await this.api.setBatching(this.dag, this.node.index, setting);
      this.failed = false;
      this.touched = false;
      this.draft = draftOf(batch);
      this.said = done(batch);
      this.dispatchEvent(new CustomEvent("changed", { bubbles: true, composed: true }));
    } catch (error) {
      this.failed = true;
      this.said = sentence(error);
    } finally {
      this.working = false;
    }
  }

  private apply = (event: Event): void => {
    event.preventDefault();
    if (this.wrong || !this.touched) return;
    const was = draftOf(this.node.batch!);
    const setting: BatchSetting = {};
    if (this.draft.limit !== was.limit) setting.limit = this.draft.limit;
    if (this.draft.dynamic !== was.dynamic)
      Object.assign(setting, { dynamic: this.draft.dynamic, limit: this.draft.limit });
    if (this.draft.wait_ms !== was.wait_ms) setting.wait_ms = this.draft.wait_ms;
    if (this.draft.objective_ms !== was.objective_ms) setting.objective_ms = this.draft.objective_ms;
    if (!Object.keys(setting).length) {
      this.touched = false;
      return;
    }
    void this.put(
      setting,
      (batch) =>
        `Set. ${batch.dynamic ? `Dynamic, at most ${batch.most}` : `Limit ${batch.limit}`}, from the next batch on.`,
    );
  };

  override render() {
    const batch = this.node.batch;
    if (!batch)
      return html`<p class="small muted">How it batches can be seen and changed once it is deployed.</p>`;
    const { draft, wrong } = this;
    const number = (event: Event) => (event.target as HTMLInputElement).valueAsNumber;
    const drifted =
      batch.declared !== null &&
      (batch.dynamic !== batch.declared < 0 ||
        (!batch.dynamic && batch.limit !== Math.max(1, batch.declared)) ||
        (batch.dynamic && batch.most !== -batch.declared));
    const changed =
      drifted || batch.wait_ms !== 0 || batch.objective_ms !== 0 || !["", "config"].includes(batch.set_by);
    return html`<form @submit=${this.apply} novalidate aria-label="Batching of ${this.node.name}">
      <div class="fill"><span>${batch.mean === null ? "no batch in the last 30 s" : `batches of ${decimal(batch.mean)}, ${percent(batch.fill)} of ${batch.limit}`}</span><span class="bar"><i style="width:${Math.round(100 * Math.min(1, batch.fill ?? 0))}%"></i></span></div>
      ${batch.hint ? html`<div class="note">${BULB}<span>${batch.hint}</span></div>` : nothing}
      <div class="field"><span id="kind" class="small">Kind</span>
        <span class="choice" role="radiogroup" aria-labelledby="kind">
          <label><input type="radio" name="kind" .checked=${!draft.dynamic} @change=${() => this.edit({ dynamic: false })} />static</label>
          <label><input type="radio" name="kind" .checked=${draft.dynamic} @change=${() => this.edit({ dynamic: true })} />dynamic</label>
        </span>
        <label for="limit">${draft.dynamic ? "Limit at most" : "Limit"}</label>
        <span class="slide"><input type="range" min="1" max=${this.reach} step="1" aria-label="Batch limit, as a slider" .value=${String(draft.limit || 1)} @input=${(e: Event) => this.edit({ limit: number(e) })} />
          <input id="limit" type="number" min="1" step="1" inputmode="numeric" .value=${String(draft.limit)} @input=${(e: Event) => this.edit({ limit: number(e) })} /></span>
        <label for="wait">Wait (ms)</label>
        <span class="row"><input id="wait" type="number" min="0" max="60000" step="any" .value=${String(draft.wait_ms)} @input=${(e: Event) => this.edit({ wait_ms: number(e) })} /><span class="small muted">for a batch to fill</span></span>
        <label for="objective">Objective (ms)</label>
        <span class="row"><input id="objective" type="number" min="0" step="any" ?disabled=${!draft.dynamic} .value=${String(draft.objective_ms)} @input=${(e: Event) => this.edit({ objective_ms: number(e) })} /><span class="small muted">${draft.dynamic ? "to compute a batch; 0: the usual" : "of a dynamic limit only"}</span></span>
      </div>
      <div class="row wrap">
        <button class="primary" ?disabled=${this.working || !this.touched || !!wrong}>${this.working ? "Setting…" : "Apply"}</button>
        <button type="button" ?disabled=${this.working || (!changed && !this.touched)} @click=${() => void this.put({ reset: true }, () => "Reset to what is declared.")}>Reset to declared</button>
        <span class="small muted">${batch.declared === null ? "not declared" : `declared: ${declaredWords(batch.declared)}`}${batch.set_by && batch.set_by !== "config" ? ` · set by ${batch.set_by}` : ""}</span>
      </div>
      ${wrong ? html`<div class="note bad" role="alert">${wrong}</div>` : nothing}
      ${this.said ? html`<div class="note ${this.failed ? "bad" : "good"}" role=${this.failed ? "alert" : "status"}>${this.said}</div>` : nothing}
    </form>`;
  }
}
