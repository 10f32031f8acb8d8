//! `penstock proxy init`: asks the proxy's crate for the rules, and has it put them in place.

use crate::answer::{Answer, Failure};
use crate::args::InitArgs;

/// Writes, shows or removes the rules.
pub(super) fn run(args: &InitArgs) -> Answer {
    let plan = args.plan();
    match proxy::init::apply(plan.as_ref(), args.backend.map(Into::into), args.dry_run) {
        Ok(shown) if args.dry_run => Answer::fine(shown),
        Ok(_) if args.remove => Answer::fine("no rules of Penstock's are left on this host\n".to_owned()),
        Ok(_) => Answer::fine(
            "this host's connections go to the proxy; `penstock proxy init --remove` takes the rules away\n"
                .to_owned(),
        ),
        Err(error) => Failure::Refused(error.to_string()).into(),
    }
}
