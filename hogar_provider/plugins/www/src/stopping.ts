/** Draining a graph and taking it down, each after a question. */

import { css, html, LitElement, nothing } from "lit";
import { property, query, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { count } from "./format";
import { shared } from "./styles";
import type { GraphView } from "./types";

@customElement("hogar-stopping")
export class HogarStopping extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) view!: GraphView;
  @state() private asked: "" | "drain" | "down" = "";
  @state() private seconds = 60;
  @state() private force = false;
  @state() private working = false;
  @state() private problem = "";
  @query("dialog") private dialog!: HTMLDialogElement;

  static override styles = [
    shared,
    css`
      :host { display: inline-flex; gap: 6px; }
      dialog { border: 1px solid var(--border-strong); border-radius: 10px; padding: 20px; max-width: 470px; background: var(--bg); color: var(--fg); box-shadow: 0 12px 40px rgb(0 0 0 / 0.35); white-space: normal; }
      dialog::backdrop { background: rgb(0 0 0 / 0.45); }
      .body { display: grid; gap: 12px; font-size: 14px; }
      .end { justify-content: flex-end; }
      input[type="number"] { width: 84px; }
    `,
  ];

  private async ask(what: "drain" | "down"): Promise<void> {
    this.asked = what;
    this.problem = "";
    this.force = false;
    await this.updateComplete;
    this.dialog.showModal();
  }

  private do = async (event: Event): Promise<void> => {
    event.preventDefault();
    this.working = true;
    this.problem = "";
    try {
      if (this.asked === "down") await this.api.down(this.dag);
      else {
        const { stopped, left } = await this.api.drain(this.dag, this.seconds, this.force);
        if (!stopped) {
          this.problem = `${count(left)} requests had no reply after ${this.seconds} s, so the graph serves again. Give it longer, or stop it all the same.`;
          return;
        }
      }
      this.dialog.close();
      this.dispatchEvent(new CustomEvent("done"));
    } catch (error) {
      this.problem = sentence(error);
    } finally {
      this.working = false;
    }
  };

  override render() {
    const { name, in_graph } = this.view;
    return html`<button @click=${() => void this.ask("drain")}>Drain…</button><button class="danger" @click=${() => void this.ask("down")}>Undeploy…</button>
      <dialog aria-labelledby="title" @close=${() => {
        this.asked = "";
      }}>
        ${
          this.asked
            ? html`<form class="body" @submit=${this.do}>
              <h2 id="title">${this.asked === "drain" ? `Drain ${name}?` : `Undeploy ${name}?`}</h2>
              ${
                this.asked === "drain"
                  ? html`<p>It takes no new requests, answers those that it has (${count(in_graph)} now), and is stopped then. Clients are refused meanwhile.</p>
                    <label class="row">Wait at most <input type="number" min="0" max="300" .value=${String(this.seconds)} @input=${(
                      e: Event,
                    ) => {
                      this.seconds = (e.target as HTMLInputElement).valueAsNumber || 0;
                    }} /> seconds</label>
                    <label class="row"><input type="checkbox" .checked=${this.force} @change=${(e: Event) => {
                      this.force = (e.target as HTMLInputElement).checked;
                    }} /> Stop it then, even with requests unanswered</label>`
                  : html`<p>All its processes are stopped at once. ${in_graph ? html`<b>${count(in_graph)} requests in flight get no reply</b>, and the` : "The"} state of its stateful nodes is lost. Trigger the DAG to deploy it again.</p>`
              }
              ${this.problem ? html`<div class="note bad" role="alert"><span>${this.problem}</span></div>` : nothing}
              <div class="row end"><button type="button" autofocus @click=${() => this.dialog.close()}>Cancel</button>
                <button class="primary danger" ?disabled=${this.working}>${this.working ? "Working…" : this.asked === "drain" ? "Drain and stop" : "Undeploy"}</button></div>
            </form>`
            : nothing
        }
      </dialog>`;
  }
}
