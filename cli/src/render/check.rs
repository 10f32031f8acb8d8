//! The findings of `check`: a mark per line, a hint per fault.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Ink, json, units};
use crate::args::Form;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Works, but will not for ever.
    Warning,
    /// Broken.
    Failed,
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Under which head it is shown.
    pub topic: &'static str,
    /// What holds, or should.
    pub what: String,
    /// Whether it does.
    pub verdict: Verdict,
    /// What stands against it, when something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// It is as it should be.
    #[must_use]
    pub fn fine(topic: &'static str, what: impl Into<String>) -> Self {
        Self { topic, what: what.into(), verdict: Verdict::Fine, fault: None, hint: None }
    }

    /// It is not.
    #[must_use]
    pub fn fault(
        topic: &'static str,
        what: impl Into<String>,
        verdict: Verdict,
        fault: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { topic, what: what.into(), verdict, fault: Some(fault.into()), hint: Some(hint.into()) }
    }
}

/// The findings in order, and the sum of them.
#[must_use]
pub fn findings(findings: &[Finding], form: Form, ink: Ink) -> String {
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    let warnings = findings.iter().filter(|finding| finding.verdict == Verdict::Warning).count();
    if form == Form::Json {
        return json(&serde_json::json!({ "healthy": failed == 0, "findings": findings }));
    }
    let mut text = String::new();
    let mut topic = "";
    for finding in findings {
        if finding.topic != topic {
            let gap = if topic.is_empty() { "" } else { "\n" };
            topic = finding.topic;
            let _ = writeln!(text, "{gap}{topic}\n{}", "-".repeat(topic.chars().count()));
        }
        let _ = writeln!(text, "{} {}", mark(finding.verdict, ink), finding.what);
        for line in finding.fault.iter().flat_map(|fault| fault.lines()) {
            let _ = writeln!(text, "    {line}");
        }
        if let Some(hint) = &finding.hint {
            let _ = writeln!(text, "    hint: {hint}");
        }
    }
    let warned =
        if warnings > 0 { format!(", {}", units::count(warnings, "warning")) } else { String::new() };
    let _ = match failed {
        0 => writeln!(text, "\n{} healthy{warned}", mark(Verdict::Fine, ink)),
        _ => writeln!(
            text,
            "\n{} {} failed{warned}",
            mark(Verdict::Failed, ink),
            units::count(failed, "check")
        ),
    };
    text
}

fn mark(verdict: Verdict, ink: Ink) -> String {
    let (mark, code) = match verdict {
        Verdict::Fine => ("√", 32),
        Verdict::Warning => ("‼", 33),
        Verdict::Failed => ("×", 31),
    };
    if ink == Ink::Coloured { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.to_owned() }
}
