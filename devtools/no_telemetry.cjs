// Loaded by Node before Azurite: its telemetry is off, but the client of it would take half of what a start takes.
const Module = require("node:module");
const load = Module._load;
Module._load = (name, ...rest) => (name === "applicationinsights" ? {} : load(name, ...rest));
