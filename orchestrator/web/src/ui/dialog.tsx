import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { newKey, sentenceOf } from "../api";
import { useModal } from "./modal";

/** Asks whether somebody means it, and why. The browser's own dialog: it keeps the focus inside, and Escape closes it. */
export function ReasonDialog(props: {
  title: string;
  /** What will happen, in plain words. */
  children: ComponentChildren;
  /** What the button says. */
  action: string;
  tone?: "danger" | "plain";
  /** Whether a reason may be left out. */
  isReasonOptional?: boolean;
  /** Carries it out. *key* stays the same when it is tried again: what was carried out is not done twice. */
  onConfirm: (reason: string, key: string) => Promise<void>;
  onClose: () => void;
}) {
  const dialog = useModal();
  const [reason, setReason] = useState("");
  const [key] = useState(newKey);
  const [isUnderWay, setUnderWay] = useState(false);
  const [refusal, setRefusal] = useState("");
  const id = useId();

  const confirm = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (isUnderWay) return;
    setUnderWay(true);
    setRefusal("");
    try {
      await props.onConfirm(reason.trim(), key);
    } catch (error) {
      setRefusal(sentenceOf(error));
      setUnderWay(false);
      return;
    }
    props.onClose();
  };

  return (
    <dialog ref={dialog} aria-labelledby={`${id}-title`} aria-describedby={`${id}-what`} onClose={props.onClose}>
      <form onSubmit={(event) => void confirm(event)}>
        <h2 id={`${id}-title`}>{props.title}</h2>
        <div id={`${id}-what`}>{props.children}</div>
        <label class="field">
          Reason{props.isReasonOptional ? " (may be left out)" : ""}
          <textarea
            name="reason"
            rows={3}
            maxLength={4000}
            required={!props.isReasonOptional}
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
            autofocus
          />
        </label>
        <div role="alert">{refusal && <p class="banner bad">{refusal}</p>}</div>
        <div class="actions">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button class={props.tone === "danger" ? "danger" : "primary"} disabled={isUnderWay}>
            {isUnderWay ? "Asking…" : props.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
