// The screens, as the menu shows them: [[title of the group, [{path, title, screen}]]].
import { Home } from "./screens/home.js";
import { RequestLog } from "./screens/request_log.js";
import { Service } from "./screens/service.js";

export const TENANT = [
  ["Today", [
    { path: "", title: "Home", screen: Home },
  ]],
  ["Account", [
    { path: "log", title: "Request log", screen: RequestLog },
  ]],
];

export const OPERATOR = [
  ["Service", [
    { path: "", title: "Service", screen: Service },
    { path: "log", title: "Request log", screen: RequestLog },
  ]],
];
