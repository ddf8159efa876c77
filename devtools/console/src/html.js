// htm and Preact: `html` makes elements of a template. Every value in it becomes text, never markup.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
