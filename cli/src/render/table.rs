//! Aligned columns. Knows nothing of what is in the cells, but for their colour.

use super::Ink;

/// A column's head, and to which side its cells lean.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    right: bool,
}

impl Column {
    /// For words.
    #[must_use]
    pub const fn left(head: &'static str) -> Self {
        Self { head, right: false }
    }

    /// For figures.
    #[must_use]
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true }
    }
}

/// How much a cell wants to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Calm,
    Good,
    Warning,
    Bad,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    mood: Mood,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), mood: Mood::Calm }
    }
}

impl Cell {
    /// In green.
    #[must_use]
    pub fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), mood: Mood::Good }
    }

    /// In yellow.
    #[must_use]
    pub fn warning(text: impl Into<String>) -> Self {
        Self { text: text.into(), mood: Mood::Warning }
    }

    /// In red.
    #[must_use]
    pub fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), mood: Mood::Bad }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn inked(&self, ink: Ink) -> String {
        let code = match (ink, self.mood) {
            (Ink::Plain, _) | (_, Mood::Calm) => return self.text.clone(),
            (Ink::Coloured, Mood::Good) => 32,
            (Ink::Coloured, Mood::Warning) => 33,
            (Ink::Coloured, Mood::Bad) => 31,
        };
        format!("\u{1b}[{code}m{}\u{1b}[0m", self.text)
    }
}

/// Rows of equal length under their heads.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not as many cells as the table has columns.
    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, heads first, two spaces between columns, no space at a line's end.
    #[must_use]
    pub fn text(&self, ink: Ink) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let widest = self.rows.iter().map(|row| row[at].width()).max().unwrap_or(0);
                widest.max(self.columns[at].head.len())
            })
            .collect();
        let heads: Vec<Cell> = self.columns.iter().map(|column| column.head.into()).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            self.line(row, &widths, ink, &mut text);
        }
        text
    }

    fn line(&self, row: &[Cell], widths: &[usize], ink: Ink, text: &mut String) {
        let mut owed = 0;
        for (at, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
            let padding = widths[at] - cell.width();
            if column.right {
                owed += padding;
            }
            if !cell.text.is_empty() {
                text.extend(std::iter::repeat_n(' ', owed));
                owed = 0;
                text.push_str(&cell.inked(ink));
            }
            owed += 2 + if column.right { 0 } else { padding };
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lean_left_figures_right_and_no_line_ends_in_a_space() {
        let mut table = Table::new([Column::left("NAME"), Column::right("RPS"), Column::left("NOTE")]);
        table.row(["a".into(), "10.0rps".into(), "".into()]);
        table.row(["longer".into(), "1.0rps".into(), "µ".into()]);
        assert_eq!(table.text(Ink::Plain), "NAME        RPS  NOTE\na       10.0rps\nlonger   1.0rps  µ\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new([Column::right("A"), Column::left("B")]);
        table.row([Cell::bad("1"), "x".into()]);
        assert_eq!(table.text(Ink::Coloured), "A  B\n\u{1b}[31m1\u{1b}[0m  x\n");
    }
}
