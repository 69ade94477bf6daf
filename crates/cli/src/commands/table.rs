//! Columns of text, aligned.

use std::fmt::Write;

/// Lines of cells.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(ToOwned::to_owned).to_vec()] }
    }

    /// Appends a line.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Two columns without headings.
    pub(crate) fn pairs() -> Self {
        Self { rows: Vec::new() }
    }

    /// The text: columns of numbers to the right, others to the left.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let column = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let widths: Vec<usize> = (0..columns)
            .map(|at| column(at).map(|cell| cell.chars().count()).max().unwrap_or_default())
            .collect();
        let right: Vec<bool> = (0..columns)
            .map(|at| at > 0 && column(at).skip(1).all(|cell| cell.parse::<f64>().is_ok()))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                // Writing to a string can't fail.
                let _ = match right {
                    true => write!(line, "{cell:>width$}  "),
                    false => write!(line, "{cell:<width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(["name", "ready"]);
        table.row(["mail".into(), "7".into()]);
        table.row(["a.longer.name".into(), "12345".into()]);
        let expected = "name           ready\nmail               7\na.longer.name  12345\n";
        assert_eq!(table.text(), expected);
    }
}
