"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  root.classList.add("js");

  // Tables: a click on a heading sorts, a second one turns round. Numbers by size, a dash last.
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    if (text === "\u2013" || text === "") return null;
    const found = text.match(/^[+\u2212-]?[\d.]+(e[+-]?\d+)?/i);
    return found ? parseFloat(found[0].replace("\u2212", "-")) : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sort = (table, column) => {
    const heads = all("th", table), head = heads[column];
    const word = head.classList.contains("word");
    const first = word ? "ascending" : "descending";
    const other = word ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const body = table.tBodies[0], sign = order === "ascending" ? 1 : -1;
    const rows = Array.from(body.rows).filter((r) => !r.classList.contains("total"));
    const keyed = rows.map((row, k) => [word ? row.cells[column].textContent.trim() || null : value(row, column), k, row]);
    keyed.sort((a, b) => {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
      return sign * compare(a[0], b[0]) || a[1] - b[1];
    });
    const total = body.querySelector("tr.total");
    body.append(...keyed.map((k) => k[2]), ...(total ? [total] : []));
  };
  all("table.sortable").forEach((table) => all("th", table).forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "Sort";
    button.addEventListener("click", () => sort(table, column));
    head.replaceChildren(button);
  }));

  // Commands
  all("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const code = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }));

  // A link to a folded section opens it
  const unfold = (element) => {
    for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    const own = element && element.querySelector("details.fold");
    if (own) own.open = true;
  };
  const toTarget = () => {
    const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!element) return;
    unfold(element);
    element.scrollIntoView();
  };
  window.addEventListener("hashchange", toTarget);
  all("a[href^='#']").forEach((a) => a.addEventListener("click", () => {
    if (a.getAttribute("href") === location.hash) toTarget();
  }));
  toTarget();

  // Which section is on the screen
  const links = new Map(all("nav a").map((a) => [a.getAttribute("href").slice(1), a]));
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((a) => a.removeAttribute("aria-current"));
    const link = links.get(entry.target.id);
    if (!link) return;
    link.setAttribute("aria-current", "true");
    const bar = link.parentElement;
    bar.scrollLeft = link.offsetLeft - bar.offsetLeft - bar.clientWidth / 2 + link.clientWidth / 2;
  }), { rootMargin: "-20% 0px -70% 0px" });
  all("main > section").forEach((section) => watch.observe(section));

  // Plots
  const light = {
    ink: "#1c2430", soft: "#55606e", line: "#e3e7ec", hover: "#ffffff", grey: "#6b7684",
    blue: "#0068a8", orange: "#c75000", green: "#00805e", purple: "#9b3f8f", amber: "#b07d00", sky: "#3f9ed0",
    sequential: [[0, "#eef3fa"], [0.25, "#a9cbe4"], [0.5, "#5a9bc7"], [0.75, "#22679e"], [1, "#0a2f55"]],
    diverging: [[0, "#0a4a87"], [0.25, "#6aa5d2"], [0.5, "#f5f5f2"], [0.75, "#e8a468"], [1, "#9c3d00"]],
  };
  const dark = {
    ink: "#e6eaf0", soft: "#a7b1be", line: "#2d3641", hover: "#252d37", grey: "#93a0b0",
    blue: "#5ab0ee", orange: "#f59552", green: "#4fcfa2", purple: "#d996d0", amber: "#e8bd4c", sky: "#9ad6f5",
    sequential: [[0, "#1d2a38"], [0.25, "#23557f"], [0.5, "#3a8fc4"], [0.75, "#86c6ea"], [1, "#f2f9ff"]],
    diverging: [[0, "#7cc0f5"], [0.25, "#2f6f9f"], [0.5, "#252b33"], [0.75, "#a8602a"], [1, "#ffb070"]],
  };
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const printing = { now: false };
  const palette = () => (darkness.matches && !printing.now ? dark : light);
  const coloured = (item, colours) => {
    if (typeof item === "string") {
      if (item[0] !== "@") return item;
      if (item.endsWith("-band")) return colours[item.slice(1, -5)] + "33";
      return colours[item.slice(1)] || item;
    }
    if (Array.isArray(item)) return typeof item[0] === "number" ? item : item.map((x) => coloured(x, colours));
    if (item && typeof item === "object") {
      return Object.fromEntries(Object.entries(item).map(([key, x]) => [key, coloured(x, colours)]));
    }
    return item;
  };
  const axes = (layout, colours, narrow) => {
    for (const key of Object.keys(layout)) {
      if (!/^[xy]axis/.test(key)) continue;
      layout[key] = {
        gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.soft, tickcolor: colours.soft,
        ticks: "outside", ticklen: 4, exponentformat: "none", showline: true, automargin: true, ...layout[key],
      };
      layout[key].title = { standoff: 8, font: { size: 12 }, ...(layout[key].title || {}) };
      if (narrow && !layout[key].tickvals && !layout[key].dtick) layout[key].nticks = 6;
    }
  };
  const figureOf = (plot, spec) => {
    const colours = palette(), narrow = plot.clientWidth < 480;
    const data = coloured(spec.data, colours), layout = coloured(spec.layout, colours);
    axes(layout, colours, narrow);
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      font: { family: "system-ui, sans-serif", size: 12, color: colours.ink },
      // paper is narrower than most screens
      ...(printing.now ? { width: plot.closest(".wide") ? 680 : 560 } : {}),
      margin: { l: narrow ? 48 : 60, r: narrow ? 10 : 18, t: 26, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      hoverlabel: { bgcolor: colours.hover, bordercolor: colours.soft, font: { color: colours.ink } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.grey, activecolor: colours.ink },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    };
    const three = data.some((trace) => trace.type === "surface");
    const buttons = three ? ["toImage", "resetCameraDefault3d"] : ["toImage", "zoom2d", "pan2d", "resetScale2d"];
    return [data, { ...base, ...layout }, { responsive: true, displaylogo: false, modeBarButtons: [buttons] }];
  };

  const unpacked = async (id) => {
    const holder = document.getElementById(id), text = atob(holder.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k += 1) bytes[k] = text.charCodeAt(k);
    holder.remove();
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  };

  const start = async () => {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("This browser cannot unpack the plots; all numbers are in the tables.");
    }
    const figures = JSON.parse(await unpacked("figures-packed"));
    const script = document.createElement("script");
    script.textContent = await unpacked("plotly-packed");
    document.head.append(script);
    if (!window.Plotly) throw new Error("The plots could not be unpacked; all numbers are in the tables.");
    root.classList.add("plots");
    const plots = all(".plot");
    const chosen = {};
    const specOf = (plot) => {
      const figure = figures[plot.dataset.figure], k = chosen[plot.dataset.figure] || 0;
      return figure.choices.length ? figure.choices[k] : figure;
    };
    const draw = async (plot) => {
      if (plot.dataset.drawn) return;
      plot.dataset.drawn = "begun";
      await window.Plotly.newPlot(plot, ...figureOf(plot, specOf(plot)));
      plot.dataset.drawn = "yes";
    };
    const redraw = async (plot) => {
      if (plot.dataset.drawn === "yes") await window.Plotly.react(plot, ...figureOf(plot, specOf(plot)));
    };
    all("select[data-of]").forEach((select) => select.addEventListener("change", () => {
      chosen[select.dataset.of] = Number(select.value);
      plots.filter((plot) => plot.dataset.figure === select.dataset.of).forEach(redraw);
    }));
    darkness.addEventListener("change", () => plots.forEach(redraw));
    const near = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
    }), { rootMargin: "500px 0px" });
    plots.forEach((plot) => near.observe(plot));
    const folds = all("details.fold");
    const openAll = () => folds.forEach((fold) => { fold.open = true; });
    const drawAll = async () => { openAll(); for (const plot of plots) await draw(plot); };
    window.addEventListener("beforeprint", () => {
      printing.now = true;
      openAll();
      plots.forEach((plot) => (plot.dataset.drawn ? redraw(plot) : draw(plot)));
    });
    window.addEventListener("afterprint", () => { printing.now = false; plots.forEach(redraw); });
    window.braggscale = { plots: plots.length, drawAll, unfold };
  };
  start().catch((error) => {
    const notice = document.getElementById("notice");
    notice.textContent = error.message;
    notice.hidden = false;
  });
})();
