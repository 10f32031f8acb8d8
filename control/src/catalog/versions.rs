//! Versions of commands: which kind of command may enter the log. A kind that older programs do not know would be applied by
//! some nodes and not by others; so it waits until every member knows it, and the log itself says when that is
//! (docs/decisions/0007-versions-of-commands.md). A new kind gets the next version here, in `needed`, and nowhere else.

use api::log::v1::command::Body;

/// Of the kinds that every program knows.
pub const FIRST: u32 = 1;
/// The newest that this program knows. It is also the newest format of a catalog's snapshot that it reads.
///
/// 2: members that come and go by the log. 3: writes that say since when they are tried, and a bound in bytes on what is
/// remembered of them.
pub const NEWEST: u32 = 3;

/// The version from which on a retry of a forgotten client is refused, as `writers.rs` says, and clients are forgotten for want
/// of bytes too: before, a node of an older version would apply what others refuse.
pub const WRITES_SAY_SINCE: u32 = 3;

/// The version from which on such a command may enter the log. Raising the version is itself of the first one: who does not
/// know the version that it names must stop there.
#[must_use]
pub fn needed(body: &Body) -> u32 {
    match body {
        Body::Register(_)
        | Body::Leave(_)
        | Body::Expire(_)
        | Body::PutConfig(_)
        | Body::DeleteConfig(_)
        | Body::Partial(_)
        | Body::Tick(_)
        | Body::Begin(_)
        | Body::Announce(_)
        | Body::RaiseVersion(_) => FIRST,
        Body::ChangeMembers(_) => 2,
    }
}
