//! The plan as one nftables script: a table of our own that is replaced as a whole, in one transaction, for both families.

use std::fmt::Write;

use super::plan::{Family, Plan, list};

/// What puts the rules in place, whatever was in our table before.
pub(super) fn script(plan: &Plan) -> String {
    let mut text = removal();
    text.push_str("table inet penstock {\n");
    if let Some(port) = plan.inbound_port {
        inbound(&mut text, plan, port);
    }
    if let Some(port) = plan.outbound_port {
        outbound(&mut text, plan, port);
    }
    text.push_str("}\n");
    text
}

/// What takes them away, whether they are there or not.
pub(super) fn removal() -> String {
    "add table inet penstock\ndelete table inet penstock\n".to_owned()
}

fn chain(text: &mut String, name: &str, hook: &str, rules: &[String]) {
    let _ = writeln!(text, "  chain {name} {{\n    type {hook}; policy accept;"); // a string grows as needed
    for rule in rules {
        let _ = writeln!(text, "    {rule}");
    }
    text.push_str("  }\n");
}

/// Rules that leave subnets alone, by where a packet is from (`saddr`) or is going (`daddr`).
fn skipped_subnets(plan: &Plan, end: &str) -> Vec<String> {
    let of = |family, word: &str| {
        let subnets = plan.subnets(family);
        (!subnets.is_empty()).then(|| format!("{word} {end} {{ {} }} return", list(&subnets, ", ")))
    };
    [of(Family::V4, "ip"), of(Family::V6, "ip6")].into_iter().flatten().collect()
}

fn skipped_ports(ports: &[u16]) -> Option<String> {
    (!ports.is_empty()).then(|| format!("tcp dport {{ {} }} return", list(ports, ", ")))
}

fn inbound(text: &mut String, plan: &Plan, port: u16) {
    let mut skipped = skipped_subnets(plan, "saddr");
    skipped.extend(skipped_ports(&plan.skip_inbound_ports));
    if !plan.keeps_callers() {
        skipped.push(format!("meta l4proto tcp redirect to :{port}"));
        return chain(text, "inbound", "nat hook prerouting priority dstnat", &skipped);
    }
    let mut rules = vec!["iifname \"lo\" return".to_owned(), "fib daddr type != local return".to_owned()];
    rules.extend(skipped);
    // Unlike a redirection it meets every packet. Those of a connection that has a socket already, the host's own or one from
    // before the rules, pass it by. A beginning that nobody takes waits for the proxy, as its caller sends it again.
    rules.push(format!("meta l4proto tcp tproxy to :{port} accept"));
    rules.push("tcp flags & (syn | ack | rst | fin) == syn drop".to_owned());
    chain(text, "inbound", "filter hook prerouting priority mangle", &rules);
}

fn outbound(text: &mut String, plan: &Plan, port: u16) {
    let mut rules = vec![format!("meta skuid {} return", plan.user), "oifname \"lo\" return".to_owned()];
    rules.extend(skipped_subnets(plan, "daddr"));
    rules.extend(skipped_ports(&plan.skip_outbound_ports));
    rules.push(format!("meta l4proto tcp redirect to :{port}"));
    chain(text, "outbound", "nat hook output priority -100", &rules);
}

#[cfg(test)]
mod tests {
    use super::super::plan::example;
    use super::*;
    use crate::settings::InboundMode;

    #[test]
    fn both_directions_with_everything_that_is_left_alone_become_one_script() {
        let expected = "\
add table inet penstock
delete table inet penstock
table inet penstock {
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    ip saddr { 10.200.0.0/16 } return
    ip6 saddr { fd00:9::/64 } return
    tcp dport { 22, 4191 } return
    meta l4proto tcp redirect to :4143
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    meta skuid 2102 return
    oifname \"lo\" return
    ip daddr { 10.200.0.0/16 } return
    ip6 daddr { fd00:9::/64 } return
    tcp dport { 25, 4567 } return
    meta l4proto tcp redirect to :4140
  }
}
";
        assert_eq!(script(&example()), expected);
    }

    #[test]
    fn callers_addresses_are_kept_by_a_chain_that_only_takes_what_begins_elsewhere_and_ends_here() {
        let plan = Plan { inbound_mode: InboundMode::Tproxy, outbound_port: None, ..example() };
        let expected = "\
table inet penstock {
  chain inbound {
    type filter hook prerouting priority mangle; policy accept;
    iifname \"lo\" return
    fib daddr type != local return
    ip saddr { 10.200.0.0/16 } return
    ip6 saddr { fd00:9::/64 } return
    tcp dport { 22, 4191 } return
    meta l4proto tcp tproxy to :4143 accept
    tcp flags & (syn | ack | rst | fin) == syn drop
  }
}
";
        assert_eq!(script(&plan), removal() + expected);
    }

    #[test]
    fn a_direction_that_is_left_alone_has_no_chain() {
        let plan = Plan {
            inbound_port: None,
            skip_outbound_ports: Vec::new(),
            skip_subnets: Vec::new(),
            ..example()
        };
        let script = script(&plan);
        assert!(!script.contains("prerouting") && !script.contains("dport"), "{script}");
    }
}
