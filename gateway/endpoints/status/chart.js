// A small chart of the last minutes, with what it shows in words beside it.

import { SPAN } from "./history.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, EDGE] = [300, 72, 2];
const GAP = 4; // seconds without a word, after which a line is broken

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class Chart {
  /** `names` are those of the lines; one alone needs none. `words` puts a value into words. */
  constructor(figure, names, words) {
    this.words = words;
    this.caption = figure.querySelector("figcaption");
    this.now = figure.appendChild(document.createElement("p"));
    this.now.className = "now";
    const svg = element("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    figure.append(svg);
    this.lines = names.map((name, index) => {
      const path = svg.appendChild(element("path", { class: `line line-${index}` }));
      const part = this.now.appendChild(document.createElement("span"));
      part.className = `value value-${index}`;
      return { name, path, part };
    });
    this.scale = figure.appendChild(document.createElement("p"));
    this.scale.className = "soft scale";
  }

  /** Draw a list of [time, value] points for each line, up to this time. */
  draw(now, ...series) {
    const shown = series.map((points) => points.filter(([at]) => at >= now - SPAN));
    const values = shown.flat().map(([, value]) => value).filter((value) => value !== null);
    const highest = values.length ? Math.max(...values) : null;
    for (const [index, { name, path, part }] of this.lines.entries()) {
      path.setAttribute("d", outline(now, shown[index], highest));
      const last = shown[index].at(-1)?.[1] ?? null;
      part.textContent = name ? `${name} ${this.words(last)}` : this.words(last);
    }
    this.scale.textContent = `5 min, highest ${this.words(highest)}`;
  }

  rename(name, words) {
    this.caption.textContent = name;
    this.words = words;
  }
}

function outline(now, points, highest) {
  let before = null;
  let path = "";
  for (const [at, value] of points) {
    if (value !== null) {
      const x = WIDTH * (1 - (now - at) / SPAN);
      const y = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (highest ? value / highest : 0);
      const isJoined = before !== null && at - before < GAP;
      path += `${isJoined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      if (!isJoined) path += "h0.1"; // so that one point alone is seen
    }
    before = value === null ? null : at;
  }
  return path;
}
