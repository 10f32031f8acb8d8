//! The way back of connections that the proxy makes in its callers' names (`InboundMode::Tproxy`), as `ip` commands: the
//! application answers from the loopback to an address elsewhere, which must come to the proxy and not leave the host.
//!
//! The kernel refuses to send such packets anywhere, so that nobody else's are caught by the rule.

use super::plan::Family;

/// Our table of routes, and where our rule stands among the others: before those of most, behind the host's own addresses.
const TABLE: u16 = 4143;

/// A run of `ip`.
pub(super) struct Step {
    pub(super) arguments: String,
    /// It fails where there is nothing to take away.
    pub(super) may_fail: bool,
}

/// Puts the rule and its route in place.
pub(super) fn steps(family: Family) -> Vec<Step> {
    let Words { flag, everywhere, .. } = words(family);
    let mut steps = vec![Step {
        arguments: format!("{flag} route replace local {everywhere} dev lo table {TABLE}"),
        may_fail: false,
    }];
    // The kernel refuses a rule that is there.
    steps.push(Step { arguments: rule(family, "del"), may_fail: true });
    steps.push(Step { arguments: rule(family, "add"), may_fail: false });
    steps
}

/// Takes both away.
pub(super) fn removal(family: Family) -> Vec<Step> {
    let flush = format!("{} route flush table {TABLE}", words(family).flag);
    [rule(family, "del"), flush].map(|arguments| Step { arguments, may_fail: true }).into()
}

fn rule(family: Family, verb: &str) -> String {
    let Words { flag, loopback, .. } = words(family);
    format!("{flag} rule {verb} from {loopback} ipproto tcp lookup {TABLE} priority {TABLE}")
}

struct Words {
    flag: &'static str,
    loopback: &'static str,
    everywhere: &'static str,
}

fn words(family: Family) -> Words {
    match family {
        Family::V4 => Words { flag: "-4", loopback: "127.0.0.0/8", everywhere: "0.0.0.0/0" },
        Family::V6 => Words { flag: "-6", loopback: "::1/128", everywhere: "::/0" },
    }
}
