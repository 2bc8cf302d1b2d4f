import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { useModal } from "./modal";

/** Something to look at in front of the page. The browser's own dialog: Escape closes it, and the focus comes back. */
export function Window(props: { title: string; children: ComponentChildren; onClose: () => void }) {
  const dialog = useModal();
  const id = useId();
  return (
    <dialog ref={dialog} class="wide" aria-labelledby={id} onClose={props.onClose}>
      <h2 id={id}>{props.title}</h2>
      {props.children}
      <div class="actions">
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
