//! A measured run as a picture: nodes and leaders, faults, writes, propagation and callers' requests over one axis of time.
//! Pure: figures in, SVG out.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measured::{Measured, Stretch};
use crate::shape::Shape;

/// Width of the picture, and of what is left of the axis' zero.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 20.0;
/// Columns into which the time is cut.
const COLUMNS: usize = 240;
/// Heights of a node's lane, and of one of the charts.
const LANE: f64 = 18.0;
const CHART: f64 = 70.0;
/// Faults that are named below the picture; more are only shown.
const NAMED_MAX: usize = 24;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#263238}.small{font-size:10px;fill:#607d8b}\
.up{fill:#b0bec5}.leads{fill:#1565c0}.fault{stroke:#c62828;stroke-width:1;stroke-dasharray:3 2}\
.write{fill:#2e7d32}.late{fill:#6a1b9a}.failed{fill:#c62828}.again{fill:#f9a825}.axis{stroke:#90a4ae;stroke-width:1}";

struct Canvas {
    text: String,
    end: Duration,
    /// Where the next thing begins.
    y: f64,
}

/// Draws a run of this shape; `title` stands above it.
#[must_use]
pub fn picture(title: &str, shape: &Shape, measured: &Measured) -> String {
    let mut canvas = Canvas { text: String::new(), end: measured.end.max(Duration::from_millis(1)), y: 40.0 };
    let top = canvas.y;
    canvas.lanes(shape, measured);
    canvas.writes(measured);
    canvas.propagation(measured);
    canvas.requests(measured);
    canvas.faults(top, shape, measured);
    canvas.legend(measured);
    let Canvas { text, y: height, .. } = canvas;
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\">\
<style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
<text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{title}</text>\n{text}</svg>\n"
    )
}

impl Canvas {
    fn x(&self, at: Duration) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * at.as_secs_f64() / self.end.as_secs_f64()
    }

    fn label(&mut self, text: &str, below: f64) {
        let y = self.y + below;
        let _ = writeln!(self.text, "<text x=\"8\" y=\"{y:.1}\">{}</text>", escaped(text));
    }

    fn bar(&mut self, class: &str, stretch: Stretch, y: f64, height: f64) {
        let (from, to) = (self.x(stretch.from), self.x(stretch.to));
        let width = (to - from).max(1.0);
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    /// A lane for each node: grey while it runs, blue while it leads, nothing while it is dead.
    fn lanes(&mut self, shape: &Shape, measured: &Measured) {
        for node in 1..=shape.nodes {
            self.label(&format!("node {node}"), 12.0);
            let y = self.y + 2.0;
            for stretch in lives(node, measured) {
                self.bar("up", stretch, y, LANE - 6.0);
            }
            for stretch in reigns(node, measured) {
                self.bar("leads", stretch, y, LANE - 6.0);
            }
            self.y += LANE;
        }
        self.y += 8.0;
    }

    fn writes(&mut self, measured: &Measured) {
        let mut counts = [0.0; COLUMNS];
        for at in &measured.acknowledged {
            counts[self.column(*at)] += 1.0;
        }
        let per_second = self.end.as_secs_f64() / to_f64(COLUMNS);
        let rates = counts.map(|count| count / per_second);
        self.chart("writes/s", "write", &rates, |top| format!("{top:.0}"));
    }

    fn propagation(&mut self, measured: &Measured) {
        let mut worst = [0.0_f64; COLUMNS];
        for (at, took) in &measured.propagation {
            let column = self.column(*at);
            worst[column] = worst[column].max(took.as_secs_f64() * 1000.0);
        }
        self.chart("propagation", "late", &worst, |top| format!("{top:.1} ms"));
    }

    fn requests(&mut self, measured: &Measured) {
        let (mut failed, mut again, mut sent) = ([0.0; COLUMNS], [0.0; COLUMNS], [0.0; COLUMNS]);
        for look in &measured.requests {
            let column = self.column(look.at);
            failed[column] += f64_of(look.failed);
            again[column] += look.tried_again;
            sent[column] += f64_of(look.sent);
        }
        let share = |part: [f64; COLUMNS]| {
            std::array::from_fn(
                |column| if sent[column] > 0.0 { 100.0 * part[column] / sent[column] } else { 0.0 },
            )
        };
        self.chart("tried again", "again", &share(again), |top| format!("{top:.1} %"));
        self.chart("failed", "failed", &share(failed), |top| format!("{top:.1} %"));
    }

    /// One chart: columns up to the largest value, which is named.
    fn chart(&mut self, name: &str, class: &str, values: &[f64; COLUMNS], told: impl Fn(f64) -> String) {
        let top = values.iter().copied().fold(0.0, f64::max);
        self.label(name, 14.0);
        let (y, base) = (self.y + 28.0, self.y + CHART - 8.0);
        let _ = writeln!(self.text, "<text class=\"small\" x=\"8\" y=\"{y:.1}\">max {}</text>", told(top));
        let width = (WIDTH - LEFT - RIGHT) / to_f64(COLUMNS);
        for (column, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let height = ((CHART - 14.0) * value / top).max(0.5);
            let x = LEFT + width * to_f64(column);
            let _ = writeln!(
                self.text,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
                base - height
            );
        }
        let _ = writeln!(
            self.text,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{base:.1}\" x2=\"{:.1}\" y2=\"{base:.1}\"/>",
            WIDTH - RIGHT
        );
        self.y += CHART;
    }

    /// A line through everything at each fault, with its number, and the axis of time.
    fn faults(&mut self, top: f64, shape: &Shape, measured: &Measured) {
        let bottom = self.y;
        for (number, (at, _)) in measured.acts.iter().enumerate() {
            let x = self.x(*at);
            let _ = writeln!(
                self.text,
                "<line class=\"fault\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
<text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                top - 3.0,
                number + 1
            );
        }
        // Without a word, writes that end with their clients would look like an outage.
        for (at, what) in [(shape.safety, "faults end"), (shape.writes_end(), "clients end")] {
            let x = self.x(at);
            let _ = writeln!(
                self.text,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{what}</text>",
                x + 3.0,
                top - 3.0
            );
        }
        self.y += 12.0;
        for at in ticks(self.end) {
            let (x, y, seconds) = (self.x(at), self.y, at.as_secs());
            let _ = writeln!(
                self.text,
                "<text class=\"small\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{seconds}s</text>"
            );
        }
        self.y += 18.0;
    }

    fn legend(&mut self, measured: &Measured) {
        for (number, (at, sentence)) in measured.acts.iter().enumerate().take(NAMED_MAX) {
            let (y, told) = (self.y, escaped(sentence));
            let _ = writeln!(
                self.text,
                "<text x=\"{LEFT}\" y=\"{y:.1}\">{}: {:.3}s {told}</text>",
                number + 1,
                at.as_secs_f64()
            );
            self.y += 16.0;
        }
        if measured.acts.len() > NAMED_MAX {
            let (y, more) = (self.y, measured.acts.len() - NAMED_MAX);
            let _ = writeln!(self.text, "<text x=\"{LEFT}\" y=\"{y:.1}\">and {more} more</text>");
            self.y += 16.0;
        }
        self.y += 6.0;
    }

    fn column(&self, at: Duration) -> usize {
        let columns = u128::try_from(COLUMNS).expect("a small number");
        let column = at.as_micros() * columns / self.end.as_micros().max(1);
        usize::try_from(column).unwrap_or(COLUMNS).min(COLUMNS - 1)
    }
}

/// Round times along the axis, at most a dozen.
fn ticks(end: Duration) -> impl Iterator<Item = Duration> {
    let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
    let whole = end.as_secs();
    let step = steps.into_iter().find(|step| whole / step <= 11).unwrap_or(whole / 11);
    (0..=whole / step).map(move |number| Duration::from_secs(number * step))
}

/// When a node ran.
fn lives(node: u64, measured: &Measured) -> Vec<Stretch> {
    let mut lives = Vec::new();
    let mut from = Duration::ZERO;
    for (_, down) in measured.down.iter().filter(|(of, _)| *of == node) {
        lives.push(Stretch { from, to: down.from });
        from = down.to;
    }
    lives.push(Stretch { from, to: measured.end });
    lives
}

/// When a node led: from when it began until another did, or it died.
fn reigns(node: u64, measured: &Measured) -> Vec<Stretch> {
    let began = measured.leaders.iter().enumerate().filter(|(_, (_, leader, _))| *leader == node);
    let reign = |(number, (from, ..)): (usize, &(Duration, u64, u64))| {
        let next = measured.leaders.get(number + 1).map_or(measured.end, |(at, ..)| *at);
        let died = measured.down.iter().filter(|(of, down)| *of == node && down.from >= *from);
        let died = died.map(|(_, down)| down.from).min().unwrap_or(measured.end);
        Stretch { from: *from, to: next.min(died) }
    };
    began.map(reign).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[allow(clippy::cast_precision_loss)] // counts of a picture
fn f64_of(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)] // columns of a picture
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_dead_leader_leads_no_more_and_a_dead_node_has_a_gap() {
        let measured = Measured {
            end: 10 * S,
            leaders: vec![(S, 1, 2), (5 * S, 2, 3)],
            down: vec![(1, Stretch { from: 4 * S, to: 6 * S })],
            ..Measured::default()
        };
        let stretch = |from, to| Stretch { from: from * S, to: to * S };
        assert_eq!(lives(1, &measured), [stretch(0, 4), stretch(6, 10)]);
        assert_eq!(reigns(1, &measured), [stretch(1, 4)]);
        assert_eq!(reigns(2, &measured), [stretch(5, 10)]);
    }

    #[test]
    fn the_axis_has_round_times_and_not_too_many() {
        let seconds = |end| ticks(Duration::from_secs(end)).map(|at| at.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(37), [0, 5, 10, 15, 20, 25, 30, 35]);
        assert_eq!(seconds(0), [0]);
        for end in [1, 11, 12, 100, 3600, 2 * 86_400, 100 * 86_400] {
            assert!((2..=13).contains(&seconds(end).len()), "{end}: {:?}", seconds(end));
        }
    }

    #[test]
    fn every_fault_has_its_line_and_no_text_breaks_the_picture() {
        let measured = Measured {
            end: 10 * S,
            acts: (0..30).map(|at| (at * S / 10, "a <wild> & \"bad\" one".to_owned())).collect(),
            ..Measured::default()
        };
        let drawn = picture("a < b", &Shape::default(), &measured);
        assert_eq!(drawn.matches("class=\"fault\"").count(), 30);
        assert!(drawn.contains("a &lt; b") && drawn.contains("and 6 more") && !drawn.contains("<wild>"));
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    }
}
