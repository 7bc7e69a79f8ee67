// A table whose rows follow the data. All of it goes in as text, never as markup.

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class Table {
  /**
   * `columns` have a `name`, `text(row)`, and perhaps: `value(row)` to sort by, `isNumber`,
   * `render(cell, row)` in place of a text. `key(row)` identifies a row.
   */
  constructor(table, columns, key, sort) {
    this.columns = columns;
    this.key = key;
    this.sort = sort;
    this.rows = new Map();
    this.heads = [];
    this.onsort = () => {};
    const head = table.appendChild(document.createElement("thead"));
    head.setAttribute("role", "rowgroup");
    head.append(this.#headRow());
    this.body = table.appendChild(document.createElement("tbody"));
    this.body.setAttribute("role", "rowgroup");
    this.#showSort();
  }

  show(rows) {
    const wanted = this.#sorted(rows);
    const keys = new Set(wanted.map(this.key));
    for (const [key, made] of this.rows) {
      if (!keys.has(key)) {
        made.row.remove();
        this.rows.delete(key);
      }
    }
    let place = this.body.firstChild;
    for (const row of wanted) {
      const made = this.#rowOf(row);
      this.columns.forEach((column, index) => {
        const cell = made.cells[index];
        if (column.render) column.render(cell, row);
        else put(cell, column.text(row));
      });
      if (made.row === place) place = place.nextSibling;
      else this.body.insertBefore(made.row, place);
    }
  }

  #headRow() {
    const row = document.createElement("tr");
    row.setAttribute("role", "row");
    for (const column of this.columns) {
      const head = row.appendChild(document.createElement("th"));
      head.setAttribute("role", "columnheader");
      head.scope = "col";
      head.classList.toggle("number", column.isNumber === true);
      if (this.sort) {
        const button = head.appendChild(document.createElement("button"));
        button.type = "button";
        button.textContent = column.name;
        button.addEventListener("click", () => this.#sortBy(column));
      } else {
        head.textContent = column.name;
      }
      this.heads.push(head);
    }
    return row;
  }

  #rowOf(row) {
    const key = this.key(row);
    let made = this.rows.get(key);
    if (!made) {
      const element = document.createElement("tr");
      element.setAttribute("role", "row");
      const cells = this.columns.map((column) => {
        const cell = element.appendChild(document.createElement("td"));
        cell.setAttribute("role", "cell");
        cell.dataset.label = column.name;
        cell.classList.toggle("number", column.isNumber === true);
        return cell;
      });
      made = { row: element, cells };
      this.rows.set(key, made);
    }
    return made;
  }

  #sortBy(column) {
    const isSame = this.sort.name === column.name;
    const isDown = isSame ? !this.sort.isDown : column.isNumber === true;
    this.sort = { name: column.name, isDown };
    this.#showSort();
    this.onsort();
  }

  #showSort() {
    if (!this.sort) return;
    this.columns.forEach((column, index) => {
      const direction = this.sort.isDown ? "descending" : "ascending";
      const told = column.name === this.sort.name ? direction : "none";
      this.heads[index].setAttribute("aria-sort", told);
    });
  }

  #sorted(rows) {
    if (!this.sort) return rows;
    const column = this.columns.find(({ name }) => name === this.sort.name);
    const way = this.sort.isDown ? -1 : 1;
    return [...rows].sort((one, other) => {
      const [a, b] = [column.value(one), column.value(other)];
      if (a === null || b === null) return (a === null) - (b === null); // not known: last
      if (a !== b) return a < b ? -way : way;
      return this.key(one) < this.key(other) ? -1 : 1;
    });
  }
}
