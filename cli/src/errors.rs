//! How a command ends when it does not succeed: one message a person can act on and one exit code a
//! script can act on.
//!
//! The codes are those of `sysexits.h`, as every container of Quorate uses them. Code 1 is for answers
//! rather than failures: the cluster said no, or the job that was watched ended dead.

use quorate_core::error::{Code, Error, Kind};
use quorate_core::runtime;
use quorate_core::runtime::settings::ConfigErrors;
use std::fmt;
use std::process::ExitCode;

/// Exit codes of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The cluster refused, or what was waited for ended dead or cancelled.
    Refused = 1,
    /// The command line or the request is malformed.
    Usage = 2,
    /// No server could be reached, or there is no majority. The operation was certainly not done.
    Unavailable = 69,
    /// Try again later: over quota, out of time, disk full, or the outcome is not known.
    Temporary = 75,
    /// A setting, a file named by one, or a credential is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The end of a command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened and what to do; empty when the command has said it already.
    pub(crate) message: String,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with this code and text.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A setting or a file is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// Everything was said on the way; only the code is left to tell.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, String::new())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The exit code of an error of the cluster or of the client.
fn exit_of(error: &Error) -> Exit {
    match error.code {
        Code::InvalidArgument | Code::TooLarge | Code::UnsupportedMediaType => Exit::Usage,
        Code::Unauthenticated | Code::Forbidden => Exit::Config,
        Code::NoQuorum => Exit::Unavailable,
        _ => match error.code.kind() {
            Kind::Rejected => Exit::Refused,
            Kind::Retryable | Kind::Unknown => Exit::Temporary,
        },
    }
}

/// What to do, where the code alone tells and the cluster's own words may not.
fn advice(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated | Code::Forbidden => {
            "\nName the file that holds the token by --servers-token-file or QUORATE_SERVERS_TOKEN_FILE."
        }
        Code::NoQuorum => {
            "\nNothing was changed. `quorate cluster status` shows which nodes answer."
        }
        Code::OutcomeUnknown => "\nIt may or may not have been done: look before you repeat it.",
        _ => "",
    }
}

impl From<runtime::Exit> for Exit {
    fn from(exit: runtime::Exit) -> Self {
        match exit {
            // Not a failure; whoever makes one of it gets the mildest.
            runtime::Exit::Ok => Self::Refused,
            runtime::Exit::Usage => Self::Usage,
            runtime::Exit::Unavailable => Self::Unavailable,
            runtime::Exit::Temporary => Self::Temporary,
            runtime::Exit::Config => Self::Config,
        }
    }
}

impl From<runtime::Failure> for Failure {
    fn from(failure: runtime::Failure) -> Self {
        Self::new(failure.exit.into(), failure.message)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::config(errors.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(
            exit_of(&error),
            format!("{}{}", error.detail, advice(error.code)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_an_exit_code_that_tells_whether_a_retry_makes_sense() {
        for &code in Code::ALL {
            let exit = exit_of(&Error::new(code, "x"));
            let again = matches!(exit, Exit::Unavailable | Exit::Temporary);
            assert_eq!(again, code.kind() != Kind::Rejected, "{code} → {exit:?}");
        }
    }
}
