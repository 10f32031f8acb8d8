//! A refusal (NACK) is isolated: the other resources of the answer are taken, the last good one of the refused stays, and the
//! node that was told knows that it is refused.

use mesh::Revision;
use proxy::discovery::{Kind, Outputs, Subscriber};

use super::Violation;

const NAME: &str = "refusals are isolated";

/// Counts refusals, and looks at what came of each.
#[derive(Debug, Default)]
pub(crate) struct RefusalsStand {
    refused: u64,
}

impl RefusalsStand {
    /// `proxy` took an answer of this kind with these resources (name and version) in.
    pub(crate) fn answered(
        &mut self,
        proxy: u64,
        type_url: &str,
        told: &[(String, String)],
        outputs: &Outputs,
        subscriber: &Subscriber,
    ) -> Result<(), Violation> {
        let refusal = outputs.requests.first().and_then(|request| request.error_detail.as_ref());
        let (Some(refusal), Some(kind)) = (refusal, Kind::of(type_url)) else { return Ok(()) };
        self.refused += 1;
        for (name, version) in told {
            let version: Revision = version.parse().unwrap_or_default();
            let held = subscriber.held().find(|(of, held, _)| *of == kind && held.to_string() == *name);
            let Some((_, _, held)) = held else { continue }; // not followed any more, or never held
            let blamed = refusal.message.contains(name.as_str());
            if blamed && held >= version {
                let story = format!("proxy {proxy} refused {name} of {version}, and holds it");
                return Err(Violation::new(NAME, story));
            }
            if !blamed && held != version {
                let story =
                    format!("proxy {proxy} refused others, and holds {held} of {name}, not {version}");
                return Err(Violation::new(NAME, story));
            }
        }
        Ok(())
    }

    /// A refusal of `proxy` arrived at its node, whose session then knows of so many (`None`: the session is gone).
    pub(crate) fn arrived(&self, proxy: u64, known: Option<usize>) -> Result<(), Violation> {
        if known != Some(0) {
            return Ok(());
        }
        let story = format!("proxy {proxy} refused a resource, and its node knows of none that is refused");
        Err(Violation::new(NAME, story))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_a_session_forgets_is_a_violation() {
        let invariant = RefusalsStand::default();
        assert!(invariant.arrived(1, Some(0)).is_err());
        assert!(invariant.arrived(1, Some(1)).is_ok() && invariant.arrived(1, None).is_ok());
    }
}
