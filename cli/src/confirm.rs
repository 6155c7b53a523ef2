//! Asking before something that cannot be taken back.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use std::io::{self, IsTerminal, Write};

/// Goes on if `--yes` was given or the person at the terminal says so. Without a terminal `--yes` is
/// required, so that a script never hangs on a question.
pub(crate) fn confirm(context: Context, yes: bool, question: &str) -> Outcome {
    if yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && context.output.interactive()) {
        return Err(Failure::usage(format!(
            "{question} Add --yes to say that you mean it."
        )));
    }
    let mut line = String::new();
    eprint!("{question} [y/N] ");
    let read = io::stderr()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut line));
    match read {
        Ok(_) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new(Exit::Refused, "nothing was changed")),
    }
}
