//! `recover`: tells what a surviving data directory holds and what recovering loses, asks twice, and does it. The second
//! answer is the name of the cluster, so that nobody says yes to the wrong one.

use std::io::{BufRead, IsTerminal, Write};

use control::backup::{Findings, Survivor};

use super::program::settings;
use crate::answer::{Answer, Failure};
use crate::args::RecoverArgs;
use crate::render;

/// Runs it.
pub(super) fn run(args: &RecoverArgs) -> Result<Answer, Failure> {
    let settings = settings(|environment| args.directory.sources(environment))?;
    let survivor = Survivor::open(&settings).map_err(|error| Failure::Refused(error.to_string()))?;
    let findings = survivor.findings().clone();
    let told = render::findings_of_survivor(&findings);
    let words = format!("{} may lose writes", findings.cluster);
    match &args.confirm {
        Some(said) if *said == words => {}
        Some(said) => {
            return Err(Failure::Usage(format!(
                "--confirm says {said:?}, and must say {words:?}; nothing was changed"
            )));
        }
        None if !std::io::stdin().is_terminal() => {
            return Err(Failure::Usage(format!(
                "nobody can be asked here; read what follows, then say --confirm '{words}'\n{told}nothing was changed"
            )));
        }
        None => ask(&told, &findings)?,
    }
    survivor.recover().map_err(|error| Failure::Refused(error.to_string()))?;
    let next = "note: start it with settings whose `peers` name it alone; then bring in others by `penstock members add`";
    let answer = Answer::fine(render::recovered(&findings)).noting(next);
    Ok(if args.confirm.is_some() { answer.noting(told.trim_end()) } else { answer })
}

/// Asks twice; anything but the two right answers changes nothing.
fn ask(told: &str, findings: &Findings) -> Result<(), Failure> {
    let no = || Failure::Refused("not confirmed; nothing was changed".to_owned());
    let mut screen = std::io::stderr();
    let mut answers = std::io::stdin().lock().lines();
    let mut asked = |question: &str, wanted: &str| -> Result<(), Failure> {
        let _ = write!(screen, "{question}");
        let _ = screen.flush();
        let said = answers.next().and_then(Result::ok).unwrap_or_default();
        if said.trim() == wanted { Ok(()) } else { Err(no()) }
    };
    let first = format!("{told}\nAre a majority of the nodes lost for good? Type yes: ");
    asked(&first, "yes")?;
    asked("Writes may be lost. Type the name of the cluster to go on: ", &findings.cluster)
}
