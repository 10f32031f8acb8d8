//! The one table of a run: each figure of ours beside the peer's, with their ratio and what was promised.

use std::time::Duration;

use crate::table::{median, print, quantile};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// A rate: the ratio is ours to theirs.
    More,
    /// A time or a size: the ratio is theirs to ours.
    Less,
}

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rows: Vec<Vec<String>>,
}

impl Summary {
    /// Medians of figures of each.
    pub(crate) fn row(&mut self, what: String, ours: &[f64], theirs: &[f64], better: Better, promised: &str) {
        let (us, them) = (median(ours.to_vec()), median(theirs.to_vec()));
        let ratio = if better == Better::More { us / them } else { them / us };
        let cells = [shown(us), shown(them), format!("{ratio:.2}"), promised.to_owned()];
        self.rows.push(std::iter::once(what).chain(cells).collect());
    }

    /// Times: median and 99th percentile, each with its ratio; the counts of trials stand with the name.
    pub(crate) fn spread(&mut self, what: &str, ours: &mut [f64], theirs: &mut [f64]) {
        for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let (us, them) = (quantile(ours, q), quantile(theirs, q));
            let (trials, others) = (ours.len(), theirs.len());
            let what = format!("{what}, {name} of {trials} and {others}");
            self.row(what, &[us], &[them], Better::Less, "");
        }
    }

    /// Prints it.
    pub(crate) fn print(&self, took: Duration) {
        let title = format!("In one table; the run took {} s", took.as_secs());
        print(&title, &["what", "ours", "etcd", "times better", "promised"], &self.rows);
    }
}

fn shown(figure: f64) -> String {
    match figure {
        figure if figure.is_nan() => "-".to_owned(),
        figure if figure < 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    }
}
