/** What the graph compiles to for other platforms: the files, and what each cannot express. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { download } from "./saving";
import { shared } from "./styles";
import type { CompiledView, Finding, TargetView } from "./types";

@customElement("hogar-targets")
export class HogarTargets extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @state() private targets: TargetView[] = [];
  @state() private compiled = new Map<string, CompiledView | string>();
  @state() private problem = "";

  static override styles = [
    shared,
    css`
      section { border: 1px solid var(--border); border-radius: var(--radius); overflow: hidden; margin-top: 14px; }
      h3 { padding: 8px 12px; background: var(--bg-subtle); }
      details { border-top: 1px solid var(--border); }
      summary { padding: 7px 12px; cursor: pointer; }
      summary .about { color: var(--fg-muted); }
      .body { padding: 0 12px 10px; }
      ul { margin: 0 0 8px; padding-left: 18px; }
      li { overflow-wrap: anywhere; }
      .error { color: var(--dead); }
      .row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
      .name { font-family: var(--mono); overflow-wrap: anywhere; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.updateComplete.then(() => this.load());
  }

  private async load(): Promise<void> {
    try {
      this.targets = (await this.api.targets(this.dag)).targets;
    } catch (error) {
      this.problem = sentence(error);
    }
  }

  private async open(name: string): Promise<void> {
    const known = this.compiled.get(name);
    if (known !== undefined && typeof known !== "string") return;
    let found: CompiledView | string;
    try {
      found = await this.api.target(this.dag, name);
    } catch (error) {
      found = sentence(error);
    }
    this.compiled = new Map(this.compiled).set(name, found);
  }

  override render() {
    if (!this.targets.length && !this.problem) return nothing;
    // What the graph names comes first.
    const sorted = [...this.targets].sort((a, b) => Number(b.declared) - Number(a.declared));
    return html`<section aria-label="Other platforms"><h3>Other platforms</h3>
      ${this.problem ? html`<div class="body" role="alert">${this.problem}</div>` : nothing}
      ${sorted.map(
        (
          target,
        ) => html`<details @toggle=${(event: Event) => (event.target as HTMLDetailsElement).open && void this.open(target.name)}>
          <summary><b>${target.name}</b> <span class="about">${target.description}${target.declared ? " (the graph names it)" : ""}</span></summary>
          <div class="body">${this.body(target.name)}</div>
        </details>`,
      )}
    </section>`;
  }

  private body(name: string) {
    const found = this.compiled.get(name);
    if (found === undefined) return html`<span role="status">Compiling ...</span>`;
    if (typeof found === "string") return html`<span role="alert">${found}</span>`;
    return html`${found.findings.length ? html`<ul>${found.findings.map(findingOf)}</ul>` : nothing}${this.files(found)}`;
  }

  private files({ name, files }: CompiledView) {
    const [first] = files;
    if (!first) return html`<p>No file is written: ${name} cannot express this graph.</p>`;
    if (files.length === 1) {
      return html`<div class="row"><span class="name grow">${first.name}</span><button @click=${() => download(first.text, base(first.name))}>Download</button></div>`;
    }
    return html`<ul>${files.map((file) => html`<li class="name">${file.name}</li>`)}</ul>
      <a href=${this.api.archiveUrl(this.dag, name)} download>Download ${files.length} files as ZIP</a>`;
  }
}

function findingOf(one: Finding) {
  return html`<li class=${one.severity}>${one.line ? `line ${one.line}: ` : ""}${one.code} ${one.severity}: ${one.message}${one.hint ? `; ${one.hint}` : ""}</li>`;
}

function base(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}
