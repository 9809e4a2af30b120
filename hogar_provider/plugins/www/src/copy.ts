/** Copying a text. */

/** Puts the text on the clipboard; false where the browser lets no page of this address do so. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
