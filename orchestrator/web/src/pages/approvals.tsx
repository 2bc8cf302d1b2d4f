import "./pages.css";
import { runPage } from "../api";
import { usePolled } from "../live";
import type { Offer } from "../types";
import { Commands, sentence } from "../ui/commands";
import { Layout } from "../ui/layout";
import { hasRole } from "../ui/role";
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
  author: string | null;
  answers: Offer[];
}

const isForMe = (asked: Asked): boolean => asked.answers.some((offer) => offer.refused === null);

export function ApprovalsPage() {
  const { value, freshness, refresh } = usePolled<Asked[]>("/api/v1/approvals", 4);
  const mine = value?.filter(isForMe) ?? [];
  const others = value?.filter((asked) => !isForMe(asked)) ?? [];
  return (
    <Layout title="Approvals" freshness={freshness}>
      {value === null && <p class="empty">Loading…</p>}
      {value !== null && (
        <>
          <p class="lead">{summed(mine.length, others.length)}</p>
          <Items title="You can answer" items={mine} refresh={refresh} />
          <Items title="Waits for somebody else" items={others} refresh={refresh} />
        </>
      )}
    </Layout>
  );
}

function summed(mine: number, others: number): string {
  if (mine + others === 0) return "Nothing waits for a person.";
  const who = others === 0 ? "" : `${others} ${others === 1 ? "waits" : "wait"} for somebody else.`;
  if (mine === 0) return `Nothing waits for you. ${who}`;
  return `${mine} ${mine === 1 ? "waits" : "wait"} for you. ${who}`;
}

function Items({ title, items, refresh }: { title: string; items: readonly Asked[]; refresh: () => void }) {
  if (items.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      {items.map((asked) => (
        <Item key={`${asked.run} ${asked.item}`} asked={asked} refresh={refresh} />
      ))}
    </section>
  );
}

function Item({ asked, refresh }: { asked: Asked; refresh: () => void }) {
  const place = [asked.environment, asked.stage].filter((part) => part !== null).join(", ");
  return (
    <article class="card asked">
      <h3>{sentence(asked.text || asked.item)}</h3>
      <dl>
        <dt>Run</dt>
        <dd>
          <a href={runPage(asked.run)}>{asked.run}</a>: {place}, {asked.outcome?.replaceAll("_", " ") ?? "under way"}
          {asked.author !== null && `, started by ${asked.author}`}
        </dd>
        <dt>From</dt>
        <dd>
          {whoMay(asked)}
          {asked.approved_by.length > 0 && <>; approved so far by {asked.approved_by.join(", ")}</>}
        </dd>
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
      <WhyNot asked={asked} />
      <Commands run={asked.run} offers={asked.answers.filter((offer) => offer.refused === null)} onDone={refresh} />
      <p>
        <a href={runPage(asked.run)}>See the run and its evidence</a>
      </p>
    </article>
  );
}

const whoMay = (asked: Asked): string => (asked.by.length > 0 ? asked.by.join(" or ") : "any approver");

function WhyNot({ asked }: { asked: Asked }) {
  if (isForMe(asked)) return null;
  const refused = asked.answers.find((offer) => offer.refused !== null)?.refused;
  const words = refused ?? `${hasRole("operator") ? "You" : "Viewers"} may not answer this; ${whoMay(asked)} may`;
  return <p class="banner warn">{sentence(words)}</p>;
}
