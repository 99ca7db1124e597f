//! Tables on a terminal: the house style, and fitting a width.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

/// Aligns and pads the columns, in order.
pub(crate) fn align(table: &mut Table, alignments: impl Iterator<Item = CellAlignment>) {
    for (column, alignment) in table.column_iter_mut().zip(alignments) {
        column.set_cell_alignment(alignment);
        column.set_padding((0, 1));
    }
}

/// A table in the house style: rules between rows would double its height.
pub(crate) fn framed() -> Table {
    let mut table = Table::new();
    let rule = || LineStyle::none().fill('─').junction('─');
    table.load_style(
        presets::NOTHING
            .top_border(rule())
            .header_separator(rule())
            .bottom_border(rule()),
    );
    table
}

/// The table as text. Words are broken only if they must be: the dynamic arrangement gives columns an equal share
/// first and breaks long names even if all would fit.
pub(crate) fn fitted(mut table: Table, width: u16) -> String {
    table.set_content_arrangement(ContentArrangement::Disabled);
    let natural = table.to_string();
    if fits(&natural, width) {
        return natural;
    }
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.to_string()
}

/// True if no line is longer than `width`, white space at its end aside.
pub(super) fn fits(text: &str, width: u16) -> bool {
    text.lines()
        .all(|line| line.trim_end().chars().count() <= usize::from(width))
}
