// What a page of the report does by itself; without this script it is whole, but silent.
{
  const contents = document.querySelector(".contents details");
  if (contents) contents.open = matchMedia("(min-width: 64rem)").matches;

  const codes = document.querySelectorAll(".code"), all = document.querySelector("#all-code");
  if (all && codes.length) {
    all.hidden = false;
    all.onclick = () => {
      const open = all.getAttribute("aria-pressed") === "false";
      all.setAttribute("aria-pressed", open);
      for (const code of codes) code.open = open;
    };
  }

  for (const source of document.querySelectorAll("[data-sound]")) {
    source.src = `data:audio/mpeg;base64,${nsynthSounds[source.dataset.sound]}`;
    source.parentElement.load();
  }

  // A table of verdicts, long enough to look for something: by verdict, and by any words of a row.
  for (const table of document.querySelectorAll("main table")) {
    const column = [...(table.tHead?.rows[0].cells ?? [])].findIndex((cell) => cell.textContent === "verdict");
    const rows = [...(table.tBodies[0]?.rows ?? [])];
    if (column < 0 || rows.length < 10) continue;
    const verdict = (row) => row.cells[column].textContent.split(/[:;]/)[0];
    const choice = document.createElement("select"), words = document.createElement("input"), count = document.createElement("output");
    words.type = "search";
    choice.append(new Option("all", ""), ...[...new Set(rows.map(verdict))].sort().map((name) => new Option(name)));
    const filter = () => {
      const wanted = words.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !((!choice.value || verdict(row) === choice.value) && wanted.every((word) => text.includes(word)));
      }
      count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    const bar = document.createElement("div");
    bar.className = "filter";
    for (const [name, control] of [["verdict", choice], ["find", words]]) {
      const label = document.createElement("label");
      label.append(name, control);
      bar.append(label);
      control.addEventListener("input", filter);
    }
    bar.append(count);
    table.before(bar);
    filter();
  }
}
