// Starts `udgl lsp` for UDGL files and lets it answer.
const { workspace, window } = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = workspace.getConfiguration("udgl").get("command");
  client = new LanguageClient(
    "udgl",
    "UDGL",
    { command, args, transport: TransportKind.stdio },
    { documentSelector: [{ language: "udgl" }] },
  );
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `UDGL: ${command} did not start (${error.message}). Install it with ` +
        "pip install 'airflow-provider-hogar[lsp]', or set udgl.command.",
    );
  }
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
