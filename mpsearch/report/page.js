// A click on a column's head sorts the layers by it; a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.rows[0].querySelectorAll("th").forEach((head, column) => {
    let direction = -1;
    head.addEventListener("click", () => {
      direction = -direction;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b);
      [...body.rows].sort((a, b) => direction * compare(key(a), key(b))).forEach((row) => body.append(row));
    });
  });
}
