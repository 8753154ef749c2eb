"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const NAME = 0, UNPACKED = 1, PACKED = 2, FILES = 3, HIDDEN = 4, KIDS = 5, ABOUT = 6;
  const HUES = 8;

  /* Every text goes through textContent: names come from images and specs, and are nothing but text. */
  const make = (tag, attributes = {}, ...kids) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value;
      else if (name === "on") for (const [event, work] of Object.entries(value)) element.addEventListener(event, work);
      else if (name === "style") Object.assign(element.style, value);
      else element.setAttribute(name, value);
    }
    element.append(...kids.filter((kid) => kid !== null && kid !== undefined));
    return element;
  };
  const fill = (element, ...kids) => { element.replaceChildren(...kids.filter((kid) => kid !== null)); return element; };

  const size = (bytes) => {
    if (bytes === null) return "";
    let value = bytes;
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (value < 1000 || unit === "GB") return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
      value /= 1000;
    }
  };
  const time = (micro) => {
    const seconds = micro / 1e6;
    if (seconds >= 120) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  };
  const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
  const colour = (group) => `var(--${group})`;
  const mark = (group) => make("span", { class: "mark", style: { background: colour(group) } });

  /* -- tips ------------------------------------------------------------------------------------------------------- */

  const tip = $("tip");
  const told = (element, title, lines) => {
    const show = (event) => {
      fill(tip, make("b", {}, title), lines.filter(Boolean).join("\n"));
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      const x = event.clientX ?? element.getBoundingClientRect().left;
      const y = event.clientY ?? element.getBoundingClientRect().bottom;
      tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
      tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 18}px`;
    };
    element.addEventListener("mousemove", show);
    element.addEventListener("focus", show);
    for (const event of ["mouseleave", "blur"]) element.addEventListener(event, () => { tip.hidden = true; });
    return element;
  };

  /* -- head ------------------------------------------------------------------------------------------------------- */

  const ended = { done: "done", failed: "failed", interrupted: "interrupted", broke: "broke off" };
  const names = data.machines.map((machine) => machine.name);
  const listed = (texts, most) => texts.slice(0, most).join(", ") + (texts.length > most ? ` and ${texts.length - most} more` : "");
  $("title").textContent = listed(names, 3);
  const asked = data.request.filter(([name, values]) => name !== "machines" && values.length).map(([name, values]) => `${name}=${values.join(",")}`);
  $("about").textContent = [data.date, listed(data.machines.flatMap((m) => m.files), 3), asked.join(" ")].filter(Boolean).join("  ·  ");
  const ran = data.steps.filter((step) => step.how === "ran");
  const card = (value, about, bad = false) => make("div", { class: "card" }, make("b", { class: bad ? "bad" : "" }, value), make("span", {}, about));
  const written = data.written.reduce((sum, file) => sum + file.bytes, 0);
  const total = data.machines.reduce((sum, m) => (m.map ? [UNPACKED, PACKED, HIDDEN].map((which, n) => sum[n] + m.map[which]) : sum), [0, 0, 0]);
  fill($("cards"),
    card(time(data.end), data.ended === "done" ? `from start to end, ${data.jobs} at a time` : `until it ${ended[data.ended]}`, data.ended !== "done"),
    card(String(ran.length), `${ran.length === 1 ? "step" : "steps"} ran`),
    card(String(data.cached.length + data.steps.length - ran.length), "in the cache"),
    card(time(data.critical.time), "critical path"),
    total[1] ? card(size(total[1]), "packed") : null,
    total[0] ? card(size(total[0]), "unpacked") : null,
    total[2] ? card(size(total[2]), "hidden in layers") : null,
    card(size(written), `written, ${count(data.written.length, "file")}`));
  $("foot").textContent = `lkbuild ${data.lkbuild}; build ${data.id}. Times are those of the record of this build, sizes those of what is in the cache.`;

  /* -- budgets ---------------------------------------------------------------------------------------------------- */

  if (data.budgets.length) {
    $("budgets").hidden = false;
    fill($("budget-bars"), ...data.budgets.map((budget) => make("div", { class: "budget" },
      make("span", {}, budget.what),
      make("span", { class: "share" }, make("i", { style: { width: `${Math.min(100, 100 * budget.used / budget.limit)}%`, background: budget.used > budget.limit ? "var(--bad)" : "var(--good)" } })),
      make("span", {}, `${size(budget.used)} of ${size(budget.limit)} (${Math.round(100 * budget.used / budget.limit)} %)`))));
  }

  /* -- the map ---------------------------------------------------------------------------------------------------- */

  /* Of one machine the map is about that, of several the machines are its parts. */
  const mapped = data.machines.filter((m) => m.map);
  const several = data.machines.length > 1;
  const added = (which) => mapped.reduce((sum, m) => sum + m.map[which], 0);
  const together = () => [count(mapped.length, "machine"), added(UNPACKED), added(PACKED), added(FILES), added(HIDDEN), mapped.map((m) => m.map), []];
  const root = several && mapped.length ? together() : mapped[0]?.map;
  const notes = data.machines.filter((m) => m.note).map((m) => (several ? `${m.name}: ${m.note}` : m.note));
  let measure = UNPACKED;
  let path = [];

  const PARTS = 12, MACHINES = 100;
  const MEASURES = [
    [UNPACKED, "Unpacked", "Bytes of files in the finished machine, each once"],
    [PACKED, "Packed", "Bytes of the image; files that are compressed together share them"],
    [HIDDEN, "Hidden", "Bytes that a layer carries and that are not in the finished machine, as a later one replaces or removes them"],
  ];
  const area = (node) => Math.max(0, node[measure]);
  const hueOf = (node) => {
    const trail = [root, ...path, node];
    const at = several && trail.length > 2 ? 2 : 1;
    return Math.max(0, trail[at - 1][KIDS].indexOf(trail[at])) % HUES;
  };

  /* Squarified treemap (Bruls, Huizing, van Wijk 2000): rows along the shorter side, as square as can be. */
  const squarify = (nodes, box) => {
    const sum = nodes.reduce((total, node) => total + area(node), 0);
    const found = [];
    if (!sum || box.w <= 0 || box.h <= 0) return found;
    const scale = box.w * box.h / sum;
    let rest = nodes.filter((node) => area(node) > 0).sort((a, b) => area(b) - area(a)).map((node) => [node, area(node) * scale]);
    let { x, y, w, h } = box;
    const worst = (row, side) => {
      const s = row.reduce((total, [, a]) => total + a, 0);
      return Math.max(...row.map(([, a]) => Math.max(side * side * a / (s * s), s * s / (side * side * a))));
    };
    while (rest.length) {
      const side = Math.min(w, h);
      let row = [rest[0]], at = 1;
      while (at < rest.length && worst([...row, rest[at]], side) <= worst(row, side)) row.push(rest[at++]);
      rest = rest.slice(at);
      const thick = row.reduce((total, [, a]) => total + a, 0) / side;
      let offset = 0;
      for (const [node, a] of row) {
        const long = a / thick;
        found.push(w >= h ? { node, x, y: y + offset, w: thick, h: long } : { node, x: x + offset, y, w: long, h: thick });
        offset += long;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    }
    return found;
  };

  const place = (box) => ({ left: `${box.x}px`, top: `${box.y}px`, width: `${box.w}px`, height: `${box.h}px` });
  const aboutNode = (node) => [
    `${size(node[UNPACKED])} unpacked, ${size(node[PACKED])} packed`,
    count(node[FILES], "file"),
    node[HIDDEN] ? `${size(node[HIDDEN])} hidden` : "",
    ...(node[ABOUT] ?? []),
  ];
  const share = (node, whole) => (area(whole) ? `${(100 * area(node) / area(whole)).toFixed(1)} %` : "");

  /* What is drawn inside a part: its parts, and in place of one that is nearly all of it, that one's parts. */
  const inside = (node) => {
    let kids = node[KIDS];
    for (let most = kids[0]; most && most[KIDS]?.length && area(most) > 0.85 * area(node); most = kids[0]) {
      kids = [...most[KIDS], ...kids.slice(1)].sort((a, b) => area(b) - area(a));
    }
    return kids;
  };

  const cell = (box, whole, hue) => {
    const { node } = box;
    const deep = Boolean(node[KIDS]?.length);
    const element = make(deep ? "button" : "div", { class: deep ? "cell deep" : "cell", style: { ...place(box), background: colour(`h${hue}`) } });
    if (deep) { element.type = "button"; element.addEventListener("click", () => { path.push(node); tip.hidden = true; drawMap(); }); }
    if (box.w > 34 && box.h > 18) {
      element.append(make("span", { class: "label" }, node[NAME], box.w > 120 ? make("small", {}, size(area(node))) : null));
    }
    if (deep && box.w > 70 && box.h > 52) {
      for (const inner of squarify(inside(node), { x: 4, y: 21, w: box.w - 10, h: box.h - 27 })) {
        if (inner.w < 3 || inner.h < 3) continue;
        const text = inner.w > 44 && inner.h > 15 ? make("i", {}, inner.node[NAME]) : "";
        element.append(make("span", { class: "inner", style: place(inner) }, text));
      }
    }
    return told(element, node[NAME], [...aboutNode(node), share(node, whole) && `${share(node, whole)} of what is shown`]);
  };

  const drawMap = () => {
    if (!root) {
      fill($("map"), make("p", { class: "empty" }, notes.join("\n") || "Nothing is known of what is in the image."));
      fill($("measure")); fill($("crumbs")); fill($("parts")); $("map-note").textContent = "";
      return;
    }
    fill($("measure"), ...MEASURES.map(([which, text, about]) => make("button", {
      type: "button", title: about, "aria-pressed": which === measure, on: { click: () => { measure = which; drawMap(); } } }, text)));
    const here = path.length ? path[path.length - 1] : root;
    const trail = [root, ...path];
    fill($("crumbs"), ...trail.flatMap((node, n) => [
      n ? make("span", { class: "sep" }, "/") : null,
      n === trail.length - 1 ? make("strong", {}, node[NAME])
        : make("button", { type: "button", on: { click: () => { path = path.slice(0, n); drawMap(); } } }, node[NAME]),
    ].filter(Boolean)));
    const map = $("map");
    const box = { x: 0, y: 0, w: map.clientWidth, h: map.clientHeight };
    const boxes = squarify(here[KIDS] ?? [], box);
    fill(map, ...boxes.map((each) => cell(each, here, hueOf(each.node))));
    if (!boxes.length) map.append(make("p", { class: "empty" }, measure === HIDDEN ? "Nothing is carried in vain here." : "There is nothing here."));
    $("map-note").textContent = [...aboutNode(here), ...(path.length ? [] : notes)].filter(Boolean).join("  ·  ");
    drawParts(here);
  };

  const drawParts = (here) => {
    const kids = [...(here[KIDS] ?? [])].sort((a, b) => area(b) - area(a)).slice(0, several && !path.length ? MACHINES : PARTS);
    const rows = kids.map((node) => make("tr", {},
      make("td", { class: "name" }, node[KIDS]?.length
        ? make("button", { type: "button", class: "link", on: { click: () => { path.push(node); drawMap(); } } }, node[NAME]) : node[NAME],
        node[ABOUT]?.length ? make("small", { class: "line", title: node[ABOUT].join("\n") }, node[ABOUT][0]) : null),
      make("td", { class: "bar-of" }, make("span", { class: "share" }, make("i", { style: { width: `${area(here) ? 100 * area(node) / area(here) : 0}%`, background: colour(`h${hueOf(node)}`) } }))),
      make("td", { class: "num" }, share(node, here)),
      make("td", { class: "num" }, size(node[UNPACKED])),
      make("td", { class: "num" }, size(node[PACKED])),
      make("td", { class: "num" }, node[HIDDEN] ? size(node[HIDDEN]) : ""),
      make("td", { class: "num" }, String(node[FILES]))));
    const more = (here[KIDS] ?? []).length - kids.length;
    if (more > 0) rows.push(make("tr", {}, make("td", { colspan: 7, class: "why" }, `and ${more} smaller`)));
    fill($("parts"),
      make("thead", {}, make("tr", {}, ...["Part", "", "Share", "Unpacked", "Packed", "Hidden", "Files"].map((text, n) => make("th", { class: n > 1 ? "num" : "" }, text)))),
      make("tbody", {}, ...rows));
  };

  /* -- the timeline ----------------------------------------------------------------------------------------------- */

  const GROUPS = [["fetch", "fetching"], ["package", "packages"], ["segment", "segments"], ["assemble", "putting together"], ["write", "writing files"]];
  const whole = Math.max(1, data.end);
  let from = 0, to = whole;
  const timeline = $("timeline");
  const critical = new Set(data.critical.steps);

  const items = [
    ...data.steps.map((step) => ({ ...step, title: step.name, lines: [
      `${step.kind}, ${step.how}, ${time(step.end - step.start)}`, `from ${time(step.start)} to ${time(step.end)}`,
      `${size(step.in)} read, ${size(step.out)} made`, critical.has(step.name) ? "on the critical path" : "", step.reason] })),
    ...data.written.map((file) => ({ ...file, name: file.path.split("/").pop(), group: "write", how: "ran", title: file.path, lines: [
      `${file.output}, ${size(file.bytes)}, ${time(file.end - file.start)}`, `from ${time(file.start)} to ${time(file.end)}`] })),
  ];

  const bar = (item, extra = "") => {
    const left = 100 * (item.start - from) / (to - from), width = 100 * (item.end - item.start) / (to - from);
    const element = make("div", { class: `bar ${item.how ?? ""} ${extra}`, style: { left: `${left}%`, width: `${width}%` } }, make("i", {}, item.name));
    if (item.group) element.style.backgroundColor = colour(item.group);
    return item.title ? told(element, item.title, item.lines) : element;
  };

  const step = (span, most) => {
    for (let unit = 1; ; unit *= 10) for (const times of [1, 2, 5]) if (span / (unit * times) <= most) return unit * times;
  };

  const drawTimeline = () => {
    const workers = [...new Set(items.map((item) => item.worker))].sort((a, b) => a - b);
    const shown = (item) => item.end >= from && item.start <= to;
    const every = step(to - from, Math.max(3, Math.min(9, Math.floor(timeline.clientWidth / 120))));
    const ticks = [];
    for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
      if (100 * (at - from) / (to - from) < 96) ticks.push(make("span", { style: { left: `${100 * (at - from) / (to - from)}%` } }, at ? time(at) : "0"));
    }
    const lane = (name, ...bars) => make("div", { class: "lane" }, make("b", {}, name), make("div", { class: "bars" }, ...bars));
    const phase = { name: "specs, images and packages are looked for", start: 0, end: data.prepared || whole };
    fill(timeline, make("div", { class: "ticks" }, ...ticks),
      shown(phase) ? lane("planning", told(bar(phase, "phase"), "Before the first step", [`${time(phase.end)}: specs are read, images and packages looked for`])) : null,
      ...workers.map((n) => lane(`worker ${n + 1}`, ...items.filter((item) => item.worker === n && shown(item)).map((item) => bar(item, critical.has(item.name) ? "critical" : "")))));
    if (!workers.length) timeline.append(make("p", { class: "empty" }, "No step's turn came in this build: everything was in the cache."));
    $("timeline-note").textContent = "Outlined: the critical path. Pale: found in the cache. Drag to look closer; + and − and the arrow keys work too.";
  };

  const zoom = (factor, at = 0.5) => {
    const span = Math.min(whole, Math.max(whole / 1e5, (to - from) * factor));
    look(from + (to - from) * at - span * at, span);
  };
  const look = (start, span) => {
    from = Math.max(0, Math.min(start, whole - span));
    to = from + span;
    drawTimeline();
  };
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => look(0, whole));
  timeline.addEventListener("keydown", (event) => {
    const keys = { "+": () => zoom(0.5), "-": () => zoom(2), "0": () => look(0, whole),
      ArrowLeft: () => look(from - (to - from) / 5, to - from), ArrowRight: () => look(from + (to - from) / 5, to - from) };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey) { keys[event.key](); event.preventDefault(); }
  });
  const within = (event) => {
    const lane = timeline.querySelector(".bars");
    if (!lane) return null;
    const box = lane.getBoundingClientRect();
    return { at: Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)), box };
  };
  timeline.addEventListener("wheel", (event) => {
    const where = within(event);
    if (where && (event.ctrlKey || event.metaKey)) { zoom(event.deltaY > 0 ? 1.25 : 0.8, where.at); event.preventDefault(); }
  }, { passive: false });
  let drag = null;
  timeline.addEventListener("mousedown", (event) => { if (within(event)) drag = within(event).at; });
  addEventListener("mousemove", (event) => {
    if (drag === null) return;
    const { at, box } = within(event), outer = timeline.getBoundingClientRect();
    timeline.querySelector(".select")?.remove();
    timeline.append(make("div", { class: "select", style: {
      left: `${box.left - outer.left + Math.min(at, drag) * box.width}px`, width: `${Math.abs(at - drag) * box.width}px` } }));
  });
  addEventListener("mouseup", (event) => {
    if (drag === null) return;
    const { at } = within(event), start = drag;
    drag = null;
    timeline.querySelector(".select")?.remove();
    if (Math.abs(at - start) > 0.01) look(from + (to - from) * Math.min(at, start), (to - from) * Math.abs(at - start));
  });
  fill($("legend"), ...GROUPS.map(([group, text]) => make("span", {}, mark(group), text)));

  /* -- the critical path ------------------------------------------------------------------------------------------ */

  const byName = new Map(data.steps.map((each) => [each.name, each]));
  const longest = Math.max(1, ...data.critical.steps.map((name) => byName.get(name).end - byName.get(name).start));
  $("critical-note").textContent = data.critical.steps.length
    ? `Steps that wait for each other, ${time(data.critical.time)} together: with however many workers, these steps take no less.`
    : "No step ran.";
  fill($("critical"), ...data.critical.steps.map((name) => {
    const each = byName.get(name), took = each.end - each.start;
    return make("li", {}, make("span", {}, mark(each.group), name), make("span", {}, time(took)),
      make("span", { class: "share" }, make("i", { style: { width: `${100 * took / longest}%`, background: colour(each.group) } })));
  }));

  /* -- steps ------------------------------------------------------------------------------------------------------ */

  const rows = [
    ...data.steps.map((each) => ({ ...each, took: each.end - each.start })),
    ...data.cached.map((each) => ({ ...each, how: "in the cache", start: null, took: null, in: null, reason: "" })),
  ];
  const COLUMNS = [
    ["name", "Step", (row) => [mark(row.group), row.name], "name"], ["how", "How", (row) => [row.how], ""],
    ["start", "Began", (row) => [row.start === null ? "" : time(row.start)], "num"], ["took", "Took", (row) => [row.took === null ? "" : time(row.took)], "num"],
    ["in", "Read", (row) => [size(row.in)], "num"], ["out", "Made", (row) => [size(row.out)], "num"], ["reason", "Why", (row) => [row.reason], "why"],
  ];
  let order = "took", down = true;
  const before = (a, b) => {
    const [x, y] = [a[order], b[order]];
    if (x === null || y === null) return (x === null) - (y === null);
    const sign = down ? -1 : 1;
    return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
  };
  const drawSteps = () => {
    const wanted = $("filter").value.toLowerCase();
    const found = rows.filter((row) => `${row.name} ${row.how} ${row.kind}`.toLowerCase().includes(wanted)).sort(before);
    fill($("steps"),
      make("thead", {}, make("tr", {}, ...COLUMNS.map(([key, text, , style]) => make("th", {
        class: style === "num" ? "num" : "", "aria-sort": key === order ? (down ? "descending" : "ascending") : "none" },
      make("button", { type: "button", on: { click: () => { down = key === order ? !down : style === "num"; order = key; drawSteps(); } } },
        key === order ? `${text} ${down ? "↓" : "↑"}` : text))))),
      make("tbody", {}, ...found.map((row) => make("tr", {}, ...COLUMNS.map(([key, , cells, style]) => make("td", { class: style },
        ...(key === "reason" ? [make("div", { class: "some", title: row.reason }, row.reason)] : cells(row))))))));
  };
  $("filter").addEventListener("input", drawSteps);

  /* -- files ------------------------------------------------------------------------------------------------------ */

  const files = data.machines.flatMap((m) => m.outputs);
  $("outputs-section").hidden = !files.length;
  fill($("outputs"), make("thead", {}, make("tr", {}, make("th", {}, "File"), make("th", { class: "num" }, "Size"))),
    make("tbody", {}, ...files.map((file) => make("tr", {}, make("td", {}, file.path), make("td", { class: "num" }, file.bytes === null ? "not there" : size(file.bytes))))));

  const draw = () => { drawMap(); drawTimeline(); };
  drawSteps();
  draw();
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 80); });
})();
