"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const layout = data.layout;
  const grouped = new Intl.NumberFormat("en");

  const show = (lines, event) => {
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 6);
    const below = event.clientY + 18;
    const y = below + box.height < window.innerHeight ? below : event.clientY - box.height - 12;
    tip.style.left = `${Math.max(6, x)}px`;
    tip.style.top = `${Math.max(6, y)}px`;
  };

  // The square of the router under a point of the picture, or null.
  const routerAt = (px, py) => {
    const along = (p, start, per, gap, total) => {
      const chip = Math.floor((p - start) / (per * layout.step + gap));
      const inside = p - start - chip * (per * layout.step + gap);
      const at = chip * per + Math.min(Math.floor(inside / layout.step), per - 1);
      return chip < 0 || inside < 0 || at >= total ? null : at;
    };
    const x = along(px, layout.left, layout.columns, layout.gap_x, layout.routers_x);
    const y = along(py, layout.top, layout.rows, layout.gap_y, layout.routers_y);
    if (x === null || y === null) return null;
    return {
      x, y, id: y * layout.routers_x + x,
      left: layout.left + x * layout.step + Math.floor(x / layout.columns) * layout.gap_x,
      top: layout.top + y * layout.step + Math.floor(y / layout.rows) * layout.gap_y,
    };
  };

  const byRouter = new Map();
  if (data.cores) {
    data.cores.router.forEach((router, core) => {
      if (!byRouter.has(router)) byRouter.set(router, []);
      byRouter.get(router).push(core);
    });
  }

  const microseconds = (us) => (us >= 1000 ? `${Number((us / 1000).toPrecision(4))} ms` : `${us} µs`);

  const coreLines = (core, router) => {
    const c = data.cores;
    const share = (100 * c.busy_us[core] * 1e-6) / data.seconds;
    const lines = [
      `${data.kinds[c.kind[core]]} ${core}, router (${router.x}, ${router.y}), slot ${c.slot[core]}, chip ${c.chip[core]}`,
      c.layers[core].map((i) => data.names[i]).join(", ") || "holds no layer",
    ];
    lines.push(`works ${microseconds(c.busy_us[core])} an input, ${share.toPrecision(3)} % of the latency`);
    lines.push(`${grouped.format(c.ops[core])} operations`);
    lines.push(`${grouped.format(c.packets_in[core])} packets in, ${grouped.format(c.packets_out[core])} out`);
    return lines;
  };

  const pickCore = (px, py, router) => {
    const here = byRouter.get(router.id) || [];
    const extras = here.filter((core) => data.cores.kind[core] !== 0);
    const middle = router.top + layout.cell / 2;
    for (const [i, core] of extras.entries()) {
      const x = router.left + (layout.cell * (i + 1)) / (extras.length + 1);
      if (Math.hypot(px - x, py - middle) <= layout.cell * 0.2) {
        const r = layout.cell * 0.2;
        return { core, box: [x - r - 2, middle - r - 2, 2 * r + 4, 2 * r + 4] };
      }
    }
    const side = layout.cell / layout.slot_columns;
    const column = Math.floor((px - router.left) / side);
    const row = Math.floor((py - router.top) / side);
    if (column < 0 || row < 0 || column >= layout.slot_columns) return null;
    const slot = row * layout.slot_columns + column;
    const core = here.find((c) => data.cores.kind[c] === 0 && data.cores.slot[c] === slot);
    if (core === undefined) return null;
    return { core, box: [router.left + column * side - 1, router.top + row * side - 1, side, side] };
  };

  const packetsOver = (x, y, dx, dy) => {
    const w = layout.routers_x;
    const h = layout.routers_y;
    const tx = x + dx;
    const ty = y + dy;
    if (tx < 0 || ty < 0 || tx >= w || ty >= h) return null;
    const along = (w - 1) * h;
    const across = w * (h - 1);
    if (dx) return data.links[(dx > 0 ? 0 : along) + y * (w - 1) + Math.min(x, tx)];
    return data.links[2 * along + (dy > 0 ? 0 : across) + Math.min(y, ty) * w + x];
  };

  const linkLines = (px, py, router) => {
    const dx = px - router.left - layout.cell / 2;
    const dy = py - router.top - layout.cell / 2;
    const lines = [`router (${router.x}, ${router.y})`];
    const near = Math.hypot(dx, dy) > layout.step * 0.2;
    const sideways = Math.abs(dx) > Math.abs(dy);
    const ways = [["east", 1, 0], ["west", -1, 0], ["south", 0, 1], ["north", 0, -1]];
    for (const [name, ux, uy] of ways) {
      if (near && (sideways ? ux !== Math.sign(dx) : uy !== Math.sign(dy))) continue;
      const out = packetsOver(router.x, router.y, ux, uy);
      if (out === null) continue;
      const back = packetsOver(router.x + ux, router.y + uy, -ux, -uy);
      const each = (n) => grouped.format(Math.round(n / data.inputs));
      lines.push(`${name} to (${router.x + ux}, ${router.y + uy}): ${each(out)} packets out, ${each(back)} back`);
    }
    return lines;
  };

  const watch = (name, lookUp) => {
    const svg = document.getElementById(name);
    const frame = svg.querySelector(".pick");
    const unframe = () => ["width", "height"].forEach((key) => frame.setAttribute(key, 0));
    const leave = () => {
      tip.hidden = true;
      unframe();
    };
    const move = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const router = routerAt(point.x, point.y);
      const found = router && lookUp(point.x, point.y, router);
      if (!found) return leave();
      ["x", "y", "width", "height"].forEach((key, i) => frame.setAttribute(key, found.box[i]));
      return show(found.lines, event);
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") leave(); // a lifted finger also leaves; its tip stays until the next tap
    });
    document.addEventListener("pointerdown", (event) => {
      if (!svg.contains(event.target)) unframe();
    });
  };

  if (data.cores) {
    watch("core-map", (px, py, router) => {
      const hit = pickCore(px, py, router);
      return hit && { box: hit.box, lines: coreLines(hit.core, router) };
    });
  }
  watch("link-map", (px, py, router) => ({
    box: [router.left - 1, router.top - 1, layout.cell + 2, layout.cell + 2],
    lines: linkLines(px, py, router),
  }));
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg.mesh")) tip.hidden = true;
  });
  window.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("number") || column === 0;
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? (first === "descending" ? "ascending" : "descending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const key = (row) => (numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * (numeric ? key(a) - key(b) : key(a).localeCompare(key(b))));
      table.tBodies[0].append(...rows);
    }));
  }
})();
