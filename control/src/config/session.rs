//! The `sessionPersistence` of a rule or of a policy (Gateway API, GEP-1619). What neither Envoy nor our proxy could keep is refused in
//! words: idle timeouts, and ends of sessions that have no cookie to carry them.

use api::{COOKIE_MS, session_name_fault};
use mesh::{Session, SessionToken};

use super::complaints::Complaints;
use super::duration;
use super::fields::{Fields, shown};

/// Letters of a usual name, before the number of a rule.
const USUAL_LETTERS: usize = 120;

/// What the sessions of a document are called when nobody says it. Its name may be wrong, which is a complaint of its own.
pub(super) fn usual(document: &str) -> String {
    format!("session-{document}").chars().take(USUAL_LETTERS).collect()
}

/// Reads `sessionPersistence`; where it has no `sessionName`, it is called `usual`.
pub(super) fn read(outer: &mut Fields<'_>, usual: &str, complaints: &mut Complaints) -> Option<Session> {
    let mut fields = outer.fields("sessionPersistence", complaints)?;
    let had = complaints.count();
    let is_header = fields.one_of("type", false, &[("Cookie", false), ("Header", true)], complaints);
    let is_header = is_header.unwrap_or_default();
    let stated = fields.text("sessionName", complaints);
    let name = stated.map_or(usual, |(name, _)| name);
    let name = if is_header { name.to_ascii_lowercase() } else { name.to_owned() };
    if let (Some((_, position)), Some(fault)) = (stated, session_name_fault(&name, is_header)) {
        complaints.add(position, &fields.path("sessionName"), format!("{} {fault}", shown(&name)));
    }
    let is_permanent = permanent(&mut fields, is_header, complaints);
    let lives = duration::field(&mut fields, "absoluteTimeout", &COOKIE_MS, complaints);
    if is_permanent != lives.is_some() && complaints.count() == had {
        let message = "must be there with `cookieConfig.lifetimeType: Permanent`, and not without it: only a cookie that lives so \
                       long ends with it";
        complaints.add(fields.position, &fields.path("absoluteTimeout"), message);
    }
    let why = "nothing ends a session for want of requests, neither here nor in Envoy";
    fields.refuse(&["idleTimeout"], why, complaints);
    fields.finish(complaints);
    let token = if is_header { SessionToken::Header } else { SessionToken::Cookie(lives) };
    (complaints.count() == had).then_some(Session { name, token })
}

/// Whether a cookie outlives the caller.
fn permanent(outer: &mut Fields<'_>, is_header: bool, complaints: &mut Complaints) -> bool {
    let Some(mut fields) = outer.fields("cookieConfig", complaints) else { return false };
    if is_header {
        complaints.add(fields.position, &outer.path("cookieConfig"), "goes with type Cookie");
    }
    let words = [("Session", false), ("Permanent", true)];
    let is_permanent = fields.one_of("lifetimeType", false, &words, complaints);
    fields.finish(complaints);
    is_permanent.unwrap_or_default()
}
