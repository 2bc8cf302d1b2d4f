import type { About as Facts } from "../../types";

/** What the plan says of itself: what it is for, whom to call, where to read on. */
export function About({ about }: { about: Facts }) {
  const contacts = entriesOf(about.contacts);
  const links = entriesOf(about.links);
  if (!about.description && !about.owner && contacts.length + links.length === 0) return null;
  return (
    <div class="about">
      {about.description && <p>{about.description}</p>}
      <p>
        {[...(about.owner ? [["owner", about.owner] as const] : []), ...contacts].map(([name, value]) => (
          <span key={`${name} ${value}`}>
            {name && <span class="quiet">{name} </span>}
            {value}
          </span>
        ))}
        {links.map(([name, value]) => (
          <Link key={`${name} ${value}`} name={name || value} address={value} />
        ))}
      </p>
    </div>
  );
}

/** A plan's link leads to the web or nowhere: what it says is somebody else's text. */
function Link({ name, address }: { name: string; address: string }) {
  if (!/^https?:\/\//i.test(address))
    return (
      <span>
        {name !== address && <span class="quiet">{name} </span>}
        {address}
      </span>
    );
  return (
    <a href={address} rel="noopener noreferrer" target="_blank">
      {name}
    </a>
  );
}

const entriesOf = (given: Record<string, string> | string[] | undefined): (readonly [string, string])[] =>
  Array.isArray(given) ? given.map((value) => ["", value] as const) : Object.entries(given ?? {});
