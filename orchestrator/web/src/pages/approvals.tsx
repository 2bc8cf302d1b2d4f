import "./pages.css";
import { useState } from "preact/hooks";
import { runPage, runPath, send } from "../api";
import { usePolled } from "../live";
import type { Offer } from "../types";
import { sentence } from "../ui/commands";
import { ReasonDialog } from "../ui/dialog";
import { Layout } from "../ui/layout";
import { Age, utc } from "../ui/time";

/** Something that a person is asked. */
interface Asked {
  run: string;
  plan: string;
  environment: string;
  stage: string | null;
  outcome: string | null;
  item: string;
  kind: string;
  text: string;
  by: string[];
  since: string;
  until: string | null;
  approved_by: string[];
  approvals: { name: string; group: string; at: string | null; comment: string }[];
  missing: string[];
  rejected: { by: string; reason: string } | null;
  author: string | null;
  answers: Offer[];
}

interface Chosen {
  asked: Asked;
  offer: Offer;
}

const isForMe = (asked: Asked): boolean => asked.answers.some((offer) => offer.refused === null);

export function ApprovalsPage() {
  const { value, freshness, refresh } = usePolled<Asked[]>("/api/v1/approvals", 4);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const mine = value?.filter(isForMe) ?? [];
  const others = value?.filter((asked) => !isForMe(asked)) ?? [];
  return (
    <Layout title="Approvals" freshness={freshness}>
      {value === null && <p class="empty">Loading…</p>}
      {value !== null && (
        <>
          <p class="lead">{summed(mine.length, others.length)}</p>
          <Items title="You can answer" items={mine} choose={setChosen} />
          <Items title="Waits for somebody else" items={others} choose={setChosen} />
        </>
      )}
      {chosen !== null && <AnswerDialog chosen={chosen} onDone={refresh} onClose={() => setChosen(null)} />}
    </Layout>
  );
}

function summed(mine: number, others: number): string {
  if (mine + others === 0) return "Nothing waits for a person.";
  const who = others === 0 ? "" : `${others} ${others === 1 ? "waits" : "wait"} for somebody else.`;
  if (mine === 0) return `Nothing waits for you. ${who}`;
  return `${mine} ${mine === 1 ? "waits" : "wait"} for you. ${who}`;
}

type Choose = (chosen: Chosen) => void;

function Items({ title, items, choose }: { title: string; items: readonly Asked[]; choose: Choose }) {
  if (items.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      {items.map((asked) => (
        <Item key={`${asked.run} ${asked.item}`} asked={asked} choose={choose} />
      ))}
    </section>
  );
}

function Item({ asked, choose }: { asked: Asked; choose: Choose }) {
  const place = [asked.environment, asked.stage].filter((part) => part !== null).join(", ");
  return (
    <article class="card asked">
      <h3>
        {asked.plan}: {asked.text || asked.item}
      </h3>
      <dl>
        <dt>Run</dt>
        <dd>
          <a href={runPage(asked.run)}>{asked.run}</a>: {place}, {asked.outcome?.replaceAll("_", " ") ?? "under way"}
          {asked.author !== null && `, started by ${asked.author}`}
        </dd>
        <dt>From</dt>
        <dd>
          {whoMay(asked)}
        </dd>
        {asked.approved_by.length > 0 && (
          <>
            <dt>Approved</dt>
            <dd>
              so far by {approvedBy(asked)}
              {asked.missing.length > 0 && `; still missing: ${asked.missing.join(", ")}`}
            </dd>
          </>
        )}
        <dt>Waits</dt>
        <dd>
          since <Age at={asked.since} />
          {asked.until !== null && (
            <>
              , until {utc(asked.until)} (<Age at={asked.until} />)
            </>
          )}
        </dd>
      </dl>
      {asked.rejected !== null && (
        <p class="banner bad">
          Rejected by {asked.rejected.by}
          {asked.rejected.reason && `: ${asked.rejected.reason}`}. The run holds until somebody approves after all, rolls
          it back or stops it.
        </p>
      )}
      <WhyNot asked={asked} />
      <Answers asked={asked} choose={choose} />
      <p>
        <a href={runPage(asked.run)}>See the run and its evidence</a>
      </p>
    </article>
  );
}

const approvedBy = (asked: Asked): string =>
  asked.approvals.map((one) => (one.comment ? `${one.name} (${one.comment})` : one.name)).join(", ") ||
  asked.approved_by.join(", ");

const whoMay = (asked: Asked): string => (asked.by.length > 0 ? asked.by.join(" or ") : "any approver");

function WhyNot({ asked }: { asked: Asked }) {
  if (isForMe(asked)) return null;
  const refused = asked.answers.find((offer) => offer.refused !== null)?.refused;
  const words = refused ?? `${whoMay(asked)} may, and your role may not`;
  return <p class="banner warn">{sentence(`you can't answer this: ${words}`)}</p>;
}

function labelOf(offer: Offer, kind: string): string {
  if (offer.not_applicable) return "Does not apply";
  if (offer.command === "withdraw") return "Withdraw my approval";
  if (kind === "question") return offer.command === "approve" ? "Yes" : "No";
  return offer.command === "approve" ? "Approve" : "Reject";
}

function Answers({ asked, choose }: { asked: Asked; choose: Choose }) {
  const offers = asked.answers.filter((offer) => offer.refused === null);
  if (offers.length === 0) return null;
  return (
    <div class="actions" role="group" aria-label={`Answers to ${asked.run}`}>
      {offers.map((offer) => {
        const label = labelOf(offer, asked.kind);
        const tone = offer.command === "approve" && !offer.not_applicable ? "primary" : "";
        return (
          <button key={label} type="button" class={tone} onClick={() => choose({ asked, offer })}>
            {label}
          </button>
        );
      })}
    </div>
  );
}

/** It stands beside the items and not in them: what is asked may be answered by others while somebody still types. */
function AnswerDialog({ chosen, onDone, onClose }: { chosen: Chosen; onDone: () => void; onClose: () => void }) {
  const { asked, offer } = chosen;
  return (
    <ReasonDialog
      title={`${labelOf(offer, asked.kind)}: ${asked.text || asked.item}?`}
      action={labelOf(offer, asked.kind)}
      tone={offer.command === "reject" ? "danger" : "plain"}
      isReasonOptional={offer.command === "approve" && !offer.not_applicable}
      onConfirm={async (reason, key) => {
        const { what, refused, returns, stays, ...command } = offer;
        await send("POST", runPath(asked.run, "/commands"), { ...command, reason }, key);
        onDone();
      }}
      onClose={onClose}
    >
      <p>It goes into the journal of {asked.run} with your name.</p>
    </ReasonDialog>
  );
}
