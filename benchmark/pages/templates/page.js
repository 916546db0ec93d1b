"use strict";
// Sorting and filtering of tables, the record behind a figure, and the choice between light and dark. No network.
(() => {
  const records = JSON.parse(document.getElementById("records").textContent);
  const byId = (id) => document.getElementById(id);

  const sortValue = (row, index) => {
    const cell = row.cells[index];
    const given = cell.dataset.sort;
    if (given === undefined) return cell.textContent.trim().toLowerCase();
    return given === "" ? null : Number(given);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  document.querySelectorAll("table").forEach((table) => {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, index) => {
      head.querySelector(".sort").addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending" ||
          (head.getAttribute("aria-sort") === "none" && head.classList.contains("number"));
        table.querySelectorAll("thead th").forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [sortValue(row, index), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null); // missing values stay below
          return descending ? compare(b, a) : compare(a, b);
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  });

  document.querySelectorAll(".filters").forEach((form) => {
    const rows = [...byId(form.dataset.for).tBodies[0].rows];
    const apply = () => {
      const wanted = new FormData(form);
      let shown = 0;
      rows.forEach((row) => {
        row.hidden = ["method", "epochs", "origin"].some((key) => wanted.get(key) && row.dataset[key] !== wanted.get(key));
        shown += !row.hidden;
      });
      form.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
    };
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
  });

  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };
  const show = (ids) => {
    const body = byId("record-body");
    body.replaceChildren();
    ids.forEach((id) => {
      const record = records[id];
      body.append(element("h3", id));
      if (!record) return;
      const list = document.createElement("dl");
      Object.entries(record.facts).forEach(([name, value]) => list.append(element("dt", name), element("dd", value)));
      body.append(list);
      if (record.command) body.append(element("pre", record.command));
      if (record.config) {
        const fold = document.createElement("details");
        fold.append(element("summary", "Configuration and versions"), element("pre", record.config));
        body.append(fold);
      }
    });
    byId("record").showModal();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".figure-button");
    if (button) show(button.dataset.records.split(" "));
  });
  byId("record-close").addEventListener("click", () => byId("record").close());
  byId("record").addEventListener("click", (event) => {
    if (event.target === byId("record")) byId("record").close();
  });

  byId("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const root = document.documentElement;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
})();
