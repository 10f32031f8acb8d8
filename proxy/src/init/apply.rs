//! Runs the tools that put the rules in place or take them away, or only shows what it would run. Everything is tried in an
//! order in which a failure leaves the host without our rules rather than with half of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::plan::{Family, Plan};
use super::{iptables, nft, routes};

/// Which tool writes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// nftables, by `nft`.
    Nft,
    /// `iptables` and `ip6tables`, whatever the host has behind these names.
    Iptables,
    /// `iptables-legacy` and `ip6tables-legacy`.
    IptablesLegacy,
}

/// Why the rules are not as they were asked for.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Nothing was changed.
    #[error(
        "the rules of a host are changed by root (CAP_NET_ADMIN) alone: run it with sudo, or --dry-run to see them"
    )]
    NotRoot,
    /// Nothing was changed.
    #[error("neither nft nor iptables is installed: install the package nftables (or iptables)")]
    NoTool,
    /// Nothing was changed.
    #[error("{0} is not installed: install the package {1}, or choose another by --backend")]
    Missing(&'static str, &'static str),
    /// A tool refused; what it says is told.
    #[error("`{command}` failed: {said}; no rules of ours are left")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
}

/// One run of a tool.
struct Run {
    program: &'static str,
    arguments: Vec<String>,
    input: String,
    unless: Option<Vec<String>>,
    may_fail: bool,
}

/// Puts the rules of `plan` in place, or takes away all that are ours (`None`). Without a `backend` rules are written by nft
/// where it is installed, and taken away by every tool that is. Answers what was run, or would be.
///
/// # Errors
/// See [`InitError`].
pub fn apply(plan: Option<&Plan>, backend: Option<Backend>, dry_run: bool) -> Result<String, InitError> {
    let backends = backends(plan, backend, dry_run)?;
    if plan.is_some_and(Plan::keeps_callers) && !dry_run && !is_installed("ip") {
        return Err(InitError::Missing("ip", "iproute2"));
    }
    let mut runs = all_runs(plan, &backends);
    let shown: String = runs.iter().map(Run::shown).collect();
    if dry_run {
        return Ok(shown);
    }
    if !may_change_rules() {
        return Err(InitError::NotRoot);
    }
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        runs.retain(|run| run.program != "ip" || run.arguments[0] != "-6"); // a host without IPv6 has no such routes
    }
    for run in &runs {
        if let Err(error) = run.run() {
            for undo in all_runs(None, &backends) {
                let _ = undo.run(); // the first failure is the one to tell
            }
            return Err(error);
        }
    }
    Ok(shown)
}

/// The tools to run.
fn backends(plan: Option<&Plan>, backend: Option<Backend>, dry_run: bool) -> Result<Vec<Backend>, InitError> {
    let mut installed: Vec<_> =
        Backend::ALL.into_iter().filter(|backend| is_installed(backend.tool().0)).collect();
    match backend {
        Some(backend) if dry_run || installed.contains(&backend) => Ok(vec![backend]),
        Some(backend) => Err(InitError::Missing(backend.tool().0, backend.tool().1)),
        None if installed.is_empty() && dry_run => Ok(vec![Backend::Nft]),
        None if installed.is_empty() => Err(InitError::NoTool),
        None => {
            if plan.is_some() {
                installed.truncate(1);
            }
            Ok(installed)
        }
    }
}

/// Root in a container need not have the capability, and another user may.
fn may_change_rules() -> bool {
    let capabilities = rustix::thread::capabilities(None);
    capabilities.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::NET_ADMIN))
}

impl Backend {
    /// Every tool, the one that is taken first where it is installed.
    const ALL: [Self; 3] = [Self::Nft, Self::Iptables, Self::IptablesLegacy];

    fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::Nft => ("nft", "nftables"),
            Self::Iptables => ("iptables", "iptables"),
            Self::IptablesLegacy => ("iptables-legacy", "iptables"),
        }
    }

    fn iptables(self, family: Family, is_restore: bool) -> &'static str {
        match (self, family, is_restore) {
            (Self::IptablesLegacy, Family::V4, false) => "iptables-legacy",
            (Self::IptablesLegacy, Family::V4, true) => "iptables-legacy-restore",
            (Self::IptablesLegacy, Family::V6, false) => "ip6tables-legacy",
            (Self::IptablesLegacy, Family::V6, true) => "ip6tables-legacy-restore",
            (_, Family::V4, false) => "iptables",
            (_, Family::V4, true) => "iptables-restore",
            (_, Family::V6, false) => "ip6tables",
            (_, Family::V6, true) => "ip6tables-restore",
        }
    }
}

/// What every tool does, in an order in which no connection is taken before its way is there.
fn all_runs(plan: Option<&Plan>, backends: &[Backend]) -> Vec<Run> {
    let rules = backends.iter().flat_map(|backend| runs(plan, *backend));
    if plan.is_some_and(Plan::keeps_callers) {
        return route_runs(routes::steps).chain(rules).collect();
    }
    rules.chain(route_runs(routes::removal)).collect()
}

fn route_runs(steps: fn(Family) -> Vec<routes::Step>) -> impl Iterator<Item = Run> {
    [Family::V4, Family::V6].into_iter().flat_map(steps).map(|step| Run {
        program: "ip",
        arguments: step.arguments.split(' ').map(str::to_owned).collect(),
        input: String::new(),
        unless: None,
        may_fail: step.may_fail,
    })
}

fn runs(plan: Option<&Plan>, backend: Backend) -> Vec<Run> {
    let mut runs = Vec::new();
    if backend == Backend::Nft {
        let input = plan.map_or_else(nft::removal, nft::script);
        let arguments = vec!["-f".to_owned(), "-".to_owned()];
        runs.push(Run { program: "nft", arguments, input, unless: None, may_fail: false });
    } else {
        for family in [Family::V4, Family::V6] {
            let steps = plan.map_or_else(iptables::removal, |plan| iptables::steps(plan, family));
            runs.extend(steps.into_iter().map(|step| Run {
                program: backend.iptables(family, step.is_restore),
                arguments: step.arguments,
                input: step.input,
                unless: step.unless,
                may_fail: step.may_fail,
            }));
        }
    }
    runs
}

impl Run {
    /// As a person would type it.
    fn shown(&self) -> String {
        let mut text = String::new();
        let command = |arguments: &[String]| format!("{} {}", self.program, arguments.join(" "));
        if let Some(unless) = &self.unless {
            let _ = write!(text, "{} 2>/dev/null || ", command(unless)); // a string grows as needed
        }
        text.push_str(&command(&self.arguments));
        if self.may_fail {
            text.push_str(" 2>/dev/null || true");
        }
        if self.input.is_empty() {
            text.push('\n');
        } else {
            let _ = write!(text, " <<'END'\n{}END\n", self.input);
        }
        text
    }

    fn run(&self) -> Result<(), InitError> {
        if let Some(unless) = &self.unless
            && self.output(unless).is_ok_and(|output| output.status.success())
        {
            return Ok(());
        }
        let failed = |said: String| InitError::Failed {
            command: format!("{} {}", self.program, self.arguments.join(" ")),
            said,
        };
        match self.output(&self.arguments) {
            _ if self.may_fail => Ok(()),
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn output(&self, arguments: &[String]) -> std::io::Result<Output> {
        let mut child = Command::new(self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(self.input.as_bytes()); // one that has ended says why itself
        }
        child.wait_with_output()
    }
}

/// Whether a program of this name is on the path, or where root's programs are.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::super::plan::example;
    use super::*;
    use crate::settings::InboundMode;

    #[test]
    fn what_is_shown_is_what_a_shell_would_run() {
        let shown = apply(Some(&example()), Some(Backend::Nft), true).unwrap();
        assert!(shown.starts_with("nft -f - <<'END'\nadd table inet penstock\n"), "{shown}");
        let shown = apply(Some(&example()), Some(Backend::IptablesLegacy), true).unwrap();
        assert!(shown.contains("ip6tables-legacy-restore --noflush -w 5 <<'END'\n*nat\n"), "{shown}");
        let jump = "iptables-legacy -w 5 -t nat -C OUTPUT -p tcp -j PENSTOCK_OUT 2>/dev/null || \
                    iptables-legacy -w 5 -t nat -A OUTPUT -p tcp -j PENSTOCK_OUT\n";
        assert!(shown.contains(jump), "{shown}");
    }

    #[test]
    fn the_way_back_of_connections_in_callers_names_is_there_before_their_rules_and_goes_after_them() {
        let plan = Plan { inbound_mode: InboundMode::Tproxy, ..example() };
        let shown = apply(Some(&plan), Some(Backend::Nft), true).unwrap();
        let expected = "\
ip -4 route replace local 0.0.0.0/0 dev lo table 4143
ip -4 rule del from 127.0.0.0/8 ipproto tcp lookup 4143 priority 4143 2>/dev/null || true
ip -4 rule add from 127.0.0.0/8 ipproto tcp lookup 4143 priority 4143
ip -6 route replace local ::/0 dev lo table 4143
ip -6 rule del from ::1/128 ipproto tcp lookup 4143 priority 4143 2>/dev/null || true
ip -6 rule add from ::1/128 ipproto tcp lookup 4143 priority 4143
nft -f -";
        assert!(shown.starts_with(expected), "{shown}");
        for plan in [None, Some(&example())] {
            let shown = apply(plan, Some(Backend::Nft), true).unwrap();
            assert!(shown.ends_with("ip -6 route flush table 4143 2>/dev/null || true\n"), "{shown}");
        }
    }
}
