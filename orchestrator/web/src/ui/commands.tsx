import { runPage, runPath, send } from "../api";
import type { Accepted, Offer } from "../types";
import { ReasonDialog } from "./dialog";

/** What the button of a command says. */
export function labelOf(offer: Offer): string {
  switch (offer.command) {
    case "rollback":
      if (offer.stage !== null) return `Roll back from ${offer.stage} on`;
      return offer.with_schema ? "Roll back, the schema too" : "Roll back";
    case "pause":
      return "Pause";
    case "resume":
      if (offer.pin === "keep") return `Resume, keep ${offer.flag ?? ""}`;
      return offer.pin === "release" ? `Resume, release ${offer.flag ?? ""}` : "Resume";
    case "advance":
      return "Advance";
    case "stop":
      return "Stop";
    case "ack":
      return "Acknowledge";
    case "approve":
      return offer.not_applicable ? `${offer.item ?? ""}: does not apply` : `Approve ${offer.item ?? ""}`;
    case "reject":
      return `Reject ${offer.item ?? ""}`;
    case "fire":
      return `Fire ${offer.trigger ?? ""}`;
    case "resolve":
      return `Resolve ${offer.target ?? ""}${offer.taken_as === "as_is" ? "" : `: ${offer.taken_as.replace("_", " ")}`}`;
    default:
      return offer.command;
  }
}

/** The controller's words with a capital and a full stop. */
export const sentence = (words: string): string =>
  `${words.slice(0, 1).toUpperCase()}${words.slice(1)}${/[.?!]$/.test(words) ? "" : "."}`;

const DANGEROUS = new Set(["rollback", "stop"]);
const BRIEF = new Set(["approve", "ack"]);

const toneOf = (offer: Offer): string =>
  offer.command === "rollback" ? "danger" : offer.command === "approve" ? "primary" : "";

export const keyOf = (offer: Offer): string =>
  [offer.command, offer.item, offer.stage, offer.flag, offer.pin, offer.target, offer.taken_as, offer.trigger].join(" ") +
  `${offer.with_schema} ${offer.not_applicable}`;

/** Buttons of what may be asked now. */
export function Commands({ offers, ask }: { offers: readonly Offer[]; ask: (offer: Offer) => void }) {
  if (offers.length === 0) return null;
  return (
    <div class="actions" role="group" aria-label="Commands">
      {offers.map((offer) => (
        <button key={keyOf(offer)} type="button" class={toneOf(offer)} onClick={() => ask(offer)}>
          {labelOf(offer)}
        </button>
      ))}
    </div>
  );
}

/** Asks back, and sends it. It stands beside the buttons and not in them: those may go while somebody still types. */
export function CommandDialog(props: {
  run: string;
  offer: Offer;
  onDone: (answer: Accepted) => void;
  onClose: () => void;
}) {
  const { offer } = props;
  return (
    <ReasonDialog
      title={`${labelOf(offer)}?`}
      action={labelOf(offer)}
      tone={DANGEROUS.has(offer.command) ? "danger" : "plain"}
      isReasonOptional={BRIEF.has(offer.command)}
      onConfirm={async (reason, key) => {
        const { what, refused, returns, stays, ...command } = offer;
        const answer = await send<Accepted>("POST", runPath(props.run, "/commands"), { ...command, reason }, key);
        if (answer.run_started !== null && answer.run_started !== undefined)
          location.assign(runPage(answer.run_started));
        props.onDone(answer);
      }}
      onClose={props.onClose}
    >
      <Consequences offer={offer} />
    </ReasonDialog>
  );
}

function Consequences({ offer }: { offer: Offer }) {
  return (
    <>
      <p>{sentence(offer.what)}</p>
      {offer.command === "rollback" && <WayBack offer={offer} />}
    </>
  );
}

/** What a rollback brings back, and what it does not. */
export function WayBack({ offer }: { offer: Pick<Offer, "returns" | "stays"> }) {
  return (
    <div class="wayback">
      <Texts title="Comes back" texts={offer.returns} none="Nothing was changed yet." />
      <Texts title="What stays, and why" texts={offer.stays} none="Nothing: it is as it was before." />
    </div>
  );
}

export function Texts({ title, texts, none }: { title: string; texts: readonly string[]; none: string }) {
  return (
    <section>
      <h3>{title}</h3>
      {texts.length === 0 ? (
        <p class="quiet">{none}</p>
      ) : (
        <ul>
          {texts.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
    </section>
  );
}
