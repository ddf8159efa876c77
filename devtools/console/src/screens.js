// The screens, as the menu shows them: [[title of the group, [{path, title, screen}]]].
import { Audit, Contexts, Identities, Keys, Schemas, Settings } from "./screens/account.js";
import { Ask, Credentials, Offer, Proofs } from "./screens/credentials.js";
import { Deliveries } from "./screens/deliveries.js";
import { Home } from "./screens/home.js";
import { Accept, Invitations, Invite } from "./screens/invitations.js";
import { Messages, Threads } from "./screens/messages.js";
import { OperatorAudit, Operators, PoisonQueue, Tenants } from "./screens/operator.js";
import { Partners } from "./screens/partners.js";
import { RequestLog } from "./screens/request_log.js";
import { Service } from "./screens/service.js";
import { Exchanges, Waiting } from "./screens/waiting.js";
import { Usage } from "./screens/usage.js";
import { Webhooks } from "./screens/webhooks.js";

export const TENANT = [
  ["Today", [
    { path: "", title: "Home", screen: Home },
    { path: "waiting", title: "Waiting", screen: Waiting },
    { path: "messages", title: "Messages", screen: Messages },
    { path: "threads", title: "Threads", screen: Threads },
  ]],
  ["Partners", [
    { path: "partners", title: "Partners", screen: Partners },
    { path: "invite", title: "Invite", screen: Invite },
    { path: "accept", title: "Accept an invitation", screen: Accept },
    { path: "invitations", title: "Invitations", screen: Invitations },
  ]],
  ["Credentials", [
    { path: "credentials", title: "Credentials", screen: Credentials },
    { path: "offer", title: "Offer", screen: Offer },
    { path: "ask", title: "Ask for proof", screen: Ask },
    { path: "proofs", title: "Proofs", screen: Proofs },
    { path: "exchanges", title: "Exchanges", screen: Exchanges },
    { path: "schemas", title: "Schemas", screen: Schemas },
    { path: "contexts", title: "Contexts", screen: Contexts },
  ]],
  ["Your systems", [
    { path: "webhooks", title: "Webhooks", screen: Webhooks },
    { path: "deliveries", title: "Deliveries", screen: Deliveries },
    { path: "log", title: "Request log", screen: RequestLog },
  ]],
  ["Account", [
    { path: "identities", title: "Identities", screen: Identities },
    { path: "keys", title: "Keys", screen: Keys },
    { path: "settings", title: "Settings", screen: Settings },
    { path: "usage", title: "Usage", screen: Usage },
    { path: "audit", title: "Audit log", screen: Audit },
  ]],
];

export const OPERATOR = [
  ["Service", [
    { path: "", title: "Service", screen: Service },
    { path: "tenants", title: "Tenants", screen: Tenants },
    { path: "poison", title: "Poison queue", screen: PoisonQueue },
    { path: "operators", title: "Operators", screen: Operators },
    { path: "audit", title: "Audit log", screen: OperatorAudit },
    { path: "log", title: "Request log", screen: RequestLog },
  ]],
];
