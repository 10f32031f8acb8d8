//! The plan as iptables commands, for one family: chains of our own that are emptied and filled in one transaction each,
//! and one jump to each, that is there once however often this runs.

use std::fmt::Write;

use super::plan::{Family, Plan, list};

/// Ports that one `multiport` match takes.
const MULTIPORT_MAX: usize = 15;

/// The jumps from the system's chains into ours, by their tables.
const JUMPS: [Jump; 3] = [
    Jump { table: "mangle", from: "PREROUTING", chain: "PENSTOCK_IN" },
    Jump { table: "nat", from: "PREROUTING", chain: "PENSTOCK_IN" },
    Jump { table: "nat", from: "OUTPUT", chain: "PENSTOCK_OUT" },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Jump {
    table: &'static str,
    from: &'static str,
    chain: &'static str,
}

/// A run of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// `-restore` takes `input`, the plain tool `arguments`.
    pub(super) is_restore: bool,
    pub(super) arguments: Vec<String>,
    pub(super) input: String,
    /// Tried first: where it succeeds, the step is done already.
    pub(super) unless: Option<Vec<String>>,
    /// It fails where there is nothing to take away.
    pub(super) may_fail: bool,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Puts the rules of one family in place.
pub(super) fn steps(plan: &Plan, family: Family) -> Vec<Step> {
    let chains = chains(plan, family);
    let mut input = String::new();
    for table in ["mangle", "nat"] {
        let of_table = || chains.iter().filter(move |(jump, _)| jump.table == table);
        if of_table().next().is_none() {
            continue;
        }
        let _ = writeln!(input, "*{table}"); // a string grows as needed
        for (Jump { chain, .. }, _) in of_table() {
            let _ = writeln!(input, ":{chain} - [0:0]");
        }
        for (Jump { chain, .. }, rules) in of_table() {
            for rule in rules {
                let _ = writeln!(input, "-A {chain} {rule}");
            }
        }
        input.push_str("COMMIT\n");
    }
    let arguments = words("--noflush -w 5");
    let is_asked = |jump: &&Jump| chains.iter().any(|(asked, _)| asked == *jump);
    // A direction that is no longer asked for, or in another way, goes first.
    let mut steps: Vec<_> = JUMPS.iter().filter(|jump| !is_asked(jump)).flat_map(removal_of).collect();
    steps.push(Step { is_restore: true, arguments, input, unless: None, may_fail: false });
    for Jump { table, from, chain } in JUMPS.iter().filter(is_asked) {
        let jump = |verb| words(&format!("-w 5 -t {table} {verb} {from} -p tcp -j {chain}"));
        steps.push(Step {
            is_restore: false,
            arguments: jump("-A"),
            input: String::new(),
            unless: Some(jump("-C")),
            may_fail: false,
        });
    }
    steps
}

/// Takes away whatever is there of ours.
pub(super) fn removal() -> Vec<Step> {
    JUMPS.iter().flat_map(removal_of).collect()
}

fn removal_of(Jump { table, from, chain }: &Jump) -> [Step; 3] {
    let verbs = [format!("-D {from} -p tcp -j {chain}"), format!("-F {chain}"), format!("-X {chain}")];
    verbs.map(|verb| Step {
        is_restore: false,
        arguments: words(&format!("-w 5 -t {table} {verb}")),
        input: String::new(),
        unless: None,
        may_fail: true,
    })
}

fn chains(plan: &Plan, family: Family) -> Vec<(Jump, Vec<String>)> {
    let [taken, redirected_in, redirected_out] = JUMPS;
    let mut chains = Vec::new();
    if let Some(port) = plan.inbound_port {
        let skipped = left_alone(plan, family, "-s", &plan.skip_inbound_ports);
        if plan.keeps_callers() {
            chains.push((taken, taking(skipped, port)));
        } else {
            let redirect = format!("-p tcp -j REDIRECT --to-ports {port}");
            chains.push((redirected_in, skipped.into_iter().chain([redirect]).collect()));
        }
    }
    if let Some(port) = plan.outbound_port {
        let mut rules =
            vec![format!("-m owner --uid-owner {} -j RETURN", plan.user), "-o lo -j RETURN".to_owned()];
        rules.extend(left_alone(plan, family, "-d", &plan.skip_outbound_ports));
        rules.push(format!("-p tcp -j REDIRECT --to-ports {port}"));
        chains.push((redirected_out, rules));
    }
    chains
}

/// Takes what comes in as it is.
fn taking(skipped: Vec<String>, port: u16) -> Vec<String> {
    let mut rules = vec!["-i lo -j RETURN".to_owned(), "-m addrtype ! --dst-type LOCAL -j RETURN".to_owned()];
    rules.extend(skipped);
    // Unlike a redirection it meets every packet. Those of a connection that has a socket already, the host's own or one from
    // before the rules, find it by themselves; the target would drop them.
    rules.push("-p tcp ! --syn -m socket -j RETURN".to_owned());
    rules.push(format!("-p tcp -j TPROXY --on-port {port}"));
    rules
}

fn left_alone(plan: &Plan, family: Family, end: &str, ports: &[u16]) -> Vec<String> {
    let subnets = plan.subnets(family).into_iter().map(|subnet| format!("{end} {subnet} -j RETURN"));
    let ports = ports
        .chunks(MULTIPORT_MAX)
        .map(|ports| format!("-p tcp -m multiport --dports {} -j RETURN", list(ports, ",")));
    subnets.chain(ports).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::super::plan::example;
    use super::*;
    use crate::settings::InboundMode;

    #[test]
    fn each_family_gets_its_own_subnets_and_the_chains_are_filled_in_one_transaction() {
        let steps = steps(&example(), Family::V6);
        let restore: Vec<_> = steps.iter().filter(|step| step.is_restore).collect();
        let expected = "\
*nat
:PENSTOCK_IN - [0:0]
:PENSTOCK_OUT - [0:0]
-A PENSTOCK_IN -s fd00:9::/64 -j RETURN
-A PENSTOCK_IN -p tcp -m multiport --dports 22,4191 -j RETURN
-A PENSTOCK_IN -p tcp -j REDIRECT --to-ports 4143
-A PENSTOCK_OUT -m owner --uid-owner 2102 -j RETURN
-A PENSTOCK_OUT -o lo -j RETURN
-A PENSTOCK_OUT -d fd00:9::/64 -j RETURN
-A PENSTOCK_OUT -p tcp -m multiport --dports 25,4567 -j RETURN
-A PENSTOCK_OUT -p tcp -j REDIRECT --to-ports 4140
COMMIT
";
        assert_eq!(restore.len(), 1);
        assert_eq!(restore[0].input, expected);
        let jump = steps.last().unwrap();
        assert_eq!(jump.arguments.join(" "), "-w 5 -t nat -A OUTPUT -p tcp -j PENSTOCK_OUT");
        assert_eq!(jump.unless.as_ref().unwrap()[4], "-C");
    }

    #[test]
    fn callers_addresses_are_kept_by_the_table_mangle_and_a_redirection_from_before_goes_first() {
        let plan = Plan { inbound_mode: InboundMode::Tproxy, ..example() };
        let steps = steps(&plan, Family::V4);
        assert_eq!(steps[0].arguments.join(" "), "-w 5 -t nat -D PREROUTING -p tcp -j PENSTOCK_IN");
        let restore = steps.iter().find(|step| step.is_restore).unwrap();
        let expected = "\
*mangle
:PENSTOCK_IN - [0:0]
-A PENSTOCK_IN -i lo -j RETURN
-A PENSTOCK_IN -m addrtype ! --dst-type LOCAL -j RETURN
-A PENSTOCK_IN -s 10.200.0.0/16 -j RETURN
-A PENSTOCK_IN -p tcp -m multiport --dports 22,4191 -j RETURN
-A PENSTOCK_IN -p tcp ! --syn -m socket -j RETURN
-A PENSTOCK_IN -p tcp -j TPROXY --on-port 4143
COMMIT
*nat
:PENSTOCK_OUT - [0:0]
";
        assert!(restore.input.starts_with(expected), "{}", restore.input);
        let redirected = super::steps(&example(), Family::V4);
        assert_eq!(redirected[0].arguments.join(" "), "-w 5 -t mangle -D PREROUTING -p tcp -j PENSTOCK_IN");
    }

    #[test]
    fn more_ports_than_one_match_takes_become_several() {
        let plan = Plan { skip_inbound_ports: (1..=31).collect(), ..example() };
        let rules = left_alone(&plan, Family::V4, "-s", &plan.skip_inbound_ports);
        assert_eq!(rules.iter().filter(|rule| rule.contains("multiport")).count(), 3);
    }
}
