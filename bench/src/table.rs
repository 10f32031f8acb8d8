//! Plain tables: a head, rows, columns as wide as they must be.

/// Prints rows under a head; every row has as many cells as the head.
#[allow(clippy::print_stdout)] // what a benchmark is for
pub(crate) fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    println!("\n{title}\n");
    println!("{}", line(head.to_vec()));
    println!("|{}|", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
    for row in rows {
        println!("{}", line(row.iter().map(String::as_str).collect()));
    }
}

/// The middle of some figures; NaN of none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    quantile(&mut figures, 0.5)
}

/// The figure below which a share `q` of all lies; NaN of none.
pub(crate) fn quantile(figures: &mut [f64], q: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rank
    let rank = ((figures.len() as f64 * q).ceil() as usize).clamp(1, figures.len().max(1));
    figures.get(rank - 1).copied().unwrap_or(f64::NAN)
}
