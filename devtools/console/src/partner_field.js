import { useState } from "preact/hooks";
import { newest } from "./api.js";
import { choices, contacts } from "./contacts.js";
import { html } from "./html.js";
import { Failure, Field, useLoad } from "./ui.js";

/** Searches, rather than send the form that the field is in. */
function searchByEnter(event) {
  if (event.key !== "Enter") return;
  event.preventDefault();
  event.target.dispatchEvent(new Event("change"));
}

/** A choice of a partner. Where there are more than the newest ones, a search finds the others. `none`: the choice of nobody. */
export function PartnerField({ text = "Partner", none, value = "", ...rest }) {
  const [search, setSearch] = useState("");
  const found = useLoad(async () => {
    const known = await contacts([value]);
    const { hits } = search ? await newest("contact", { search }) : known;
    const options = choices(hits);
    if (value && !hits.some(({ uuid }) => uuid === value)) options.unshift([value, known.name(value)]);
    return { options: none ? [["", none], ...options] : options, isWhole: known.isWhole };
  }, [search, value]);
  const { options = [], isWhole = true } = found.data ?? {};
  return html`<${Field} key=${found.data !== null} text=${text} value=${value} ...${rest} options=${options} />
    ${!isWhole && html`<${Field} text="Find a partner" type="search" hint="By name, email, reference or DID; the choice above then has those that fit." value=${search} onChange=${(event) => setSearch(event.target.value)} onKeyDown=${searchByEnter} />`}
    <${Failure} error=${found.error} retry=${found.reload} />`;
}
