//! Rows in columns.

use super::escape;

/// A table that is printed when all of it is known, with columns as wide as they have to be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// A cell takes no more characters of a line than this.
const WIDEST: usize = 80;

impl Table {
    /// A table with a head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| cell.to_uppercase()).collect()] }
    }

    /// A table without one.
    pub(crate) fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row, of any texts.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| shorten(&escape(cell))).collect());
    }

    /// The same of texts that say less when they are cut, as addresses and digests do.
    pub(crate) fn whole<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| escape(cell)).collect());
    }

    /// All of it, without the end of the last line.
    pub(crate) fn text(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn shorten(cell: &str) -> String {
    if cell.chars().count() <= WIDEST {
        return cell.to_owned();
    }
    cell.chars().take(WIDEST - 1).chain(['…']).collect()
}
