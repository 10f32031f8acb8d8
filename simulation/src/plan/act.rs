//! One fault, or one action of an operator: what it does, how a scenario file writes it, and how the story of a run tells it.
//! The table below is all there is to say of each; `world/acts.rs` does them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::value::{PlanError, Value};
use crate::shape::Shape;

/// Longer than this nothing lasts; as long as the longest phase of a run.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Routes of one push: each is an entry of the log at once, and more than this a leader would refuse for want of memory.
const COUNT_MAX: i64 = 10_000;
/// Repetitions of one act; more would outlast any run, or fill the heap in one moment.
const TIMES_MAX: i64 = 10_000;
/// How many times as slow a disk may become: five minutes for one fsync.
const FACTOR_MAX: i64 = 1_000_000;
/// A clock that is wrong by more than a tenth is no clock.
const PPM_MAX: i64 = 100_000;
/// Further no wall clock jumps at once: what the log forgets by time (outcomes of writes after a quarter of an hour) is no fault then.
const JUMP_MS_MAX: i64 = 600_000;

/// Makes [`Act`] from a table: doc, name, word in a file, fields, sentence in a story.
macro_rules! acts {
    ($( $(#[$doc:meta])* $name:ident $verb:literal { $($field:ident: $type:ty),* } $sentence:literal; )*) => {
        /// One fault, or one action of an operator.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // each field's part is told by the sentence of its row
        pub enum Act { $( $(#[$doc])* $name { $($field: $type),* }, )* }

        impl Act {
            /// Its word in a scenario file, which is also the name of its class.
            #[must_use]
            pub fn verb(&self) -> &'static str {
                match self { $( Self::$name { .. } => $verb, )* }
            }

            /// Every field with its value.
            fn fields(&self) -> Vec<(&'static str, String)> {
                match self { $( Self::$name { $($field),* } => vec![$( (stringify!($field), $field.written()) ),*], )* }
            }

            /// What happens, for people.
            #[must_use]
            pub fn sentence(&self) -> String {
                match self { $( Self::$name { $($field),* } => { $( let _ = $field; )* format!($sentence) } )* }
            }

            fn read_fields(verb: &str, named: &BTreeMap<&str, &str>) -> Result<Self, PlanError> {
                match verb {
                    $( $verb => Ok(Self::$name { $( $field: field(verb, named, stringify!($field))? ),* }), )*
                    _ => Err(PlanError(format!("{verb:?} is no act; there are: {}", Self::VERBS.join(", ")))),
                }
            }

            /// Every word.
            pub const VERBS: &[&str] = &[$( $verb ),*];
        }
    };
}

acts! {
    /// kill -9, perhaps inside a write.
    Kill "kill" { node: u64, dead: Duration } "node {node} is killed and stays dead for {dead:?}";
    /// kill -9 of every node at once.
    KillAll "kill-all" { dead: Duration } "every node is killed and stays dead for {dead:?}";
    /// Whoever is elected next dies before it has done much.
    KillNextLeader "kill-next-leader" { reign: Duration, dead: Duration }
        "whoever leads next is killed {reign:?} after its election, and stays dead for {dead:?}";
    /// SIGTERM: leadership is handed over, then the process ends.
    Stop "stop" { node: u64, dead: Duration }
        "node {node} is told to stop, hands over what it leads, and starts again {dead:?} after its end";
    /// The process stands still, and its connections stay.
    Pause "pause" { node: u64, lasts: Duration } "node {node} stands still for {lasts:?}";
    /// The newer program is started on a node.
    Upgrade "upgrade" { node: u64, dead: Duration } "node {node} is killed, and starts after {dead:?} with the newer program";
    /// The older program is started on a node.
    Downgrade "downgrade" { node: u64, dead: Duration }
        "node {node} is killed, and starts after {dead:?} with the older program";
    /// Messages between nodes are lost.
    Lose "lose" { per_mille: u64, lasts: Duration } "{per_mille} of 1000 messages are lost for {lasts:?}";
    /// Messages between nodes come twice.
    Repeat "repeat" { per_mille: u64, lasts: Duration } "{per_mille} of 1000 messages come twice for {lasts:?}";
    /// Everything is late, with a heavy tail.
    Delay "delay" { usual: Duration, lasts: Duration } "messages take {usual:?} and often far more for {lasts:?}";
    /// A node reaches no other, and no other it; perhaps no proxy either.
    Isolate "isolate" { node: u64, proxies: bool, lasts: Duration }
        "node {node} is cut off from every other (from proxies too: {proxies}) for {lasts:?}";
    /// One direction between two nodes is cut.
    OneWay "one-way" { from: u64, to: u64, lasts: Duration } "nothing passes from node {from} to node {to} for {lasts:?}";
    /// Two nodes do not reach each other; the rest reaches both.
    Part "part" { one: u64, other: u64, lasts: Duration } "nodes {one} and {other} do not reach each other for {lasts:?}";
    /// A whole zone is cut off: its nodes and its proxies.
    CutZone "cut-zone" { zone: u64, lasts: Duration } "zone {zone} is cut off from all others for {lasts:?}";
    /// A proxy vanishes without a word; its node notices by keep-alives alone.
    HalfOpen "half-open" { proxy: u64, lasts: Duration } "proxy {proxy} vanishes without a FIN for {lasts:?}";
    /// A proxy stops reading; its node must not hoard for it.
    SlowReader "slow-reader" { proxy: u64, lasts: Duration } "proxy {proxy} reads nothing for {lasts:?}";
    /// All connections of proxies end at once, and all dial at once.
    Storm "storm" { times: u64 }
        "the connections of all proxies are reset, and all dial at once, {times} times in a row";
    /// The links of some nodes clog one after the other, and clear in another order: nothing is lost, all of it is late.
    Swizzle "swizzle" { nodes: u64, order: u64, lasts: Duration }
        "the links of {nodes} nodes clog one after the other, and clear in turn (order {order}), within {lasts:?}";
    /// A disk takes longer.
    SlowDisk "slow-disk" { node: u64, factor: u64, lasts: Duration }
        "the disk of node {node} is {factor} times as slow for {lasts:?}";
    /// A disk has no room.
    FillDisk "fill-disk" { node: u64, lasts: Duration } "the disk of node {node} is full for {lasts:?}";
    /// The next fsync fails: the process must end itself.
    FailSync "fail-sync" { node: u64, dead: Duration }
        "the next fsync of node {node} fails; it must end itself, and is started {dead:?} later";
    /// The disk cannot read: the process refuses to start, until the disk can again.
    FailRead "fail-read" { node: u64, after: u64, dead: Duration }
        "node {node} is killed; when it starts after {dead:?}, its disk fails to read after {after} pieces";
    /// The disk lies about every fsync, then power is lost.
    LoseSync "lose-sync" { node: u64, lasts: Duration, dead: Duration }
        "the disk of node {node} only claims to sync for {lasts:?}, then loses power; the node stays dead for {dead:?}";
    /// Power is lost, and a bit of what was durable turns.
    Rot "rot" { node: u64, place: u64, dead: Duration }
        "node {node} is killed, a bit of its disk turns (place {place}), and it starts after {dead:?}";
    /// Power is lost, and what was written once turns out to stand elsewhere.
    Misdirect "misdirect" { node: u64, place: u64, dead: Duration }
        "node {node} is killed, one of its writes had landed elsewhere (place {place}), and it starts after {dead:?}";
    /// A wall clock jumps.
    Jump "jump" { node: u64, by_ms: i64 } "the wall clock of node {node} jumps by {by_ms} ms";
    /// A clock runs fast or slow.
    Drift "drift" { node: u64, ppm: i64 } "the clocks of node {node} drift by {ppm} ppm from now on";
    /// An operator hands leadership over.
    Transfer "transfer" { node: u64 } "an operator hands leadership to node {node}";
    /// An operator changes who votes.
    Members "members" { without: u64 } "an operator makes all nodes but {without} the voters (0: all of them)";
    /// A disk is lost and replaced by an empty one: the node comes back without its log.
    Wipe "wipe" { node: u64, dead: Duration }
        "node {node} is killed, and starts after {dead:?} on an empty disk";
    /// An operator applies many routes at once.
    Push "push" { count: u64 } "an operator applies {count} routes at once";
    /// An operator ends every node and restores all of them from one backup.
    Restore "restore" { back: Duration, dead: Duration }
        "an operator ends every node, and {dead:?} later restores all from a backup that is {back:?} old or older";
    /// A proxy dies and starts again with nothing.
    RestartProxy "restart-proxy" { proxy: u64 } "proxy {proxy} dies and starts again with nothing";
    /// A proxy dies again and again.
    CrashLoop "crash-loop" { proxy: u64, times: u64 } "proxy {proxy} dies {times} times, soon after each start";
    /// A proxy gets what it cannot read about one service, and refuses it.
    Refuse "refuse" { proxy: u64, service: u64, lasts: Duration }
        "proxy {proxy} refuses whatever it is told of service {service} for {lasts:?}";
    /// A proxy changes its mind about what it follows, fast.
    Flap "flap" { proxy: u64, times: u64 } "proxy {proxy} follows and forgets services {times} times in a row";
    /// A workload stops renewing its lease, as if it had died.
    Silence "silence" { workload: u64, lasts: Duration } "workload {workload} renews nothing for {lasts:?}";
    /// Many workloads stop renewing at once, as if their way to the control plane were cut.
    Hush "hush" { workloads: u64, lasts: Duration } "{workloads} workloads renew nothing for {lasts:?}, all at once";
}

fn field<V: Value>(verb: &str, named: &BTreeMap<&str, &str>, name: &str) -> Result<V, PlanError> {
    let text = named.get(name).ok_or_else(|| PlanError(format!("{verb}: {name}= is missing")))?;
    V::read(name, text).map_err(|PlanError(wrong)| PlanError(format!("{verb}: {wrong}")))
}

impl Act {
    /// As a line of a scenario has it, behind the time: `kill node=2 dead=1500ms`.
    #[must_use]
    pub fn written(&self) -> String {
        let fields = self.fields().into_iter().map(|(name, value)| format!(" {name}={value}"));
        std::iter::once(self.verb().to_owned()).chain(fields).collect()
    }

    /// From the words of a line.
    ///
    /// # Errors
    /// An unknown act, or a field that is missing, wrong or too many.
    pub fn read(verb: &str, named: &BTreeMap<&str, &str>) -> Result<Self, PlanError> {
        let act = Self::read_fields(verb, named)?;
        let fields = act.fields();
        match named.keys().find(|name| !fields.iter().any(|(known, _)| known == *name)) {
            Some(unknown) => Err(PlanError(format!("{verb}: has no field {unknown}"))),
            None => Ok(act),
        }
    }

    /// The same act with its node 0, if it has one, replaced by `leader`.
    #[must_use]
    pub(crate) fn at_leader(&self, leader: u64) -> Self {
        let leader = leader.to_string();
        let fields = self.fields();
        let named = fields.iter().map(|(name, value)| match (*name, value.as_str()) {
            ("node", "0") => ("node", leader.as_str()),
            (name, value) => (name, value),
        });
        Self::read_fields(self.verb(), &named.collect()).expect("what was written can be read")
    }

    /// Whether a world of this shape has what the act names, and can bear how much of it there is.
    ///
    /// # Errors
    /// What it does not have, or bear.
    pub fn check(&self, shape: &Shape) -> Result<(), PlanError> {
        for (name, value) in self.fields() {
            let verb = self.verb();
            let wrong =
                |allowed: String| Err(PlanError(format!("{verb}: {name}={value}: must be {allowed}")));
            if matches!(name, "dead" | "lasts" | "usual" | "back" | "reign") {
                if Duration::read(name, &value)? > TIME_MAX {
                    return wrong(format!("at most {}", TIME_MAX.written()));
                }
                continue;
            }
            let numbers = match name {
                // Node 0 is whichever leads by then.
                "node" | "without" => 0..=number(shape.nodes),
                "from" | "to" | "one" | "other" => 1..=number(shape.nodes),
                "nodes" => 1..=number(shape.nodes),
                "workloads" => 0..=number(shape.workloads),
                "proxy" if shape.proxies > 0 => 0..=number(shape.proxies - 1),
                "workload" if shape.workloads > 0 => 0..=number(shape.workloads - 1),
                "proxy" | "workload" => return Err(PlanError(format!("{verb}: there is no {name}"))),
                "zone" => 0..=number(shape.zones - 1),
                "service" => 0..=number(shape.services - 1),
                "per_mille" => 0..=1000,
                "count" => 0..=COUNT_MAX,
                "times" => 0..=TIMES_MAX,
                "factor" => 1..=FACTOR_MAX,
                "ppm" => -PPM_MAX..=PPM_MAX,
                "by_ms" => -JUMP_MS_MAX..=JUMP_MS_MAX,
                _ => continue,
            };
            if !value.parse().is_ok_and(|number: i64| numbers.contains(&number)) {
                return wrong(format!("{} to {}", numbers.start(), numbers.end()));
            }
        }
        Ok(())
    }
}

/// What a shape has so many of; its bounds are far below.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
